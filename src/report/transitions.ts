/**
 * What changed between two statuses. Pure. Two things make a transition of a workload: another reason code, and a milestone, which is something that a
 * person should hear of. Milestones are read from what lies in the store and in the kubelet's directory, not from the actions: what another process did
 * (`recover --boot`, a command typed by hand) counts as much, and what failed does not.
 */
import { type GenerationNumber, OF_PREDECESSOR } from '../checkpoint/model.ts';
import type { Reason } from '../checkpoint/verdict.ts';
import type { Status, WorkloadStatus } from '../status.ts';

export type Milestone =
  /** A generation with another copy than the newest one was stored. */
  | 'Copied'
  /** Another copy than before is what a reboot gets. */
  | 'Proven'
  /** A copy runs in place of its parent. */
  | 'Activated'
  /** The active copy was taken away and the workload is still protected. */
  | 'Yielded'
  /** What ran did not hold up; the copy that was proven runs instead. */
  | 'RolledBack'
  /** No copy can be made of the parent. */
  | 'Refused'
  /** The workload's generations were moved out of use. */
  | 'Retired'
  /** Nothing of bootkube's pod-checkpointer is left of it on this node. */
  | 'TakenOver';

export interface Transition {
  /** RFC 3339. */
  readonly at: string;
  /** `kube-system/DaemonSet/kube-apiserver`. */
  readonly workload: string;
  readonly namespace: string;
  /** The reason before; absent for a workload that is seen for the first time. */
  readonly from?: Reason;
  /** The reason now; absent for a workload that is gone from the node and the store. */
  readonly to?: Reason;
  readonly state: WorkloadState;
  readonly milestones: readonly Milestone[];
  readonly message: string;
  /** What it is about: the active generation, else the newest one. */
  readonly generation?: GenerationNumber;
  readonly parent?: string;
  readonly parentUid?: string;
}

/** What a workload has, whatever the reason: the label of the metric and of the log. */
export type WorkloadState =
  /** No generation. */
  | 'unsaved'
  /** Generations, and none of them proven. */
  | 'saved'
  /** A proven generation. */
  | 'proven'
  /** A copy's manifest lies in the kubelet's directory. */
  | 'active'
  /** The checkpointer's own workload: its copy is active all the time. */
  | 'self';

export const WORKLOAD_STATES: readonly WorkloadState[] = ['unsaved', 'saved', 'proven', 'active', 'self'];

export function stateOf({ self, active, proven, newest }: WorkloadStatus): WorkloadState {
  if (self === true) return 'self';
  if (active !== undefined) return 'active';
  return proven !== undefined ? 'proven' : newest !== undefined ? 'saved' : 'unsaved';
}

/** In the order of the workloads' names. `before` undefined: nothing is known of the past, so nothing is a milestone but what is refused now. */
export function transitions(before: Status | undefined, after: Status, at: string): Transition[] {
  const keys = [...new Set([...Object.keys(before?.workloads ?? {}), ...Object.keys(after.workloads)])].sort();
  return keys.flatMap((key) => {
    const [old, now] = [before?.workloads[key], after.workloads[key]];
    if (now === undefined) return old === undefined ? [] : [gone(key, old, at)];
    const milestones = milestonesOf(old, now);
    if (old?.reason === now.reason && milestones.length === 0) return [];
    return [transition(key, old, now, milestones, at)];
  });
}

/** The workload's state as a transition from nothing: for a log that begins. */
export function standing(key: string, now: WorkloadStatus, at: string): Transition {
  return transition(key, undefined, now, [], at);
}

function transition(
  key: string,
  old: WorkloadStatus | undefined,
  now: WorkloadStatus,
  milestones: readonly Milestone[],
  at: string,
): Transition {
  const generation = now.active?.generation ?? now.newest?.generation;
  return {
    at,
    workload: key,
    namespace: now.namespace,
    ...(old === undefined ? {} : { from: old.reason }),
    to: now.reason,
    state: stateOf(now),
    milestones,
    message: now.message,
    ...(generation === undefined ? {} : { generation }),
    ...parentOf(now),
  };
}

function gone(key: string, old: WorkloadStatus, at: string): Transition {
  const stored = old.newest !== undefined;
  return {
    at,
    workload: key,
    namespace: old.namespace,
    from: old.reason,
    state: 'unsaved',
    milestones: stored ? ['Retired'] : [],
    message: stored
      ? 'its generations were moved out of use'
      : 'no marked pod of it is on this node any more, and nothing of it was stored',
    ...(old.newest === undefined ? {} : { generation: old.newest.generation }),
    ...parentOf(old),
  };
}

function parentOf({ parent, parentUid }: WorkloadStatus): Pick<Transition, 'parent' | 'parentUid'> {
  return { ...(parent === undefined ? {} : { parent }), ...(parentUid === undefined ? {} : { parentUid }) };
}

/** Rule 3 for a parent that crashes, and rule 4 for one that did not come up in its trial: the proven copy is back. */
const ROLLED_BACK: ReadonlySet<Reason> = new Set(['RolledBack', 'TrialFailed'] as const);
const REFUSED: ReadonlySet<Reason> = new Set(['Refused'] as const);

function milestonesOf(old: WorkloadStatus | undefined, now: WorkloadStatus): Milestone[] {
  const became = (reasons: ReadonlySet<Reason>) => reasons.has(now.reason) && !(old !== undefined && reasons.has(old.reason));
  const seen: [boolean, Milestone][] = [
    [old !== undefined && isNewCopy(old, now), 'Copied'],
    [old !== undefined && isNewlyProven(old, now), 'Proven'],
    // The checkpointer's own copy runs beside its pod all the time: that it comes and goes with each version is nothing to hear of.
    [old !== undefined && now.self !== true && now.active !== undefined && now.active.activation !== old.active?.activation, 'Activated'],
    [became(ROLLED_BACK) || fellBack(old, now), 'RolledBack'],
    [old?.active !== undefined && now.self !== true && now.active === undefined && now.newest !== undefined, 'Yielded'],
    [became(REFUSED), 'Refused'],
    [old?.newest !== undefined && now.newest === undefined && now.proven === undefined, 'Retired'],
    [old?.predecessor !== undefined && now.predecessor === undefined, 'TakenOver'],
  ];
  return seen.flatMap(([holds, milestone]) => (holds ? [milestone] : []));
}

/** Not the same copy with newer tokens, and not an older generation that became the newest again. */
function isNewCopy({ newest: old }: WorkloadStatus, { newest: now }: WorkloadStatus): boolean {
  return now !== undefined && now.digest !== old?.digest && now.generation > (old?.generation ?? 0);
}

/** Not the same copy for another pod, and not the one before, which took the place of a proven one that did not hold up. */
function isNewlyProven({ proven: old }: WorkloadStatus, { proven: now, newest }: WorkloadStatus): boolean {
  if (now === undefined || now.digest === old?.digest) return false;
  return now.generation > (old?.generation ?? 0) || now.generation === newest?.generation;
}

/** Rule 3 for an active copy that crashes itself: the generation that was proven before it runs. */
function fellBack(old: WorkloadStatus | undefined, { active: now }: WorkloadStatus): boolean {
  return old?.active !== undefined && now !== undefined && now.generation !== OF_PREDECESSOR && now.generation < old.active.generation;
}
