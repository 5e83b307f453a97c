/**
 * Changing the store. Every change is one rename, so that a power cut leaves the old state or the new one; see format.ts for the layout and
 * platform/durable.ts for the order of the writes. The caller holds the store's transaction lock.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { type Confirm, createDurable, listDirectory, removeTree, renameDurable, syncDirectory } from '../../platform/durable.ts';
import { allInBackground, inLane } from '../../platform/lanes.ts';
import type { Copy } from '../copy-types.ts';
import { manifestBytes, materialize } from '../materialize.ts';
import type { GenerationNumber } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';
import { asStoreError, StoreError } from './errors.ts';
import {
  encodeCounter,
  encodeIndex,
  FILE_LIMIT,
  FORMAT,
  type GenerationIndex,
  isSafePath,
  MANIFEST_LIMIT,
  MAX_NUMBER,
  sha256,
} from './format.ts';
import { ensureWorkload } from './layout.ts';
import {
  activationsPath,
  buildingPath,
  generationPath,
  generationsPath,
  nodePath,
  prunedPath,
  quarantinePath,
  workloadPath,
} from './paths.ts';
import { replace } from './pointers.ts';
import { generationNumbers, readIndex, readNewest, readPrevious, readProven } from './read-workload.ts';
import { expectSpace } from './space.ts';

export { prepareStore } from './layout.ts';
export { pointAt } from './pointers.ts';

/**
 * Saves a copy as the newest generation of its workload. When this returns, it survives a power cut; when it throws, the store is as it was.
 * Throws StoreError for what the disk or its file system answers, and for a copy that could not be read back.
 */
export async function saveGeneration(
  root: string,
  workload: Workload,
  copy: Copy,
  about: { readonly parent: { readonly name: string; readonly uid: string }; readonly createdAt: string },
  confirm?: Confirm,
): Promise<GenerationNumber> {
  try {
    const workloadDir = await ensureWorkload(root, workload);
    const generation = await nextGeneration(root, workload);
    await build(root, workloadDir, describe(workloadDir, { workload, generation, copy, ...about }), confirm);
    return generation;
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Numbers that are skipped at the most: a name further off than that was not given by a save. */
const GAP = 1_000_000;

/**
 * One above every number that is or was there. `certain`: of generations that are whole. `claimed`: what only a name or a pointer says, which counts
 * unless it is so far off that it would use the numbers up.
 */
export function numberAfter(certain: readonly number[], claimed: readonly number[]): number {
  const next =
    claimed
      .toSorted((a, b) => a - b)
      .reduce((highest, number) => (number <= highest + GAP ? Math.max(highest, number) : highest), Math.max(0, ...certain)) + 1;
  if (next > MAX_NUMBER) throw new Error(`generation ${MAX_NUMBER} is the last number that there is`);
  return next;
}

/** The number of the next generation, and room for it: what an interrupted save or deletion left is removed. */
async function nextGeneration(root: string, workload: Workload): Promise<GenerationNumber> {
  const workloadDir = workloadPath(root, workload);
  const certain: number[] = [];
  const claimed: number[] = [];
  for (const number of await generationNumbers(workloadDir)) {
    const whole =
      number <= GAP || (await readIndex(generationPath(workloadDir, number), workload, number).catch(() => undefined)) !== undefined;
    (whole ? certain : claimed).push(number);
  }
  for (const name of await listDirectory(generationsPath(workloadDir))) {
    if (name.startsWith('.building-') || name.startsWith('.pruned-')) await removeTree(join(generationsPath(workloadDir), name));
  }
  const proven = await readProven(workloadDir);
  if (typeof proven === 'object') claimed.push(proven.proven.generation, proven.previous?.generation ?? 0);
  const previous = await readPrevious(workloadDir);
  if (typeof previous === 'object') claimed.push(previous.generation);
  const newest = await readNewest(workloadDir);
  if (typeof newest === 'object') claimed.push(newest.highest);
  const quarantined = `${workloadFileName(workload)}.`;
  for (const name of await listDirectory(quarantinePath(root))) {
    const number = name.startsWith(quarantined) ? /^([0-9]+)\.[0-9]+$/.exec(name.slice(quarantined.length))?.[1] : undefined;
    if (number !== undefined) claimed.push(Number(number));
  }
  try {
    return numberAfter(certain, claimed);
  } catch (error) {
    throw new Error(`${generationsPath(workloadDir)}: ${error instanceof Error ? error.message : ''}; move what is there away`, {
      cause: error,
    });
  }
}

type File = Copy['files'][number];
type Directory = Copy['directories'][number];

interface Described {
  readonly generation: GenerationNumber;
  readonly directories: readonly Directory[];
  /** All of them, index.json too. */
  readonly files: readonly File[];
}

/** What is to be written, complete before anything is. */
function describe(
  workloadDir: string,
  given: { workload: Workload; generation: GenerationNumber; copy: Copy; parent: { name: string; uid: string }; createdAt: string },
): Described {
  const { workload, generation, copy, parent, createdAt } = given;
  const generationDir = generationPath(workloadDir, generation);
  const manifest = manifestBytes(materialize(copy.pod, { generationDir, generation }));
  const directories = [
    { path: 'files', mode: 0o755, uid: 0, gid: 0 },
    ...copy.directories.map((entry) => ({ ...entry, path: `files/${entry.path}` })),
  ];
  const files: File[] = [
    { path: 'pod.json', bytes: manifest, mode: 0o600, uid: 0, gid: 0 },
    ...copy.files.map((file) => ({ ...file, path: `files/${file.path}` })),
  ];
  for (const { path } of [...directories, ...files]) {
    if (!isSafePath(path)) throw new Error(`the copy names the path ${JSON.stringify(path)}, which leads out of the generation`);
  }
  const index: GenerationIndex = {
    format: FORMAT,
    workload,
    generation,
    digest: copy.digest,
    ...(copy.instance && { instance: copy.instance }),
    createdAt,
    parent,
    containers: (copy.pod.spec?.containers ?? []).map((container) => container.name),
    traits: copy.traits,
    directories,
    files: files.map(({ path, bytes, mode, uid, gid }) => ({ path, size: bytes.length, mode, uid, gid, sha256: sha256(bytes) })),
  };
  files.push({ path: 'index.json', bytes: Buffer.from(encodeIndex(index)), mode: 0o600, uid: 0, gid: 0 });
  for (const { path, bytes } of files) {
    const limit = path.startsWith('files/') ? FILE_LIMIT : MANIFEST_LIMIT;
    if (bytes.length > limit)
      throw new StoreError('CopyTooLarge', `${path} of the copy would have ${bytes.length} bytes, at most ${limit} are stored`);
  }
  return { generation, directories, files };
}

/** Everything is on disk before the rename that commits it, and that is on disk when this returns. One fsync for each file and each directory. */
async function build(
  root: string,
  workloadDir: string,
  { generation, directories, files }: Described,
  confirm: Confirm | undefined,
): Promise<void> {
  await expectSpace(root, {
    files: files.map(({ bytes }) => bytes.length),
    directories: directories.length + 1,
  });
  const building = buildingPath(workloadDir, generation, `${process.pid}-${randomBytes(6).toString('hex')}`);
  const final = generationPath(workloadDir, generation);
  let committed = false;
  try {
    await inLane('background', async () => {
      await mkdir(building, { mode: 0o700 });
      for (const entry of directories) await mkdir(join(building, entry.path), { mode: 0o700 });
    });
    await allInBackground(files.map((file) => () => createDurable(join(building, file.path), file.bytes, file.mode, file)));
    await allInBackground(directories.toReversed().map((entry) => () => finishDirectory(join(building, entry.path), entry)));
    await syncDirectory(building);
    await inLane('background', async () => {
      await confirm?.();
      await rename(building, final);
    });
    committed = true;
    await syncDirectory(generationsPath(workloadDir));
  } catch (error) {
    // A rename that may not be on disk must not look like a save that is: the next attempt makes a new directory.
    if (committed) await rename(final, building).catch(() => undefined);
    await removeTree(building).catch(() => undefined);
    throw error;
  }
}

/** Owner before mode, as for a file; after its entries are there, which a mode without w would not let everyone make. */
async function finishDirectory(path: string, entry: { mode: number; uid: number; gid: number }): Promise<void> {
  const directory = await open(path);
  try {
    await directory.chown(entry.uid, entry.gid);
    await directory.chmod(entry.mode);
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Ends an outage, and so does not wait for a save that is under way. */
export async function recordActivation(root: string, workload: Workload, activation: number): Promise<void> {
  await replace(root, activationsPath(workloadPath(root, workload)), encodeCounter(activation), { lane: 'urgent' });
}

export async function settleBoot(root: string, bootId: string): Promise<void> {
  await replace(root, nodePath(root), `${JSON.stringify({ settledBootId: bootId }, undefined, 2)}\n`);
}

/**
 * Deletes generations. Each is out of sight, durably, before its first file goes, so that no reader ever meets half of one.
 * A generation that is not there any more is no error.
 */
export async function pruneGenerations(
  root: string,
  workload: Workload,
  generations: readonly GenerationNumber[],
  confirm?: Confirm,
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  const there = new Set(await generationNumbers(workloadDir));
  const doomed = generations.filter((number) => there.has(number));
  for (const number of doomed) {
    await removeTree(prunedPath(workloadDir, number));
    await renameDurable(generationPath(workloadDir, number), prunedPath(workloadDir, number), confirm);
  }
  for (const number of doomed) await removeTree(prunedPath(workloadDir, number));
}
