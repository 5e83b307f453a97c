/** Which objects a pod names: what has to be read, and watched, for its copy to stay current. */
import type { V1Container, V1Pod, V1Volume, V1VolumeProjection } from '@kubernetes/client-node';
import { needsNode } from './copy/fields.ts';
import type { ClaimRef, NamedRef, ObjectRef, TokenRef, TrustBundleRef } from './copy-types.ts';

/** Where the cluster says how pods reach its API server. Not named by a pod: the kubelet tells every container its address. */
export const KUBERNETES_SERVICE = { kind: 'Service', namespace: 'default', name: 'kubernetes' } as const satisfies NamedRef;

/**
 * All objects that the pod's volumes and containers name, optional ones too, each one once, in a stable order: Secrets, ConfigMaps, claims, tokens, trust
 * bundles, and the node where it is asked for what it has to give.
 * Not those in `imagePullSecrets`: the copy does not carry them. Not those in ephemeral containers: the copy has none.
 */
export function objectReferences(pod: V1Pod): ObjectRef[] {
  const namespace = pod.metadata?.namespace;
  if (namespace === undefined) throw new Error('a pod without metadata.namespace: expected a pod as the API server returns it');
  const refs = new Map<string, ObjectRef>();
  const add = (ref: ObjectRef) => refs.set(objectKey(ref), ref);
  for (const { kind, name } of named(pod)) if (name !== undefined && name !== '') add({ kind, namespace, name });
  for (const { persistentVolumeClaim: claim } of pod.spec?.volumes ?? []) if (claim?.claimName) add(claimRef(pod, claim.claimName));
  for (const source of (pod.spec?.volumes ?? []).flatMap((volume) => volume.projected?.sources ?? [])) {
    if (source.serviceAccountToken) add(tokenRef(pod, source.serviceAccountToken));
    if (source.clusterTrustBundle) add(trustBundleRef(source.clusterTrustBundle));
  }
  const nodeName = pod.spec?.nodeName;
  if (nodeName !== undefined && fieldsOfResources(pod).some((selector) => needsNode(pod, selector)))
    add({ kind: 'Node', namespace: '', name: nodeName });
  return [...refs.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, ref]) => ref);
}

export function claimRef(pod: V1Pod, name: string): ClaimRef {
  return { kind: 'PersistentVolumeClaim', namespace: pod.metadata?.namespace ?? '', name, podUid: pod.metadata?.uid ?? '' };
}

/** The kubelet's defaults: an hour, and the API server's own audience. */
export function tokenRef(pod: V1Pod, source: NonNullable<V1VolumeProjection['serviceAccountToken']>): TokenRef {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  return {
    kind: 'Token',
    namespace,
    name: pod.spec?.serviceAccountName || 'default',
    audience: source.audience ?? '',
    expirationSeconds: source.expirationSeconds ?? 3600,
    pod: { name, uid },
  };
}

export function trustBundleRef(source: NonNullable<V1VolumeProjection['clusterTrustBundle']>): TrustBundleRef {
  const { name = '', signerName = '', labelSelector } = source;
  return { kind: 'ClusterTrustBundle', namespace: '', name, signerName, labelSelector };
}

/** Equal for references to the same. */
export function objectKey(ref: ObjectRef): string {
  const key = `${ref.kind}/${ref.namespace}/${ref.name}`;
  switch (ref.kind) {
    case 'Token':
      return `${key}/${ref.pod.uid}/${ref.expirationSeconds}/${ref.audience}`;
    case 'PersistentVolumeClaim':
      return `${key}/${ref.podUid}`;
    case 'ClusterTrustBundle':
      return `${key}/${ref.signerName}/${JSON.stringify(ref.labelSelector)}`;
    default:
      return key;
  }
}

/** How an object is called in messages: `Secret kube-system/etcd-client`. */
export function objectTitle(ref: ObjectRef): string {
  switch (ref.kind) {
    case 'Token': {
      const audience = ref.audience === '' ? '' : ` for audience ${JSON.stringify(ref.audience)}`;
      return `token of ServiceAccount ${ref.namespace}/${ref.name}${audience}`;
    }
    case 'ClusterTrustBundle':
      return ref.name === '' ? `ClusterTrustBundles of signer ${ref.signerName}` : `ClusterTrustBundle ${ref.name}`;
    default:
      return ref.namespace === '' ? `${ref.kind} ${ref.name}` : `${ref.kind} ${ref.namespace}/${ref.name}`;
  }
}

interface Named {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly name: string | undefined;
}

function fieldsOfResources(pod: V1Pod) {
  const items = (pod.spec?.volumes ?? []).flatMap((volume) => [
    ...(volume.downwardAPI?.items ?? []),
    ...(volume.projected?.sources ?? []).flatMap((source) => source.downwardAPI?.items ?? []),
  ]);
  return items.flatMap((item) => (item.resourceFieldRef === undefined ? [] : [item.resourceFieldRef]));
}

function* named(pod: V1Pod): Generator<Named> {
  for (const volume of pod.spec?.volumes ?? []) yield* namedByVolume(volume);
  for (const container of [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])]) yield* namedByContainer(container);
}

function* namedByVolume(volume: V1Volume): Generator<Named> {
  if (volume.secret) yield { kind: 'Secret', name: volume.secret.secretName };
  if (volume.configMap) yield { kind: 'ConfigMap', name: volume.configMap.name };
  for (const source of volume.projected?.sources ?? []) {
    if (source.secret) yield { kind: 'Secret', name: source.secret.name };
    if (source.configMap) yield { kind: 'ConfigMap', name: source.configMap.name };
  }
}

function* namedByContainer(container: V1Container): Generator<Named> {
  for (const source of container.envFrom ?? []) {
    if (source.secretRef) yield { kind: 'Secret', name: source.secretRef.name };
    if (source.configMapRef) yield { kind: 'ConfigMap', name: source.configMapRef.name };
  }
  for (const { valueFrom } of container.env ?? []) {
    if (valueFrom?.secretKeyRef) yield { kind: 'Secret', name: valueFrom.secretKeyRef.name };
    if (valueFrom?.configMapKeyRef) yield { kind: 'ConfigMap', name: valueFrom.configMapKeyRef.name };
  }
}
