/** The ReplicaSet controller: as many pods as it says, whatever became of those before. */
import type { V1PodTemplateSpec, V1ReplicaSetSpec } from '@kubernetes/client-node';
import { asPod, type KubeObject, type Pod, sameValue } from '../apiserver/objects.ts';
import type { ApiClient } from './client.ts';
import { isControlledBy } from './daemonset/controller.ts';
import { ownerReference } from './daemonset/template.ts';
import type { Informer } from './informer.ts';
import { removePod, reportStatus } from './writes.ts';

export interface ReplicaSet extends KubeObject {
  spec: V1ReplicaSetSpec;
}

export interface ReplicaSetPlan {
  readonly create: number;
  readonly remove: readonly Pod[];
  readonly status: object;
}

/** Pods that end or that have ended do not count; the first to go are those that nobody would miss. */
export function planReplicaSet(set: ReplicaSet, pods: readonly Pod[]): ReplicaSetPlan {
  const alive = pods.filter(isAlive);
  const wanted = set.metadata.deletionTimestamp === undefined ? (set.spec.replicas ?? 1) : alive.length;
  const surplus = Math.max(0, alive.length - wanted);
  const ready = alive.filter(isReady).length;
  return {
    create: Math.max(0, wanted - alive.length),
    remove: alive.toSorted((a, b) => worth(a) - worth(b)).slice(0, surplus),
    status: {
      replicas: alive.length,
      fullyLabeledReplicas: alive.length,
      readyReplicas: ready,
      availableReplicas: ready,
      observedGeneration: set.metadata.generation ?? 1,
    },
  };
}

export async function runReplicaSets(client: ApiClient, sets: Informer, pods: Informer): Promise<void> {
  if (!sets.synced() || !pods.synced()) return;
  for (const object of sets.objects()) {
    const set = object as ReplicaSet;
    const own = pods.objects().filter((pod) => isControlledBy(pod, set));
    const plan = planReplicaSet(set, own.map(asPod));
    for (const pod of plan.remove) await removePod(client, pods, pod);
    const path = `/api/v1/namespaces/${set.metadata.namespace}/pods`;
    for (let i = 0; i < plan.create; i++) pods.absorb((await client.request('POST', path, podOf(set))) as KubeObject);
    if (!sameValue(plan.status, set.status)) await reportStatus(client, sets, 'replicasets', set, plan.status);
  }
}

function podOf(set: ReplicaSet): object {
  const { metadata, spec }: V1PodTemplateSpec = set.spec.template ?? {};
  const { labels, annotations } = metadata ?? {};
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${set.metadata.name}-`,
      namespace: set.metadata.namespace,
      labels,
      ...(annotations === undefined ? {} : { annotations }),
      ownerReferences: [ownerReference(set)],
    },
    spec,
  };
}

function isAlive(pod: Pod): boolean {
  const { phase } = pod.status ?? {};
  return pod.metadata.deletionTimestamp === undefined && phase !== 'Failed' && phase !== 'Succeeded';
}

function isReady(pod: Pod): boolean {
  return pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') === true;
}

/** Unbound, then not ready, then the rest. */
function worth(pod: Pod): number {
  return ((pod.spec.nodeName ?? '') === '' ? 0 : 1) + (isReady(pod) ? 2 : 0);
}
