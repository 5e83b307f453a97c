/**
 * Recovery without the daemon: one look, the same rules, and the manifests are in place. Before the kubelet (`recover --boot`) nothing runs on the
 * node, so the runtime is known to be empty without being asked; by hand it is asked.
 *
 * Every rule but rule 2 is left to the daemon: nothing is yielded, retired or saved here, and the boot is not settled, so that a daemon that comes later
 * still treats it as a cold one.
 */
import { act, type Effects } from '../act.ts';
import { type Decision, decide, type Report } from '../checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../checkpoint/memory.ts';
import type { Action, ApiState, Policy } from '../checkpoint/model.ts';
import { DamagedError } from '../checkpoint/store/read.ts';
import { type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { withTransaction } from '../lock/transaction.ts';
import type { DiskSnapshot, DiskSource } from '../sources/disk.ts';
import { observe } from '../sources/observe.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';

/** One look knows no durations: what has to have lasted does not apply, whatever is due at once does. */
const ONE_LOOK: Policy = {
  activateAfter: Number.POSITIVE_INFINITY,
  downFor: Number.POSITIVE_INFINITY,
  proveAfter: Number.POSITIVE_INFINITY,
  stableFor: Number.POSITIVE_INFINITY,
  checkpointGracePeriod: Number.POSITIVE_INFINITY,
  trialDeadline: Number.POSITIVE_INFINITY,
};

export const NOTHING_RUNS: RuntimeSnapshot = { state: 'ok', sandboxes: [] };

export interface Seen {
  readonly bootId: string;
  readonly api: ApiState;
  readonly runtime: RuntimeSnapshot;
  readonly disk: DiskSnapshot;
  /** By hand: what is down is to be brought back now, also in a boot that has been settled. */
  readonly byHand: boolean;
}

export type RecoveryAction = Extract<Action, { kind: 'activate' | 'quarantine' | 'deactivate' }>;

export interface RecoveryPlan {
  readonly actions: readonly RecoveryAction[];
  readonly reports: ReadonlyMap<WorkloadKey, Report>;
}

/** Pure: what rule 2 says about this look. */
export function planRecovery({ bootId, api, runtime, disk, byHand }: Seen): RecoveryPlan {
  const observation = observe(
    {
      now: 0,
      bootId,
      api: {
        state: api,
        pods: new Map(),
        object: () => ({ state: 'unknown', detail: 'the API server was not asked for objects' }),
        absences: new Map(),
      },
      runtime,
      disk,
      kubelet: { state: 'unknown', detail: 'of no matter for what is started' },
      self: undefined,
    },
    () => ({ kind: 'waiting', objects: [] }),
  );
  const decision: Decision = decide(EMPTY_MEMORY, byHand ? { ...observation, settledBootId: undefined } : observation, ONE_LOOK);
  return { actions: decision.actions.filter(isRecovery), reports: decision.reports };
}

function isRecovery(action: Action): action is RecoveryAction {
  return action.kind === 'activate' || action.kind === 'quarantine' || action.kind === 'deactivate';
}

export interface Recovered {
  /** What was done, in order; a quarantine is one too. */
  readonly done: readonly RecoveryAction[];
  readonly failed: ReadonlyMap<WorkloadKey, string>;
}

export interface RecoveryPlace {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly disk: DiskSource;
  readonly wallClock: () => number;
}

/**
 * Does what the plan says and plans again until nothing is left: a generation that does not verify is quarantined, and the next plan takes another one.
 * One transaction for all of it, and the workloads side by side: the disk's cache is flushed for several files at once.
 */
export async function recover(
  seen: Omit<Seen, 'disk'>,
  { checkpointDir, podManifestPath, disk, wallClock }: RecoveryPlace,
): Promise<Recovered> {
  const effects: Effects = {
    checkpointDir,
    podManifestPath,
    wallClock,
    transaction: (change) => change(),
    stopGraceSeconds: 0,
    api: { confirmAbsence: outOfPlace },
    runtime: { stopContainer: outOfPlace, removeContainer: outOfPlace },
  };
  const done: RecoveryAction[] = [];
  const failed = new Map<WorkloadKey, string>();
  const perform = async (key: WorkloadKey, actions: readonly RecoveryAction[]): Promise<void> => {
    for (const action of actions) {
      try {
        await act(action, effects);
        done.push(action);
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (action.kind === 'activate' && error instanceof DamagedError)
          done.push({ kind: 'quarantine', workload: action.workload, generation: action.generation, detail: message });
        else failed.set(key, message);
        return;
      }
    }
  };
  await withTransaction(
    checkpointDir,
    async () => {
      for (;;) {
        const now = await disk.read();
        if (now.state === 'unknown') throw new Error(now.detail);
        const { actions, reports } = planRecovery({ ...seen, disk: now });
        for (const [key, { reason, message }] of reports) if (reason === 'NothingToActivate') failed.set(key, message);
        const byWorkload = Map.groupBy(actions, ({ workload }) => workloadKey(workload));
        const due = [...byWorkload].filter(([key]) => !failed.has(key));
        if (due.length === 0) return;
        const before = done.length;
        await Promise.all(due.map(([key, actions]) => perform(key, actions)));
        // Where every copy was activated and none took the place of another there is nothing left to plan: reading it all again takes a tenth of the time.
        const active = new Set(now.manifests.map(({ workload }) => workload));
        if (done.slice(before).every(({ kind }) => kind === 'activate') && due.every(([key]) => !active.has(key))) return;
      }
    },
    { bootId: seen.bootId },
  );
  return { done, failed };
}

function outOfPlace(): Promise<never> {
  return Promise.reject(new Error('recovery neither asks the API server nor touches containers'));
}
