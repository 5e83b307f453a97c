/** What a parent is a pod of: the digest of the copy that would be made of it. */
import type { WorkloadMemory } from './memory.ts';
import type { Digest, WorkloadObservation } from './model.ts';

/** As the API server has it; undefined where no copy can be made now. */
export function digestOfParent({ parent }: WorkloadObservation): Digest | undefined {
  return parent.state === 'present' && parent.pod.copy.kind === 'copy' ? parent.pod.copy.copy.digest : undefined;
}

/** By the API server's last word on that pod, or, after a start of the daemon, by the generation that was saved from it. */
export function specOfParent({ stored, parentPods, parent }: WorkloadObservation, memory: WorkloadMemory): Digest | undefined {
  const uid = parent.state === 'present' ? parent.pod.uid : (memory.lastParent?.uid ?? parentPods[0]?.uid);
  if (uid === undefined) return undefined;
  if (memory.spec?.uid === uid) return memory.spec.digest;
  const newest = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest);
  return newest?.parent.uid === uid ? newest.digest : undefined;
}
