/** Which Secrets and ConfigMaps a pod names: what has to be watched for its copy to stay current. */
import type { V1Container, V1Pod, V1Volume } from '@kubernetes/client-node';
import type { ObjectRef } from './copy-types.ts';

/**
 * All Secrets and ConfigMaps that the pod's volumes and containers name, optional ones too, each one once, in a stable order.
 * Not those in `imagePullSecrets`: the copy does not carry them. Not those in ephemeral containers: the copy has none.
 */
export function objectReferences(pod: V1Pod): ObjectRef[] {
  const namespace = pod.metadata?.namespace;
  if (namespace === undefined) throw new Error('a pod without metadata.namespace: expected a pod as the API server returns it');
  const refs = new Map<string, ObjectRef>();
  for (const { kind, name } of named(pod)) {
    if (name !== undefined && name !== '') refs.set(`${kind}/${name}`, { kind, namespace, name });
  }
  return [...refs.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, ref]) => ref);
}

/** How an object is called in messages: `Secret kube-system/etcd-client`. */
export function objectTitle(ref: ObjectRef): string {
  return `${ref.kind} ${ref.namespace}/${ref.name}`;
}

interface Named {
  readonly kind: ObjectRef['kind'];
  readonly name: string | undefined;
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
