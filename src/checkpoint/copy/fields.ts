/** The downward API: fields of a pod as the kubelet renders them into a variable or a file. */
import type { V1Pod, V1ResourceFieldSelector } from '@kubernetes/client-node';
import { own } from './own.ts';
import { divideQuantities } from './quantity.ts';

/**
 * The value of a field of the parent, or undefined for a field that the kubelet does not offer, or that the pod does not have.
 * Annotations that the kubelet adds to a pod in its own memory (`kubernetes.io/config.seen`, `config.source`) are not in the API's pod and not here.
 */
export function fieldValue(pod: V1Pod, fieldPath: string): string | undefined {
  const metadata = pod.metadata ?? {};
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/s.exec(fieldPath);
  // A label or annotation that is not set is an empty string, as in the kubelet.
  if (subscript) return own(subscript[1] === 'labels' ? metadata.labels : metadata.annotations, subscript[2] ?? '') ?? '';
  switch (fieldPath) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace;
    case 'metadata.uid':
      return metadata.uid;
    case 'metadata.labels':
      return formatMap(metadata.labels ?? {});
    case 'metadata.annotations':
      return formatMap(metadata.annotations ?? {});
    case 'spec.serviceAccountName':
      return pod.spec?.serviceAccountName ?? '';
    default:
      return undefined;
  }
}

/**
 * Fields that the kubelet answers alike for a static pod on the same node, with the same namespace and labels. Not the node's addresses: before it has
 * seen the API server a kubelet with an external cloud provider knows none, and a container that asks for one is never started. A pod on the host's
 * network has the node's.
 */
export function sameForStaticPod(fieldPath: string, hostNetwork: boolean): boolean {
  if (fieldPath === 'status.podIP' || fieldPath === 'status.podIPs') return !hostNetwork;
  return fieldPath === 'spec.nodeName' || fieldPath === 'metadata.namespace' || /^metadata\.labels\['.*'\]$/s.test(fieldPath);
}

/** A field that holds addresses: its value, empty until the kubelet has reported one. Variables may ask for these, files may not. Undefined for other fields. */
export function addressValue({ status }: V1Pod, fieldPath: string): string | undefined {
  switch (fieldPath) {
    case 'status.hostIP':
      return status?.hostIP ?? '';
    case 'status.hostIPs':
      return joined(status?.hostIPs);
    case 'status.podIP':
      return status?.podIP ?? '';
    case 'status.podIPs':
      return joined(status?.podIPs);
    default:
      return undefined;
  }
}

const joined = (addresses: readonly { readonly ip?: string }[] | undefined): string =>
  (addresses ?? []).map(({ ip }) => ip ?? '').join(',');

/**
 * Fields that can be another one for each pod of a workload although nothing else of the pod is. Annotations are among them, all of them: network plugins,
 * admission and people write to a pod what its template does not have. Nothing is lost by that: its owner labels a pod with a hash of the template,
 * annotations included (`controller-revision-hash`, `pod-template-hash`), and labels count.
 */
export function belongsToOnePod(fieldPath: string): boolean {
  return fieldPath === 'metadata.name' || fieldPath === 'metadata.uid' || /^metadata\.annotations(\['.*'\])?$/s.test(fieldPath);
}

export type ResourceValue =
  | { readonly kind: 'value'; readonly text: string }
  /** The container sets no limit: the kubelet answers with what the node has to give, which is not written in the pod. */
  | { readonly kind: 'needsNode' }
  | { readonly kind: 'unsupported' };

/** A container's request or limit, as the kubelet writes it into a volume: a whole number of divisors, rounded up. */
export function resourceValue(
  pod: V1Pod,
  selector: V1ResourceFieldSelector,
  nodeAllocatable: Readonly<Record<string, string>> | undefined,
): ResourceValue {
  const container = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].find((c) => c.name === selector.containerName);
  const match = /^(requests|limits)\.(cpu|memory|ephemeral-storage|hugepages-.+)$/.exec(selector.resource);
  if (container === undefined || match === null) return { kind: 'unsupported' };
  const resource = match[2] ?? '';
  const limits = match[1] === 'limits';
  let amount = own(limits ? container.resources?.limits : container.resources?.requests, resource);
  // Only these three fall back to the node: huge pages are never overcommitted.
  if (limits && !resource.startsWith('hugepages-') && (amount === undefined || divideQuantities(resource, amount, '1') === '0')) {
    if (nodeAllocatable === undefined) return { kind: 'needsNode' };
    amount = own(nodeAllocatable, resource);
  }
  const text = divideQuantities(resource, amount ?? '0', selector.divisor);
  return text === undefined ? { kind: 'unsupported' } : { kind: 'value', text };
}

/** Whether the answer is what the node has to give. */
export function needsNode(pod: V1Pod, selector: V1ResourceFieldSelector): boolean {
  return resourceValue(pod, selector, undefined).kind === 'needsNode';
}

function formatMap(map: Readonly<Record<string, string>>): string {
  return Object.keys(map)
    .sort()
    .map((key) => `${key}=${quote(own(map, key) ?? '')}`)
    .join('\n');
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\x07': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '"': '\\"',
  '\\': '\\\\',
};

/** A string as Go's strconv.Quote writes it: the kubelet quotes the values of labels and annotations so, and readers unquote them so. */
export function quote(text: string): string {
  const characters = [...text.toWellFormed()].map((c) => {
    const escaped = ESCAPES[c];
    if (escaped !== undefined) return escaped;
    if (/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u.test(c)) return c;
    const point = c.codePointAt(0) ?? 0;
    const hex = point.toString(16);
    if (point < 0x20 || point === 0x7f) return `\\x${hex.padStart(2, '0')}`;
    return point < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
  });
  return `"${characters.join('')}"`;
}
