/** One executor for each kind of action. Thin: what is to be done was decided; here it is done, durably, or it throws. */
import { join } from 'node:path';
import { activated } from './checkpoint/materialize.ts';
import type { Action, ActionKind } from './checkpoint/model.ts';
import { DamagedError, storeFailure } from './checkpoint/store/errors.ts';
import { loadGeneration } from './checkpoint/store/load.ts';
import { workloadPath } from './checkpoint/store/paths.ts';
import { discardRetired, quarantineGeneration, retireWorkload, reviveWorkload } from './checkpoint/store/retention.ts';
import { pointAt, pruneGenerations, recordActivation, saveGeneration, settleBoot } from './checkpoint/store/write.ts';
import type { Workload } from './checkpoint/workload.ts';
import { removeManifest, writeManifest } from './recovery/manifests.ts';
import type { ApiSource, RuntimeSource } from './sources/snapshots.ts';

export interface Effects {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly api: Pick<ApiSource, 'confirmAbsence'>;
  readonly runtime: Pick<RuntimeSource, 'stopContainer' | 'removeContainer'>;
  /** Seconds that a copy's container gets between SIGTERM and SIGKILL when its place is needed. */
  readonly stopGraceSeconds: number;
  /** Wall clock in milliseconds, for names and dates only. */
  readonly wallClock: () => number;
  /** Runs a change of the store while nobody else changes it. */
  readonly transaction: <T>(change: () => Promise<T>) => Promise<T>;
}

type Executors = { readonly [K in ActionKind]: (action: Extract<Action, { kind: K }>, effects: Effects) => Promise<void> };

const EXECUTORS: Executors = {
  async save({ workload, copy, parent }, { checkpointDir, wallClock, transaction }) {
    const createdAt = new Date(wallClock()).toISOString();
    await transaction(() => saveGeneration(checkpointDir, workload, copy, { parent, createdAt }));
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
  async quarantine({ workload, generation, detail }, { checkpointDir, wallClock, transaction }) {
    await transaction(() => quarantineGeneration(checkpointDir, workload, generation, detail, wallClock()));
  },
  async prune({ workload, generations }, { checkpointDir, transaction }) {
    await transaction(() => pruneGenerations(checkpointDir, workload, generations));
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
      await writeManifest(podManifestPath, activated(pod, counted));
    };
    await transaction(change).catch(async (error: unknown) => {
      // No lock can be made in such a store, and so nobody else changes it.
      if (begun || storeFailure(error) === undefined) throw error;
      await change();
    });
  },
  async deactivate({ file }, { podManifestPath }) {
    await removeManifest(podManifestPath, file);
  },
  async makeRoom({ files, containerIds, graceful }, { podManifestPath, runtime, stopGraceSeconds }) {
    // Together: a container that dies while its manifest is there is started again, and the manifest's removal alone leaves the kubelet its time.
    await Promise.all([
      ...files.map((file) => removeManifest(podManifestPath, file)),
      ...containerIds.map((id) => runtime.stopContainer(id, graceful ? stopGraceSeconds : 0)),
    ]);
  },
  async forgetExits({ containerIds }, { runtime }) {
    await Promise.all(containerIds.map((id) => runtime.removeContainer(id)));
  },
  async confirmAbsence({ workload, pod }, { api }) {
    await api.confirmAbsence(workload.namespace, pod.name, pod.uid);
  },
  async retire({ workload }, { checkpointDir, wallClock, transaction }) {
    await transaction(() => retireWorkload(checkpointDir, workload, wallClock()));
  },
  async revive({ workload, entry }, { checkpointDir, transaction }) {
    await transaction(() => reviveWorkload(checkpointDir, workload, entry));
  },
  async discard({ workload, entry }, { checkpointDir, transaction }) {
    await transaction(() => discardRetired(checkpointDir, workload, entry));
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
      return action.kind;
    case 'save':
      return `save ${workloadPath('', action.workload)} ${action.copy.digest}`;
    case 'deactivate':
      return `deactivate ${action.file}`;
    default:
      return `${action.kind} ${workloadPath('', action.workload)} ${'generation' in action ? action.generation : ''}`;
  }
}

/** No pointer is set to a generation that has not just been read from the disk and verified. */
async function point(
  name: 'newest' | 'proven',
  { workload, generation }: { workload: Workload; generation: number },
  effects: Effects,
  before: 'setPrevious' | 'keepPrevious' = 'setPrevious',
): Promise<void> {
  const { checkpointDir, transaction } = effects;
  await transaction(async () => {
    const { indexSha256 } = await verified(workload, generation, effects);
    await pointAt(checkpointDir, workload, name, generation, indexSha256, before);
  });
}

/** A generation that does not verify is moved out of the way before anything uses it; the next decision takes the one before it. */
async function verified(workload: Workload, generation: number, { checkpointDir, wallClock }: Effects) {
  try {
    return await loadGeneration(checkpointDir, workload, generation);
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    await quarantineGeneration(checkpointDir, workload, generation, error.message, wallClock());
    throw new DamagedError(
      `generation ${generation} of ${join(workload.namespace, workload.name)} does not verify and was quarantined: ${error.message}`,
    );
  }
}
