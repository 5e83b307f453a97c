/**
 * Recovery without the daemon: one look, the same rules, and the manifests are in place. Before the kubelet (`recover --boot`) nothing runs on the
 * node, so the runtime is known to be empty without being asked; by hand it is asked.
 *
 * Every rule but rule 2 and the return of retired workloads is left to the daemon: nothing is yielded, retired or saved here, and the boot is not settled, so
 * that a daemon that comes later still treats it as a cold one.
 *
 * All that recovery needs to write is the kubelet's directory. A store that is full or read-only is used as it is: what is damaged there and cannot be
 * moved away is passed over.
 */
import { act, actionKey, type Effects } from '../act.ts';
import { type Decision, decide, type Report } from '../checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../checkpoint/memory.ts';
import type { Action, ApiState, GenerationNumber, Observation, Policy, StoredWorkload } from '../checkpoint/model.ts';
import { DamagedError, storeFailure } from '../checkpoint/store/errors.ts';
import { type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { StoreBusyError, withTransaction } from '../lock/transaction.ts';
import type { DiskSnapshot, DiskSource } from '../sources/disk.ts';
import { observe } from '../sources/observe.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';

/** One look knows no durations: what has to have lasted does not apply, whatever is due at once does. */
const ONE_LOOK: Policy = {
  activateAfter: Number.POSITIVE_INFINITY,
  apiServerFirst: Number.POSITIVE_INFINITY,
  downFor: Number.POSITIVE_INFINITY,
  proveAfter: Number.POSITIVE_INFINITY,
  stableFor: Number.POSITIVE_INFINITY,
  checkpointGracePeriod: Number.POSITIVE_INFINITY,
  trialDeadline: Number.POSITIVE_INFINITY,
  orphanAfter: Number.POSITIVE_INFINITY,
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

export type RecoveryAction = Extract<Action, { kind: 'activate' | 'quarantine' | 'deactivate' | 'revive' | 'adopt' }>;

export interface RecoveryPlan {
  readonly actions: readonly RecoveryAction[];
  readonly reports: ReadonlyMap<WorkloadKey, Report>;
}

/** Pure: what the rules say about this look. */
export function planRecovery({ bootId, api, runtime, disk, byHand }: Seen): RecoveryPlan {
  const seen = observe(
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
  const observation: Observation = byHand ? { ...seen, settledBootId: undefined } : seen;
  // Whoever asks for everything gets it; before the kubelet what waits for the API server is left to the daemon, which has the time.
  const { actions, reports }: Decision = decide(EMPTY_MEMORY, observation, byHand ? { ...ONE_LOOK, apiServerFirst: 0 } : ONE_LOOK);
  return { actions: actions.flatMap(recoveryActions), reports };
}

/** Of room that is to be made only the manifests are taken away: containers are the daemon's to stop, and before the kubelet there are none. */
function recoveryActions(action: Action): RecoveryAction[] {
  switch (action.kind) {
    case 'activate':
    case 'quarantine':
    case 'deactivate':
    case 'revive':
    case 'adopt':
      return [action];
    case 'makeRoom':
      return action.files.map((file) => ({ kind: 'deactivate', workload: action.workload, file }));
    default:
      return [];
  }
}

/** Generations that do not verify, with what is wrong: of each workload those that were looked at. */
export type Damage = ReadonlyMap<WorkloadKey, ReadonlyMap<GenerationNumber, string>>;

/** The same disk with these generations counted as damaged, and out of every pointer, as if they were in quarantine. */
export function withDamage(disk: DiskSnapshot, damage: Damage): DiskSnapshot {
  if (disk.state === 'unknown' || damage.size === 0) return disk;
  const workloads = [...disk.store.workloads].map(([key, { workload, stored }]) => {
    const damaged = damage.get(key);
    return [key, { workload, stored: damaged === undefined ? stored : storedWith(stored, damaged) }] as const;
  });
  return { ...disk, store: { ...disk.store, workloads: new Map(workloads) } };
}

function storedWith(stored: StoredWorkload, damage: ReadonlyMap<GenerationNumber, string>): StoredWorkload {
  const there = new Map([...damage].filter(([number]) => stored.generations.has(number)));
  const generations = new Map([...stored.generations].filter(([number]) => !there.has(number)));
  const usable = (number: GenerationNumber | undefined) => (number !== undefined && generations.has(number) ? number : undefined);
  const previous = usable(stored.previous);
  return {
    ...stored,
    generations,
    damaged: new Map([...stored.damaged, ...there]),
    newest: usable(stored.newest) ?? (generations.size === 0 ? undefined : Math.max(...generations.keys())),
    proven: usable(stored.proven) ?? previous,
    previous,
  };
}

export interface Recovered {
  /** What was done, in order; a quarantine is one too. */
  readonly done: readonly RecoveryAction[];
  /** Workloads that are left to the daemon, because the API server comes before them. */
  readonly left: readonly WorkloadKey[];
  /** Workloads that were not brought back, with the reason. */
  readonly failed: ReadonlyMap<WorkloadKey, string>;
  /** What could not be done and did not keep anything from being brought back. */
  readonly warnings: readonly string[];
}

export interface RecoveryPlace {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly disk: DiskSource;
  readonly wallClock: () => number;
}

/** How long another's change of the store is waited for, in milliseconds: all of it first, then each action by itself. */
const PATIENCE = { whole: 2_000, each: 300 } as const;

/**
 * Does what the plan says and plans again until nothing is left: a generation that does not verify is quarantined, and the next plan takes another one.
 * One transaction for all of it, and the workloads side by side: the disk's cache is flushed for several files at once. Where that cannot be had, each action
 * asks for one of its own as the daemon's do, and an activation goes on without.
 * Throws an Error if the store cannot be read.
 */
export async function recover(seen: Omit<Seen, 'disk'>, place: RecoveryPlace): Promise<Recovered> {
  const { checkpointDir } = place;
  const { bootId } = seen;
  const warnings: string[] = [];
  let begun = false;
  try {
    const whole = () => {
      begun = true;
      return recoverAll(seen, place, warnings, (change) => change());
    };
    return { ...(await withTransaction(checkpointDir, whole, { bootId, waitMs: PATIENCE.whole })), warnings };
  } catch (error) {
    const busy = error instanceof StoreBusyError;
    if (begun || (!busy && storeFailure(error) === undefined)) throw error;
    warnings.push(busy ? messageOf(error) : `the store cannot be changed, and is used as it is: ${messageOf(error)}`);
    const each: Effects['transaction'] = (change) => withTransaction(checkpointDir, change, { bootId, waitMs: PATIENCE.each });
    return { ...(await recoverAll(seen, place, warnings, each)), warnings };
  }
}

async function recoverAll(
  seen: Omit<Seen, 'disk'>,
  { checkpointDir, podManifestPath, disk, wallClock }: RecoveryPlace,
  warnings: string[],
  transaction: Effects['transaction'],
): Promise<Omit<Recovered, 'warnings'>> {
  const effects: Effects = {
    checkpointDir,
    podManifestPath,
    wallClock,
    transaction,
    stopGraceSeconds: 0,
    api: { confirmAbsence: outOfPlace },
    onDamage: disk.markDamaged,
    runtime: { stopContainer: outOfPlace, stopSandbox: outOfPlace, removeContainer: outOfPlace },
  };
  const done: RecoveryAction[] = [];
  const failed = new Map<WorkloadKey, string>();
  /** Each action once: what is planned again did not help, or could not be done. */
  const tried = new Set<string>();

  const perform = async (key: WorkloadKey, actions: readonly RecoveryAction[]): Promise<void> => {
    for (const action of actions) {
      tried.add(actionKey(action));
      try {
        await act(action, effects);
        done.push(action);
      } catch (error) {
        const message = messageOf(error);
        if (action.kind === 'quarantine') {
          // What could not be moved out of the way must not keep another generation from serving.
          warnings.push(`${key}: generation ${action.generation} is damaged (${action.detail}) and could not be quarantined: ${message}`);
          continue;
        }
        if (action.kind === 'activate' && error instanceof DamagedError) {
          // The next plan takes another one.
          warnings.push(`${key}: ${message}`);
          return;
        }
        if (action.kind === 'adopt' && actions.some(({ kind }) => kind === 'activate')) {
          // Nor what could not be taken over one that is ours.
          warnings.push(`${key}: bootkube's checkpoint ${action.parent.name} could not be taken over: ${message}`);
          continue;
        }
        failed.set(key, message);
        return;
      }
    }
  };

  for (;;) {
    const now = await disk.read();
    if (now.state === 'unknown') throw new Error(now.detail);
    const { actions, reports } = planRecovery({ ...seen, disk: now });
    const due = Map.groupBy(
      actions.filter((action) => !tried.has(actionKey(action)) && !failed.has(workloadKey(action.workload))),
      ({ workload }) => workloadKey(workload),
    );
    const before = done.length;
    await Promise.all([...due].map(([key, actions]) => perform(key, actions)));
    // Where every copy was activated and none took the place of another there is nothing left to plan: reading it all again takes a tenth of the time.
    const active = new Set(now.manifests.map(({ workload }) => workload));
    const enough =
      done.length === before + actions.length &&
      done.slice(before).every(({ kind }) => kind === 'activate') &&
      [...due.keys()].every((key) => !active.has(key));
    if (due.size > 0 && !enough) continue;
    for (const [key, { reason, message }] of reports) if (reason === 'NothingToActivate' && !failed.has(key)) failed.set(key, message);
    for (const [key, message] of hopeless(now)) if (!failed.has(key)) failed.set(key, message);
    const left = [...reports].flatMap(([key, { reason }]) => (reason === 'ApiServerFirst' ? [key] : []));
    return { done, left, failed };
  }
}

/** Active copies whose generation is damaged or gone, and for which there is no other: the rules leave them, because they may still run. */
function hopeless(disk: Extract<DiskSnapshot, { state: 'ok' }>): [WorkloadKey, string][] {
  return disk.manifests
    .filter(({ workload, generation }) => disk.store.workloads.get(workload)?.stored.generations.has(generation) !== true)
    .map(({ workload, generation }) => [
      workload,
      `generation ${generation} of the active copy is damaged or gone, and no copy is stored that could take its place`,
    ]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function outOfPlace(): Promise<never> {
  return Promise.reject(new Error('recovery neither asks the API server nor touches containers'));
}
