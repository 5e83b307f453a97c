/**
 * Images that the kubelet would have to pull: no registry may be reachable when the node stands alone.
 *
 * With `KubeletEnsureSecretPulledImages` (on by default since Kubernetes 1.35) the kubelet keeps a record of what each image was pulled with. A pod without the
 * secret, and a static pod can name none, has the pull tried again, although the image is there.
 */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import type { ImageState, KubeletFacts } from '../facts.ts';
import { type Finding, warning } from '../finding.ts';

export function imageFindings(pod: V1Pod, images: ReadonlyMap<string, ImageState> | undefined, kubelet: KubeletFacts): Finding[] {
  const seen = new Set<string>();
  return containersOf(pod).flatMap((container): Finding[] => {
    const image = container.image ?? '';
    if (image === '' || seen.has(image)) return [];
    seen.add(image);
    if (pullsAlways(container))
      return [
        warning(
          'ImagePulledAlways',
          `container ${container.name} pulls ${image} at every start (imagePullPolicy)`,
          'Let the copy be made anew, or set imagePullPolicy: IfNotPresent.',
        ),
      ];
    const found = images?.get(image);
    if (found?.state === 'missing')
      return [
        warning(
          'ImageMissing',
          `the image ${image} is not on the node: it would have to be pulled`,
          'Pull it (crictl pull), and keep the image collection of the kubelet away from it.',
        ),
      ];
    if (found?.state === 'unknown')
      return [
        warning(
          'ImageUnknown',
          `whether the image ${image} is on the node is not known: ${found.detail}`,
          'Ask the runtime (crictl images), and look into its log.',
        ),
      ];
    if (found?.state === 'present' && verifiesAgain(image, found.ref, kubelet))
      return [
        warning(
          'ImagePulledWithSecret',
          `the image ${image} was pulled with a pull secret, which a static pod cannot name: the kubelet would ask the registry again`,
          'Give the node credentials of its own (credential provider), preload the image, or list it in preloadedImagesVerificationAllowlist.',
        ),
      ];
    return [];
  });
}

export function imagesOf(pod: V1Pod): string[] {
  return [...new Set(containersOf(pod).flatMap(({ image }) => (image === undefined || image === '' ? [] : [image])))];
}

/** The kubelet's default for an image without a tag, or with `latest`, is Always. */
function pullsAlways({ image = '', imagePullPolicy }: V1Container): boolean {
  if (imagePullPolicy !== undefined) return imagePullPolicy === 'Always';
  if (image.includes('@')) return false;
  const tag = image.slice(image.lastIndexOf('/') + 1).split(':')[1];
  return tag === undefined || tag === 'latest';
}

/** As the kubelet decides it (pkg/kubelet/images/pullmanager): an image without a record was not pulled by this kubelet and counts as preloaded. */
function verifiesAgain(
  image: string,
  ref: string,
  { pulled, imagePullVerification = 'NeverVerifyPreloadedImages' }: KubeletFacts,
): boolean {
  if (pulled === undefined || imagePullVerification === 'NeverVerify') return false;
  const record = pulled.get(ref);
  if (record === undefined) return imagePullVerification === 'AlwaysVerify';
  return record.get(withoutTag(image))?.everyPod !== true;
}

export function withoutTag(image: string): string {
  const [name = ''] = image.split('@');
  const colon = name.indexOf(':', name.lastIndexOf('/') + 1);
  return colon < 0 ? name : name.slice(0, colon);
}

function containersOf(pod: V1Pod): V1Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}
