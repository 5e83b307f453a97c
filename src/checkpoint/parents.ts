/** What a parent is a pod of: the digest of the copy that would be made of it. */
import type { WorkloadMemory } from './memory.ts';
import type { Digest, WorkloadObservation } from './model.ts';

/** As the API server has it; undefined where no copy can be made now. */
export function digestOfParent({ parent }: WorkloadObservation): Digest | undefined {
  return parent.state === 'present' && parent.pod.copy.kind === 'copy' ? parent.pod.copy.copy.digest : undefined;
}

/** The pod that is the parent, also while the API server is away: a rollout may have an older one of the workload running beside it. */
export function uidOfParent({ parentPods, parent }: WorkloadObservation, memory: WorkloadMemory): string | undefined {
  return parent.state === 'present' ? parent.pod.uid : (memory.lastParent?.uid ?? parentPods[0]?.uid);
}

/** By the API server's last word on that pod, or, after a start of the daemon, by the generation that was saved from it. */
export function specOfParent(workload: WorkloadObservation, memory: WorkloadMemory): Digest | undefined {
  const { stored } = workload;
  const uid = uidOfParent(workload, memory);
  if (uid === undefined) return undefined;
  if (memory.spec?.uid === uid) return memory.spec.digest;
  const newest = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest);
  return newest?.parent.uid === uid ? newest.digest : undefined;
}
