/**
 * What `decide` remembers between two observations: since when something has held. Timers only, all on the monotonic clock and all lost when the
 * daemon ends, which only ever makes it wait longer. What must outlive the daemon is in the store.
 */
import { rememberKubelet } from '../recovery/kubelet.ts';
import type { Digest, Millis, Observation, WorkloadObservation } from './model.ts';
import type { WorkloadKey } from './workload.ts';

export interface WorkloadMemory {
  /** No container of a parent has been running since then, by a runtime that answered. */
  readonly parentDownSince?: Millis;
  /** The parent has been up without a restart since then. */
  readonly up?: { readonly uid: string; readonly attempts: number; readonly since: Millis };
  /** The parent has been Ready, with this copy and without a restart, since then. */
  readonly ready?: { readonly uid: string; readonly digest: Digest; readonly restarts: number; readonly since: Millis };
  /** The API server has answered without a parent since then. */
  readonly absentSince?: Millis;
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
  /** Trials of a spec that failed in a row, and when the next may begin. Another spec begins anew. */
  readonly failedTrials?: { readonly count: number; readonly retryAt: Millis; readonly digest?: Digest };
  /** When an edited manifest was last restored. */
  readonly restoredAt?: Millis;
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
    workloads,
  };
}

function rememberWorkload(memory: WorkloadMemory, workload: WorkloadObservation, { now, api, runtime }: Observation): WorkloadMemory {
  const parent = workload.parent.state === 'present' ? workload.parent.pod : undefined;
  const runtimeKnown = runtime.state === 'ok';
  const leaving = workload.parent.state === 'unknown' ? memory.leaving : parent?.terminating === true ? parent.uid : undefined;
  const anyRunning = workload.parentPods.some((pod) => pod.running > 0 && !(api.state === 'unreachable' && pod.uid === leaving));
  const upPod = workload.parentPods.find((pod) => pod.up && (parent === undefined || pod.uid === parent.uid));
  const readyCopy = parent?.ready === true && !parent.terminating && parent.copy.kind === 'copy' ? parent.copy.copy.digest : undefined;
  const active = workload.active.length > 0;

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
    handBackSince: active && api.state === 'ok' && parent !== undefined && !parent.terminating ? (memory.handBackSince ?? now) : undefined,
    lastParent: parent === undefined ? memory.lastParent : { name: parent.name, uid: parent.uid },
    leaving,
    askedAt: workload.parent.state === 'absent' ? memory.askedAt : undefined,
    // A manifest that is still there means that the yield did not happen.
    trial: active ? undefined : memory.trial,
    failedTrials: isOfAnotherSpec(memory, workload) ? undefined : memory.failedTrials,
    restoredAt: memory.restoredAt,
  });
}

function isOfAnotherSpec({ failedTrials }: WorkloadMemory, workload: WorkloadObservation): boolean {
  const digest = digestOfParent(workload);
  return failedTrials?.digest !== undefined && digest !== undefined && failedTrials.digest !== digest;
}

/** Of the copy that would be made of the parent; undefined where none can be made now. */
export function digestOfParent({ parent }: WorkloadObservation): Digest | undefined {
  return parent.state === 'present' && parent.pod.copy.kind === 'copy' ? parent.pod.copy.copy.digest : undefined;
}

function compact(memory: { [K in keyof WorkloadMemory]: WorkloadMemory[K] | undefined }): WorkloadMemory {
  return Object.fromEntries(Object.entries(memory).filter(([, value]) => value !== undefined));
}
