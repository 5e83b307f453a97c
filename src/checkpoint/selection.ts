/** Which pods are kept: those their owner marked, and never one that is itself static or a copy. */
import type { V1Pod } from '@kubernetes/client-node';
import { CHECKPOINT, CHECKPOINT_OF, CONFIG_MIRROR, CONFIG_SOURCE, WORKLOAD } from './annotations.ts';

/** Whether a copy of this pod is to be kept. Only the exact value "true" marks a pod, as it did for bootkube's checkpointer. */
export function isMarked(pod: V1Pod): boolean {
  return pod.metadata?.annotations?.[CHECKPOINT] === 'true' && !isStatic(pod) && !isCopy(pod);
}

/** A pod that the kubelet has from a file or a URL (`kubernetes.io/config.source`), or the mirror of one. It needs no copy: its manifest is on the node. */
export function isStatic(pod: V1Pod): boolean {
  const annotations = pod.metadata?.annotations ?? {};
  const source = annotations[CONFIG_SOURCE];
  return annotations[CONFIG_MIRROR] !== undefined || (source !== undefined && source !== 'api');
}

/** A copy, ours or one that bootkube's checkpointer left: a copy of a copy would outlive its parent for ever. */
export function isCopy(pod: V1Pod): boolean {
  const annotations = pod.metadata?.annotations ?? {};
  return annotations[CHECKPOINT_OF] !== undefined || annotations[WORKLOAD] !== undefined;
}
