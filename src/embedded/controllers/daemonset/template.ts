/** The pods that a DaemonSet's template makes. */
import { createHash } from 'node:crypto';
import type { V1DaemonSetSpec, V1PodSpec, V1Toleration } from '@kubernetes/client-node';
import { safeEncode } from '../../apiserver/names.ts';
import { canonical, type KubeObject } from '../../apiserver/objects.ts';

export const REVISION_HASH = 'controller-revision-hash';

export interface DaemonSet extends KubeObject {
  spec: V1DaemonSetSpec;
}

/** Stands for a version of the template: the same template, the same hash. */
export function revisionHash(set: DaemonSet): string {
  const digest = createHash('sha256').update(canonical(set.spec.template)).digest();
  return safeEncode(String(digest.readUInt32BE(0)));
}

/** What every DaemonSet's pods tolerate (pkg/controller/daemon/util): daemons stay on a node in trouble. */
export function daemonTolerations(spec: V1PodSpec): V1Toleration[] {
  const toleration = (name: string, effect: string) => ({ key: `node.kubernetes.io/${name}`, operator: 'Exists', effect });
  return [
    ...(spec.tolerations ?? []),
    toleration('not-ready', 'NoExecute'),
    toleration('unreachable', 'NoExecute'),
    toleration('disk-pressure', 'NoSchedule'),
    toleration('memory-pressure', 'NoSchedule'),
    toleration('pid-pressure', 'NoSchedule'),
    toleration('unschedulable', 'NoSchedule'),
    ...(spec.hostNetwork === true ? [toleration('network-unavailable', 'NoSchedule')] : []),
  ];
}

/** The pod for a node, as sent to the API server. */
export function podFor(set: DaemonSet, nodeName: string): object {
  const { metadata = {}, spec = { containers: [] } } = set.spec.template;
  const only = { matchFields: [{ key: 'metadata.name', operator: 'In', values: [nodeName] }] };
  const nodeAffinity = {
    ...spec.affinity?.nodeAffinity,
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [only] },
  };
  const { annotations, labels } = metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${set.metadata.name}-`,
      namespace: set.metadata.namespace,
      labels: { ...labels, [REVISION_HASH]: revisionHash(set), 'pod-template-generation': String(set.metadata.generation ?? 1) },
      ...(annotations === undefined ? {} : { annotations }),
      ownerReferences: [ownerReference(set)],
    },
    spec: { ...spec, affinity: { ...spec.affinity, nodeAffinity }, tolerations: daemonTolerations(spec) },
  };
}

export function ownerReference(owner: KubeObject): object {
  const { apiVersion, kind, metadata } = owner;
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true, blockOwnerDeletion: true };
}
