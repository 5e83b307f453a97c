/** What is kept of an object in memory. A node has a hundred pods, of which a handful are marked. */
import type { V1ObjectMeta, V1Pod } from '@kubernetes/client-node';
import { isMarked } from '../../checkpoint/selection.ts';

/** Marked pods whole; of the others who they are, where they run and how they are. `spec.containers` of those is empty. */
export function keepPod(pod: V1Pod): V1Pod {
  const kept = withoutManagedFields(pod);
  if (isMarked(pod)) return kept;
  const status = pod.status;
  return {
    ...(kept.metadata !== undefined && { metadata: kept.metadata }),
    spec: { containers: [], ...(pod.spec?.nodeName !== undefined && { nodeName: pod.spec.nodeName }) },
    status: {
      ...(status?.phase !== undefined && { phase: status.phase }),
      ...(status?.reason !== undefined && { reason: status.reason }),
      ...(status?.startTime !== undefined && { startTime: status.startTime }),
      ...(status?.podIP !== undefined && { podIP: status.podIP }),
      ...(status?.conditions !== undefined && { conditions: status.conditions }),
    },
  };
}

/** managedFields are often larger than the rest and say nothing about the object itself. */
export function withoutManagedFields<T extends { metadata?: V1ObjectMeta }>(object: T): T {
  if (object.metadata?.managedFields === undefined) return object;
  const { managedFields: _dropped, ...metadata } = object.metadata;
  return { ...object, metadata };
}
