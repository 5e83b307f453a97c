/**
 * Rule 1, prove. While the API server answers, its word counts: Ready, without restarts, for `--prove-after`. Without it what runs is proven by the node
 * itself: its containers run without a restart and their own readiness probes are answered. Of a probe that only the kubelet can do (exec, a pod without
 * the host's network) nobody knows.
 */
import type { WorkloadMemory } from './memory.ts';
import type { Millis, Observation, Questions, RuntimePod, StoredGeneration, WorkloadObservation } from './model.ts';
import { specOfParent, uidOfParent } from './parents.ts';

/** The newest generation, where it is not proven and may be, and the pod that runs it. */
function unproven(workload: WorkloadObservation, memory: WorkloadMemory): { generation: StoredGeneration; pod: RuntimePod } | undefined {
  const { stored, copyPods, parentPods } = workload;
  const newest = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest);
  if (stored === undefined || newest === undefined || newest.number === stored.proven || stored.failing.has(newest.digest))
    return undefined;
  // Where another pod of the workload runs, it may be that one which answers on the node's addresses.
  const [only, ...others] = [...parentPods, ...copyPods].filter(({ running }) => running > 0);
  if (only?.up !== true || others.length > 0) return undefined;
  const isCopy = copyPods.some(({ uid, generation }) => uid === only.uid && generation === newest.number);
  const isParent = only.uid === uidOfParent(workload, memory) && specOfParent(workload, memory) === newest.digest;
  return isCopy || isParent ? { generation: newest, pod: only } : undefined;
}

/** Which probes have to be done from the node. */
export function probesToAsk(workload: WorkloadObservation, memory: WorkloadMemory, { api, runtime }: Observation): Questions['probes'] {
  if (api.state === 'ok' || api.state === 'unknown' || runtime.state !== 'ok') return [];
  const found = unproven(workload, memory);
  return found === undefined ? [] : [{ workload: workload.workload, uid: found.pod.uid, generation: found.generation.number }];
}

export function rememberAnswering(
  memory: WorkloadMemory,
  workload: WorkloadObservation,
  { api, runtime, now }: Observation,
): WorkloadMemory['answering'] {
  if (api.state === 'ok' || api.state === 'unknown') return undefined;
  if (runtime.state !== 'ok') return memory.answering;
  const found = unproven(workload, memory);
  if (found === undefined || workload.answering?.get(found.pod.uid) !== true) return undefined;
  const { uid, attempts } = found.pod;
  const generation = found.generation.number;
  const before = memory.answering;
  if (before?.uid === uid && before.attempts === attempts && before.generation === generation) return before;
  return { uid, attempts, generation, since: now };
}

/** When the generation that runs without an API server is proven. */
export function provenOffline(memory: WorkloadMemory, proveAfter: Millis): { generation: number; due: Millis } | undefined {
  return memory.answering === undefined ? undefined : { generation: memory.answering.generation, due: memory.answering.since + proveAfter };
}
