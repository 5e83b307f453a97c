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
import type { Action, ApiState, GenerationNumber, Observation, Policy, StoredWorkload, WorkloadObservation } from '../checkpoint/model.ts';
import { DamagedError, storeFailure } from '../checkpoint/store/errors.ts';
import { loadGeneration } from '../checkpoint/store/load.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { withTransaction } from '../lock/transaction.ts';
import type { DiskSnapshot, DiskSource } from '../sources/disk.ts';
import { observe } from '../sources/observe.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';
import { candidate } from './candidate.ts';

/** One look knows no durations: what has to have lasted does not apply, whatever is due at once does. */
const ONE_LOOK: Policy = {
  activateAfter: Number.POSITIVE_INFINITY,
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

export type RecoveryAction = Extract<Action, { kind: 'activate' | 'quarantine' | 'deactivate' | 'revive' }>;

export interface RecoveryPlan {
  readonly actions: readonly RecoveryAction[];
  readonly reports: ReadonlyMap<WorkloadKey, Report>;
}

/** Pure: what rule 2 says about this look, and what becomes of active copies that cannot run. */
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
  const decision: Decision = decide(EMPTY_MEMORY, observation, ONE_LOOK);
  const actions = decision.actions.filter(isRecovery);
  const reports = new Map(decision.reports);
  if (api.state !== 'unreachable') return { actions, reports };
  for (const [key, workload] of observation.workloads) {
    const hopeless = withoutGeneration(workload);
    if (hopeless === undefined || actions.some((action) => action.kind === 'activate' && workloadKey(action.workload) === key)) continue;
    actions.push(...hopeless.actions);
    reports.set(key, hopeless.report);
  }
  return { actions, reports };
}

function isRecovery(action: Action): action is RecoveryAction {
  return action.kind === 'activate' || action.kind === 'quarantine' || action.kind === 'deactivate' || action.kind === 'revive';
}

/**
 * An active manifest whose generation is damaged or gone: its pod would mount files that are not what they were, or nothing. Another generation takes its
 * place, the new manifest first. What runs has what it needs and is left alone.
 */
function withoutGeneration(seen: WorkloadObservation): { readonly actions: RecoveryAction[]; readonly report: Report } | undefined {
  const { workload, active, stored, copyPods } = seen;
  const lost = active.filter(({ generation }) => stored?.generations.has(generation) !== true);
  if (lost.length === 0 || lost.length < active.length || copyPods.some(({ up }) => up)) return undefined;
  const damage = `generation ${lost.map(({ generation }) => generation).join(', ')} of the active copy is damaged or gone`;
  const generation = candidate(stored);
  if (generation === undefined)
    return { actions: [], report: { reason: 'NothingToActivate', message: `${damage}, and no copy is stored that could take its place` } };
  const activation = Math.max(stored?.activations ?? 0, ...active.map((manifest) => manifest.activation)) + 1;
  return {
    actions: [
      { kind: 'activate', workload, generation, activation },
      ...active.map(({ file }): RecoveryAction => ({ kind: 'deactivate', workload, file })),
    ],
    report: { reason: 'Activating', message: `${damage}: activating generation ${generation} in its place` },
  };
}

/** Generations that do not verify, with what is wrong: of each workload those that were looked at. */
export type Damage = ReadonlyMap<WorkloadKey, ReadonlyMap<GenerationNumber, string>>;

/** The generations of active manifests, read and verified: nobody has looked at them since they were activated, which may be a power cut ago. */
export async function damageOfActive(checkpointDir: string, disk: DiskSnapshot): Promise<Damage> {
  const damage = new Map<WorkloadKey, Map<GenerationNumber, string>>();
  if (disk.state === 'unknown') return damage;
  const verifying = disk.manifests.map(async ({ workload: key, generation }) => {
    const found = disk.store.workloads.get(key);
    if (found?.stored.generations.has(generation) !== true) return;
    const detail = await damageOf(checkpointDir, found.workload, generation);
    if (detail !== undefined) note(damage, key, generation, detail);
  });
  await Promise.all(verifying);
  return damage;
}

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

async function damageOf(checkpointDir: string, workload: Workload, generation: GenerationNumber): Promise<string | undefined> {
  try {
    await loadGeneration(checkpointDir, workload, generation);
    return undefined;
  } catch (error) {
    if (error instanceof DamagedError) return error.message;
    throw error;
  }
}

function note(
  damage: Map<WorkloadKey, Map<GenerationNumber, string>>,
  key: WorkloadKey,
  generation: GenerationNumber,
  detail: string,
): void {
  damage.set(key, new Map([...(damage.get(key) ?? []), [generation, detail]]));
}

export interface Recovered {
  /** What was done, in order; a quarantine is one too. */
  readonly done: readonly RecoveryAction[];
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

/**
 * Does what the plan says and plans again until nothing is left: a generation that does not verify is quarantined, and the next plan takes another one.
 * One transaction for all of it, and the workloads side by side: the disk's cache is flushed for several files at once.
 * Throws an Error if the store cannot be read, or if somebody else changes it all the time.
 */
export async function recover(seen: Omit<Seen, 'disk'>, place: RecoveryPlace): Promise<Recovered> {
  const warnings: string[] = [];
  let begun = false;
  const all = (): Promise<Omit<Recovered, 'warnings'>> => {
    begun = true;
    return recoverAll(seen, place, warnings);
  };
  try {
    return { ...(await withTransaction(place.checkpointDir, all, { bootId: seen.bootId })), warnings };
  } catch (error) {
    // No lock can be made in such a store, and so nobody else changes it.
    if (begun || storeFailure(error) === undefined) throw error;
    warnings.push(`the store cannot be changed, and is used as it is: ${messageOf(error)}`);
    return { ...(await all()), warnings };
  }
}

async function recoverAll(
  seen: Omit<Seen, 'disk'>,
  { checkpointDir, podManifestPath, disk, wallClock }: RecoveryPlace,
  warnings: string[],
): Promise<Omit<Recovered, 'warnings'>> {
  const effects: Effects = {
    checkpointDir,
    podManifestPath,
    wallClock,
    transaction: (change) => change(),
    stopGraceSeconds: 0,
    api: { confirmAbsence: outOfPlace },
    runtime: { stopContainer: outOfPlace, stopSandbox: outOfPlace, removeContainer: outOfPlace },
  };
  const done: RecoveryAction[] = [];
  const failed = new Map<WorkloadKey, string>();
  /** Each action once: what is planned again did not help, or could not be done. */
  const tried = new Set<string>();
  /** Damaged generations that are still where they were. */
  const damage = new Map<WorkloadKey, Map<GenerationNumber, string>>();

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
          done.push({ kind: 'quarantine', workload: action.workload, generation: action.generation, detail: message });
          return;
        }
        const detail = action.kind === 'activate' ? await damageOf(checkpointDir, action.workload, action.generation) : undefined;
        if (action.kind === 'activate' && detail !== undefined) note(damage, key, action.generation, detail);
        else failed.set(key, message);
        return;
      }
    }
  };

  for (let look = 1; ; look++) {
    const now = await disk.read();
    if (now.state === 'unknown') throw new Error(now.detail);
    if (look === 1) for (const [key, found] of await damageOfActive(checkpointDir, now)) damage.set(key, new Map(found));
    const { actions, reports } = planRecovery({ ...seen, disk: withDamage(now, damage) });
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
    return { done, failed };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function outOfPlace(): Promise<never> {
  return Promise.reject(new Error('recovery neither asks the API server nor touches containers'));
}
