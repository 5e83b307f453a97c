/**
 * What `decide` remembers between two observations: since when something has held. Timers only, all on the monotonic clock and all lost when the
 * daemon ends, which only ever makes it wait longer. What must outlive the daemon is in the store.
 */
import { rememberCopy, rememberLeftover } from '../recovery/copies.ts';
import { type Crashes, rememberCrashes } from '../recovery/crashes.ts';
import { rememberKubelet } from '../recovery/kubelet.ts';
import { rememberOrphan } from '../recovery/orphan.ts';
import { rememberRejection } from '../recovery/rejected.ts';
import type { Digest, GenerationNumber, Millis, Observation, Rejection, WorkloadObservation } from './model.ts';
import { digestOfParent } from './parents.ts';
import { rememberAnswering } from './prove.ts';
import { type WorkloadKey, workloadKey } from './workload.ts';

export interface WorkloadMemory {
  /** No container of a parent has been running since then, by a runtime that answered. */
  readonly parentDownSince?: Millis;
  /** The parent has been up without a restart since then. */
  readonly up?: { readonly uid: string; readonly attempts: number; readonly since: Millis };
  /** The parent has been Ready, with this copy and without a restart, since then. */
  readonly ready?: { readonly uid: string; readonly digest: Digest; readonly restarts: number; readonly since: Millis };
  /** The API server has answered without a parent since then. */
  readonly absentSince?: Millis;
  /** The parent came since then, after the API server had answered without one for that long. */
  readonly came?: { readonly since: Millis; readonly absentFor: Millis };
  /** Uid of the copy whose own readiness probes were answered once. */
  readonly served?: string;
  /** When a readiness probe of the active copy was last not answered. */
  readonly unansweredAt?: Millis;
  /** A copy is active and its parent is back in the API since then. */
  readonly handBackSince?: Millis;
  /** The parent was last seen under this name. */
  readonly lastParent?: { readonly name: string; readonly uid: string };
  /** The parent was on its way out when it was last seen: once the API server is gone, it does not count as running any more, however long it takes. */
  readonly leaving?: string;
  /** When the API server was last asked for the absent parent. */
  readonly askedAt?: Millis;
  /** The parent was given the place of the active copy. */
  readonly trial?: { readonly since: Millis; readonly deadline: Millis; readonly failed?: boolean };
  /** A parent that passed its trial, and since when: one that goes down again soon did not pass it after all. */
  readonly passed?: { readonly uid: string; readonly since: Millis };
  /** Trials of a spec that failed in a row, and when the next may begin. Another spec begins anew. */
  readonly failedTrials?: { readonly count: number; readonly retryAt: Millis; readonly digest?: Digest };
  /** What the copy of the parent was when the API server last said so. */
  readonly spec?: { readonly uid: string; readonly digest: Digest };
  /** How often the parent crashed by itself. */
  readonly crashes?: Crashes;
  /** What became of the active copy. */
  readonly copy?: CopyMemory;
  /** Specs whose copies crashed in this daemon's life, without those that were up for a while afterwards. */
  readonly crashedCopies?: readonly Digest[];
  /** A spec that is to be marked failing and is not marked on the disk yet. */
  readonly failing?: { readonly digest: Digest; readonly detail: string };
  /** The specs that were marked failing on the disk at the last observation. */
  readonly marked?: readonly Digest[];
  /** When the last manifests came to be active. */
  readonly activations?: readonly Millis[];
  /** Manifests in a row that the kubelet made no sandbox for. `of`: the activation of the last one, which has its successor when another is active. */
  readonly reissues?: { readonly count: number; readonly at: Millis; readonly of: number };
  /** A generation that is not proven has been running since then, and its own probes were answered. */
  readonly answering?: { readonly uid: string; readonly generation: GenerationNumber; readonly attempts: number; readonly since: Millis };
  /** The owner has wanted a pod here and had no Ready one anywhere since then. */
  readonly orphanSince?: Millis;
  /** Why the kubelet last refused the parent of the active copy. */
  readonly rejection?: Rejection;
  /** Something of a copy without a manifest has been running since then. */
  readonly leftoverSince?: Millis;
  /** It served the API and was retired once, or began to be. Where it is there again nothing else served the API. Until its parent is seen again. */
  readonly retiredOnce?: true;
  /** When an edited manifest was last to be restored, and which: for as long as that one is active it was not. */
  readonly restored?: { readonly at: Millis; readonly of: number };
}

export interface CopyMemory {
  readonly activation: number;
  readonly generation: GenerationNumber;
  /** Since when it has had no sandbox in a runtime that answered; undefined while it has one. */
  readonly missingSince?: Millis;
  /** Since when it has had a sandbox and no container. */
  readonly emptySince?: Millis;
  readonly crashes?: Crashes;
  /** Since when it has been up. */
  readonly upSince?: Millis;
}

export interface KubeletMemory {
  /** Holder and waiters, as one text to compare; undefined while nobody held the lock. */
  readonly seen: string | undefined;
  /** Since when it has been this one; undefined for the first that was seen, which may have held it for long. */
  readonly since: Millis | undefined;
}

export interface Memory {
  readonly apiUnreachableSince?: Millis;
  /** Who held the kubelet's lock when that was last known. */
  readonly kubelet?: KubeletMemory;
  /** When the API server was last asked for the pod of the predecessor's copy of itself. */
  readonly predecessorAskedAt?: Millis;
  /** The checkpointer was leaving the node when this was last decided. */
  readonly leaving?: boolean;
  readonly workloads: ReadonlyMap<WorkloadKey, WorkloadMemory>;
}

export const EMPTY_MEMORY: Memory = { workloads: new Map() };

/** Brings the timers up to date with an observation. Rules read them afterwards; they never look at two observations. */
export function remember(memory: Memory, observation: Observation): Memory {
  const { now, api } = observation;
  const workloads = new Map<WorkloadKey, WorkloadMemory>();
  for (const [key, workload] of observation.workloads)
    workloads.set(key, rememberWorkload(memory.workloads.get(key) ?? {}, workload, observation));
  const kubelet = rememberKubelet(memory.kubelet, observation.kubelet, now);
  return {
    ...(api.state === 'unreachable' ? { apiUnreachableSince: memory.apiUnreachableSince ?? now } : {}),
    ...(kubelet === undefined ? {} : { kubelet }),
    ...(memory.predecessorAskedAt === undefined || api.state !== 'ok' ? {} : { predecessorAskedAt: memory.predecessorAskedAt }),
    workloads,
  };
}

function rememberWorkload(memory: WorkloadMemory, workload: WorkloadObservation, observation: Observation): WorkloadMemory {
  const { now, api, runtime } = observation;
  const parent = workload.parent.state === 'present' ? workload.parent.pod : undefined;
  const runtimeKnown = runtime.state === 'ok';
  const leaving = workload.parent.state === 'unknown' ? memory.leaving : parent?.terminating === true ? parent.uid : undefined;
  const anyRunning = workload.parentPods.some((pod) => pod.running > 0 && !(api.state === 'unreachable' && pod.uid === leaving));
  const upPod = workload.parentPods.find((pod) => pod.up && (parent === undefined || pod.uid === parent.uid));
  const readyCopy = parent?.ready === true && !parent.terminating && mayProve(workload, observation) ? digestOfParent(workload) : undefined;
  const active = workload.active.length > 0;
  const digest = digestOfParent(workload);

  return compact({
    parentDownSince: runtimeKnown && !anyRunning ? (memory.parentDownSince ?? now) : undefined,
    up: !runtimeKnown
      ? memory.up
      : upPod === undefined
        ? undefined
        : memory.up !== undefined && memory.up.uid === upPod.uid && memory.up.attempts === upPod.attempts
          ? memory.up
          : { uid: upPod.uid, attempts: upPod.attempts, since: now },
    ready:
      parent === undefined || readyCopy === undefined
        ? undefined
        : memory.ready !== undefined &&
            memory.ready.uid === parent.uid &&
            memory.ready.digest === readyCopy &&
            memory.ready.restarts === parent.restarts
          ? memory.ready
          : { uid: parent.uid, digest: readyCopy, restarts: parent.restarts, since: now },
    absentSince: api.state === 'ok' && workload.parent.state === 'absent' ? (memory.absentSince ?? now) : undefined,
    came:
      workload.parent.state === 'absent'
        ? undefined
        : parent !== undefined && memory.absentSince !== undefined
          ? { since: now, absentFor: now - memory.absentSince }
          : memory.came,
    handBackSince: active && api.state === 'ok' && parent !== undefined && !parent.terminating ? (memory.handBackSince ?? now) : undefined,
    unansweredAt: !active
      ? undefined
      : workload.copyPods.some(({ uid }) => workload.answering?.get(uid) === false)
        ? now
        : memory.unansweredAt,
    served: workload.copyPods.find(({ uid }) => uid === memory.served || workload.answering?.get(uid) === true)?.uid,
    lastParent: parent === undefined ? memory.lastParent : { name: parent.name, uid: parent.uid },
    leaving,
    askedAt: workload.parent.state === 'absent' ? memory.askedAt : undefined,
    // A manifest that is still there means that the yield did not happen. A parent that went has its time; the one that comes after it has its own.
    trial: active || (workload.parent.state === 'absent' && now >= (memory.trial?.deadline ?? now)) ? undefined : memory.trial,
    passed: memory.passed !== undefined && (parent === undefined || parent.uid === memory.passed.uid) ? memory.passed : undefined,
    failedTrials: isOfAnotherSpec(memory, workload) || wasForgiven(memory, workload) ? undefined : memory.failedTrials,
    spec: parent !== undefined && digest !== undefined ? { uid: parent.uid, digest } : memory.spec,
    // Known failing by what the disk says, once that says so: a person may clear it there.
    failing: memory.failing !== undefined && workload.stored?.failing.has(memory.failing.digest) !== true ? memory.failing : undefined,
    marked: workload.stored === undefined ? memory.marked : [...workload.stored.failing.keys()],
    retiredOnce: parent === undefined ? memory.retiredOnce : undefined,
    restored: memory.restored,
    crashes: rememberCrashes(memory, workload, observation),
    ...rememberCopy(memory, workload, observation),
    leftoverSince: rememberLeftover(memory, workload, observation),
    orphanSince: rememberOrphan(memory, workload, observation),
    answering: rememberAnswering(memory, workload, observation),
    rejection: rememberRejection(memory, workload),
  });
}

/**
 * The probes of a parent beside its copy may be answered by the copy, on a port that they share. The copy leaves soon, and then it is the parent.
 * A checkpointer that is Ready only shows that it can wait. Its spec is proven by one that leads, and that is this process: it has to be the parent's.
 * Where a process cannot tell in which pod it runs, Ready has to do.
 */
function mayProve({ workload, parent, active }: WorkloadObservation, { self, runsIn }: Observation): boolean {
  if (self === undefined || self !== workloadKey(workload)) return active.length === 0;
  if (runsIn === undefined) return true;
  return parent.state === 'present' && parent.pod.uid === runsIn.pod;
}

function isOfAnotherSpec({ failedTrials }: WorkloadMemory, workload: WorkloadObservation): boolean {
  const digest = digestOfParent(workload);
  return failedTrials?.digest !== undefined && digest !== undefined && failedTrials.digest !== digest;
}

/** A mark was there at the last observation, and a person took it away. */
function wasForgiven({ marked, failedTrials }: WorkloadMemory, { stored }: WorkloadObservation): boolean {
  const digest = failedTrials?.digest;
  return digest !== undefined && marked?.includes(digest) === true && stored?.failing.has(digest) === false;
}

function compact(memory: { [K in keyof WorkloadMemory]: WorkloadMemory[K] | undefined }): WorkloadMemory {
  return Object.fromEntries(Object.entries(memory).filter(([, value]) => value !== undefined));
}
