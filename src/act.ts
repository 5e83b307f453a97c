/** One executor for each kind of action. Thin: what is to be done was decided; here it is done, durably, or it throws. */
import { join } from 'node:path';
import { activated } from './checkpoint/materialize.ts';
import type { Action, ActionKind, Digest, GenerationNumber, Millis } from './checkpoint/model.ts';
import { DamagedError, storeFailure } from './checkpoint/store/errors.ts';
import { markFailing } from './checkpoint/store/failing.ts';
import { loadGeneration } from './checkpoint/store/load.ts';
import { generationPath, workloadPath } from './checkpoint/store/paths.ts';
import { discardRetired, quarantineGeneration, retireWorkload, reviveWorkload } from './checkpoint/store/retention.ts';
import { pointAt, pruneGenerations, recordActivation, saveGeneration, settleBoot } from './checkpoint/store/write.ts';
import { type Workload, workloadKey } from './checkpoint/workload.ts';
import { type Held, StoreBusyError } from './lock/transaction.ts';
import { kindOf } from './platform/durable.ts';
import { isOurs, listManifests, manifestFileName, removeManifest, writeManifest } from './recovery/manifests.ts';
import type { ApiSource, RuntimeSource } from './sources/snapshots.ts';

export interface Effects {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly api: Pick<ApiSource, 'confirmAbsence'>;
  readonly runtime: Pick<RuntimeSource, 'stopContainer' | 'stopSandbox' | 'removeContainer'>;
  /** Seconds that a copy's container gets between SIGTERM and SIGKILL when its place is needed. */
  readonly stopGraceSeconds: number;
  /** Wall clock in milliseconds, for names and dates only. */
  readonly wallClock: () => number;
  /** Gives up the lead and waits for it again. Absent where nobody leads. */
  readonly stepDown?: (digest: Digest) => void;
  /** Runs a change of the store while nobody else changes it. `held` is left out where nobody else can. */
  readonly transaction: <T>(change: (held?: Pick<Held, 'check'>) => Promise<T>, options?: { readonly waitMs?: number }) => Promise<T>;
  /** Told of a generation that did not verify, whether or not it could be moved away: it must not be chosen again. */
  readonly onDamage?: (workload: Workload, generation: GenerationNumber, detail: string) => void;
}

/**
 * An activation waits this long (milliseconds) for another's change of the store, a save on a slow disk, say. Then it goes on without the lock, because
 *  - a generation never changes under its name, and every byte of it is verified before it is used;
 *  - its own writes are a counter and a manifest, each replaced as a whole, and a save or a proof writes neither;
 *  - what a change could do in between is take the generation away (delete it, retire the workload): that is looked at again when the manifest is there.
 */
const ACTIVATION_WAIT: Millis = 300;

type Executors = { readonly [K in ActionKind]: (action: Extract<Action, { kind: K }>, effects: Effects) => Promise<void> };

const EXECUTORS: Executors = {
  async save({ workload, copy, parent }, { checkpointDir, wallClock, transaction }) {
    const createdAt = new Date(wallClock()).toISOString();
    await transaction((held) => saveGeneration(checkpointDir, workload, copy, { parent, createdAt }, held?.check));
  },
  async repoint(action, effects) {
    await point('newest', action, effects);
  },
  async prove(action, effects) {
    await point('proven', action, effects);
  },
  async renew(action, effects) {
    await point('proven', action, effects, 'keepPrevious');
  },
  async markFailing({ workload, digest, detail }, { checkpointDir, wallClock, transaction }) {
    await transaction(() => markFailing(checkpointDir, workload, digest, detail, wallClock()));
  },
  async demote(action, effects) {
    await point('proven', action, effects, 'keepPrevious');
  },
  async quarantine({ workload, generation, detail }, { checkpointDir, wallClock, transaction }) {
    await transaction((held) => quarantineGeneration(checkpointDir, workload, generation, detail, wallClock(), held?.check));
  },
  async prune({ workload, generations }, { checkpointDir, transaction }) {
    await transaction((held) => pruneGenerations(checkpointDir, workload, generations, held?.check));
  },
  async activate({ workload, generation, activation }, effects) {
    const { checkpointDir, podManifestPath, transaction, wallClock } = effects;
    let begun = false;
    const change = async () => {
      begun = true;
      const { pod } = await verified(workload, generation, effects);
      // Counted before it is used: a cut in between wastes a number, the other way round one would serve twice.
      const counted = await recordActivation(checkpointDir, workload, activation).then(
        () => activation,
        (error: unknown) => {
          if (storeFailure(error) === undefined) throw error;
          // A full or read-only disk must not keep the node down. Seconds are above any count, and not used twice either.
          return Math.max(activation, Math.floor(wallClock() / 1000));
        },
      );
      const manifest = activated(pod, counted);
      await writeManifest(podManifestPath, manifest);
      if (await isThere(checkpointDir, workload, generation)) return;
      await removeManifest(podManifestPath, manifestFileName(manifest));
      throw new Error(`generation ${generation} of ${join(workload.namespace, workload.name)} was taken away while it was activated`);
    };
    await transaction(change, { waitMs: ACTIVATION_WAIT }).catch(async (error: unknown) => {
      // Somebody else's change takes long; or no lock can be made in such a store, and so nobody else changes it.
      if (begun || !(error instanceof StoreBusyError || storeFailure(error) !== undefined)) throw error;
      await change();
    });
  },
  async deactivate({ file }, { podManifestPath }) {
    await takeAway(podManifestPath, file);
  },
  async makeRoom({ files, containerIds, graceful }, { podManifestPath, runtime, stopGraceSeconds }) {
    // Together: a container that dies while its manifest is there is started again, and the manifest's removal alone leaves the kubelet its time.
    await Promise.all([
      ...files.map((file) => takeAway(podManifestPath, file)),
      ...containerIds.map((id) => runtime.stopContainer(id, graceful ? stopGraceSeconds : 0)),
    ]);
  },
  async stopLeftover({ containerIds, sandboxIds }, { runtime, stopGraceSeconds }) {
    await Promise.all(containerIds.map((id) => runtime.stopContainer(id, stopGraceSeconds)));
    await Promise.all(sandboxIds.map((id) => runtime.stopSandbox(id)));
  },
  async stepDown({ digest }, { stepDown }) {
    stepDown?.(digest);
  },
  async forgetExits({ containerIds }, { runtime }) {
    await Promise.all(containerIds.map((id) => runtime.removeContainer(id)));
  },
  async confirmAbsence({ workload, pod }, { api }) {
    await api.confirmAbsence(workload.namespace, pod.name, pod.uid);
  },
  async retire({ workload, replaced }, { checkpointDir, wallClock, transaction }) {
    await transaction((held) => retireWorkload(checkpointDir, workload, wallClock(), held?.check, replaced));
  },
  async leave({ workload, files }, { checkpointDir, podManifestPath, wallClock, transaction }) {
    for (const file of files) await removeManifest(podManifestPath, file);
    await transaction(() => retireWorkload(checkpointDir, workload, wallClock()));
  },
  async revive({ workload, entry }, { checkpointDir, transaction }) {
    await transaction((held) => reviveWorkload(checkpointDir, workload, entry, held?.check));
  },
  async discard({ workload, entry }, { checkpointDir, transaction }) {
    await transaction(() => discardRetired(checkpointDir, workload, entry));
  },
  async adopt({ workload, copy, parent }, effects) {
    const { checkpointDir, transaction, wallClock } = effects;
    const createdAt = new Date(wallClock()).toISOString();
    await transaction(async (held) => {
      const generation = await saveGeneration(checkpointDir, workload, copy, { parent, createdAt }, held?.check);
      const { indexSha256 } = await verified(workload, generation, effects);
      await pointAt(checkpointDir, workload, 'proven', generation, indexSha256, 'setPrevious', held?.check);
    });
  },
  async clearPredecessor({ pod, active, whole }, { podManifestPath }) {
    const { clearCheckpoint, removeActive } = await import('./predecessor/remove.ts');
    if (active !== undefined) await removeActive(podManifestPath, active);
    if (whole) await clearCheckpoint(podManifestPath, pod);
  },
  async tidyPredecessor({ directories }) {
    const { removeEmpty } = await import('./predecessor/remove.ts');
    await removeEmpty(directories);
  },
  async settleBoot({ bootId }, { checkpointDir, transaction }) {
    await transaction(() => settleBoot(checkpointDir, bootId));
  },
};

export async function act(action: Action, effects: Effects): Promise<void> {
  // The table has an executor for exactly this kind; TypeScript cannot follow that through the index.
  const execute = EXECUTORS[action.kind] as (action: Action, effects: Effects) => Promise<void>;
  await execute(action, effects);
}

/** Two actions with one key are the same attempt: when one failed the next waits. */
export function actionKey(action: Action): string {
  switch (action.kind) {
    case 'settleBoot':
    case 'stepDown':
    case 'tidyPredecessor':
      return action.kind;
    case 'clearPredecessor':
      return `clearPredecessor ${action.pod.namespace}/${action.pod.name}`;
    case 'markFailing':
      return `markFailing ${workloadPath('', action.workload)} ${action.digest}`;
    case 'save':
      return `save ${workloadPath('', action.workload)} ${action.copy.digest}`;
    case 'deactivate':
      return `deactivate ${action.file}`;
    default:
      return `${action.kind} ${workloadPath('', action.workload)} ${'generation' in action ? action.generation : ''}`;
  }
}

/** A copy's manifest, ours or one of bootkube's pod-checkpointer. */
async function takeAway(podManifestPath: string, file: string): Promise<void> {
  if (isOurs(file)) return removeManifest(podManifestPath, file);
  const { removeActive } = await import('./predecessor/remove.ts');
  await removeActive(podManifestPath, file);
}

/** No pointer is set to a generation that has not just been read from the disk and verified. */
async function point(
  name: 'newest' | 'proven',
  { workload, generation }: { workload: Workload; generation: number },
  effects: Effects,
  before: 'setPrevious' | 'keepPrevious' = 'setPrevious',
): Promise<void> {
  const { checkpointDir, transaction } = effects;
  await transaction(async (held) => {
    const { indexSha256 } = await verified(workload, generation, effects);
    await pointAt(checkpointDir, workload, name, generation, indexSha256, before, held?.check);
  });
}

/**
 * A generation that does not verify is remembered and moved out of the way before anything uses it; the next decision takes the one before it. It stays
 * where it is while a manifest names it: the files of a pod that may run are not pulled away.
 */
async function verified(workload: Workload, generation: GenerationNumber, effects: Effects) {
  const { checkpointDir, podManifestPath, wallClock, onDamage } = effects;
  try {
    return await loadGeneration(checkpointDir, workload, generation);
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    const name = `generation ${generation} of ${join(workload.namespace, workload.name)}`;
    // Moved away by somebody else since it was chosen.
    if (!(await isThere(checkpointDir, workload, generation))) throw new DamagedError(`${name} is not there any more`);
    onDamage?.(workload, generation, error.message);
    const inUse = (await listManifests(podManifestPath, [workload])).some(
      (one) => one.workload === workloadKey(workload) && one.generation === generation,
    );
    if (inUse && onDamage !== undefined) throw new DamagedError(`${name} does not verify: ${error.message}`);
    try {
      await quarantineGeneration(checkpointDir, workload, generation, error.message, wallClock());
    } catch (failed) {
      // Where nobody remembers, it would be chosen again at once.
      if (onDamage === undefined) throw failed;
      throw new DamagedError(`${name} does not verify and could not be quarantined (${messageOf(failed)}): ${error.message}`);
    }
    throw new DamagedError(`${name} does not verify and was quarantined: ${error.message}`);
  }
}

/** Whatever lies there. An error says that something does. */
async function isThere(checkpointDir: string, workload: Workload, generation: GenerationNumber): Promise<boolean> {
  return (await kindOf(generationPath(workloadPath(checkpointDir, workload), generation)).catch(() => 'other')) !== 'absent';
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
