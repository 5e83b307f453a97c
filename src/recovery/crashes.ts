/**
 * Crashes of a pod that are its own. A container that finds its port taken crashes through no fault of its spec, so of a parent only those count that end
 * while no container of a copy runs, nor of an older pod of the workload, and of a copy only those while no container of the parent does. Ended containers that are there when a pod is first
 * looked at count for nothing: a power cut ended them. The kubelet and this daemon remove ended containers; what counts is which ones were ever seen.
 */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import type { Millis, Observation, RuntimePod, WorkloadObservation } from '../checkpoint/model.ts';

/** One crash may have a reason outside of the pod: a port that was not free yet, an etcd that was not there yet. */
export const CRASHES = 2;
/** A pod that has been up for that long begins anew. */
const STEADY: Millis = 30_000;

export interface Crashes {
  readonly uid: string;
  readonly count: number;
  /** When the first of them was seen. */
  readonly since?: Millis;
  /** Its crashed containers that the runtime still has, whether they counted or not. */
  readonly seen: readonly string[];
}

/** @param excused something else ran that may have been in the pod's way. */
export function countCrashes(
  before: Crashes | undefined,
  pod: RuntimePod,
  now: Millis,
  excused: boolean,
  upSince: Millis | undefined,
): Crashes {
  const seen = pod.crashedContainerIds;
  if (before === undefined || before.uid !== pod.uid) return { uid: pod.uid, count: 0, seen };
  const known: Crashes = upSince !== undefined && now - upSince >= STEADY ? { uid: pod.uid, count: 0, seen: before.seen } : before;
  const fresh = seen.filter((id) => !known.seen.includes(id)).length;
  if (fresh === 0 || excused) return { ...known, seen };
  return { uid: pod.uid, count: known.count + fresh, since: known.since ?? now, seen };
}

export function rememberCrashes(memory: WorkloadMemory, workload: WorkloadObservation, observation: Observation): Crashes | undefined {
  const { parentPods, copyPods, parent } = workload;
  if (observation.runtime.state !== 'ok') return memory.crashes;
  const uid = parent.state === 'present' ? parent.pod.uid : memory.lastParent?.uid;
  const pod = parentPods.find((one) => uid === undefined || one.uid === uid);
  if (pod === undefined) return memory.crashes?.uid === uid ? memory.crashes : undefined;
  // What is being ended ends with whatever exit code it has.
  const ending = (parent.state === 'present' && parent.pod.terminating) || memory.leaving === pod.uid;
  const upSince = memory.up?.uid === pod.uid ? memory.up.since : undefined;
  const beside = [...copyPods, ...parentPods.filter((one) => one.uid !== pod.uid)].some(({ running }) => running > 0);
  return countCrashes(memory.crashes, pod, observation.now, ending || beside, upSince);
}
