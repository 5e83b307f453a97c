/**
 * Changing the store. Every change is one rename, so that a power cut leaves the old state or the new one; see format.ts for the layout and
 * platform/durable.ts for the order of the writes. The caller holds the store's transaction lock.
 */
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createDurable, listDirectory, replaceDurable, runAll, syncDirectory } from '../../platform/durable.ts';
import type { Copy } from '../copy-types.ts';
import { manifestBytes, materialize } from '../materialize.ts';
import type { GenerationNumber } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';
import { asStoreError, DamagedError, StoreError } from './errors.ts';
import {
  encodeCounter,
  encodeIndex,
  encodeNewestPointer,
  encodePointer,
  FILE_LIMIT,
  FORMAT,
  type GenerationIndex,
  isSafePath,
  MANIFEST_LIMIT,
  type Pointer,
  sha256,
} from './format.ts';
import { clear, ensureWorkload } from './layout.ts';
import {
  activationsPath,
  buildingPath,
  generationPath,
  generationsPath,
  nodePath,
  pointerPath,
  prunedPath,
  quarantinePath,
  workloadPath,
} from './paths.ts';
import { generationNumbers, readIndexSha256, readNewest, readPointer } from './read.ts';
import { expectSpace } from './space.ts';

export { prepareStore } from './layout.ts';

/**
 * Files and directories that are written at the same time: the file system then commits several with one flush. Not more, because a hung disk must leave
 * threads of Node's pool (4) to everything else.
 */
const WIDTH = 2;

/**
 * Saves a copy as the newest generation of its workload. When this returns, it survives a power cut; when it throws, the store is as it was.
 * Throws StoreError for what the disk or its file system answers, and for a copy that could not be read back.
 */
export async function saveGeneration(
  root: string,
  workload: Workload,
  copy: Copy,
  about: { readonly parent: { readonly name: string; readonly uid: string }; readonly createdAt: string },
): Promise<GenerationNumber> {
  try {
    const workloadDir = await ensureWorkload(root, workload);
    const generation = await nextGeneration(root, workload);
    await build(root, workloadDir, describe(workloadDir, { workload, generation, copy, ...about }));
    return generation;
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** One above every number that is or was there, and room for it: what an interrupted save or deletion left is removed. */
async function nextGeneration(root: string, workload: Workload): Promise<GenerationNumber> {
  const workloadDir = workloadPath(root, workload);
  const numbers = [0, ...(await generationNumbers(workloadDir))];
  for (const name of await listDirectory(generationsPath(workloadDir))) {
    if (!name.startsWith('.building-') && !name.startsWith('.pruned-')) continue;
    await rm(join(generationsPath(workloadDir), name), { recursive: true, force: true });
  }
  for (const name of ['proven', 'previous'] as const) {
    const pointer = await readPointer(workloadDir, name);
    if (typeof pointer === 'object') numbers.push(pointer.generation);
  }
  const newest = await readNewest(workloadDir);
  if (typeof newest === 'object') numbers.push(newest.highest);
  const quarantined = `${workloadFileName(workload)}.`;
  for (const name of await listDirectory(quarantinePath(root))) {
    const number = name.startsWith(quarantined) ? /^([0-9]+)\.[0-9]+$/.exec(name.slice(quarantined.length))?.[1] : undefined;
    if (number !== undefined) numbers.push(Number(number));
  }
  return Math.max(...numbers) + 1;
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
async function build(root: string, workloadDir: string, { generation, directories, files }: Described): Promise<void> {
  await expectSpace(root, {
    files: files.map(({ bytes }) => bytes.length),
    directories: directories.length + 1,
  });
  const building = buildingPath(workloadDir, generation);
  const final = generationPath(workloadDir, generation);
  let committed = false;
  try {
    await mkdir(building, { mode: 0o700 });
    for (const entry of directories) await mkdir(join(building, entry.path), { mode: 0o700 });
    await runAll(
      WIDTH,
      files.map((file) => () => createDurable(join(building, file.path), file.bytes, file.mode, file)),
    );
    await runAll(WIDTH, [
      ...directories.toReversed().map((entry) => () => finishDirectory(join(building, entry.path), entry)),
      () => syncDirectory(building),
    ]);
    await rename(building, final);
    committed = true;
    await syncDirectory(generationsPath(workloadDir));
  } catch (error) {
    // A rename that may not be on disk must not look like a save that is: the next attempt makes a new directory.
    if (committed) await rename(final, building).catch(() => undefined);
    await rm(building, { recursive: true, force: true }).catch(() => undefined);
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

/**
 * Points `newest` or `proven` at a generation. A new proven one makes the old proven one `previous`, unless that is to stay what it is.
 * `indexSha256` is that of the index as it was verified.
 */
export async function pointAt(
  root: string,
  workload: Workload,
  name: 'newest' | 'proven',
  generation: GenerationNumber,
  indexSha256: string,
  before: 'setPrevious' | 'keepPrevious' = 'setPrevious',
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  if (name === 'newest') {
    const highest = Math.max(generation, ...(await generationNumbers(workloadDir)));
    await replacePointer(root, workload, 'newest', encodeNewestPointer({ generation, indexSha256, highest }));
    return;
  }
  const old = await readPointer(workloadDir, 'proven');
  // In this order: a cut in between leaves the proven one where it is, only named twice.
  if (before === 'setPrevious' && typeof old === 'object' && old.generation !== generation && (await leadsSomewhere(workloadDir, old)))
    await replacePointer(root, workload, 'previous', encodePointer(old));
  await replacePointer(root, workload, 'proven', encodePointer({ generation, indexSha256 }));
}

/** A damaged pointer must not become another one. */
async function leadsSomewhere(workloadDir: string, { generation, indexSha256 }: Pointer): Promise<boolean> {
  const found = await readIndexSha256(generationPath(workloadDir, generation)).catch((error: unknown) => {
    if (error instanceof DamagedError) return undefined;
    throw error;
  });
  return found === indexSha256;
}

async function replacePointer(root: string, workload: Workload, name: 'proven' | 'previous' | 'newest', text: string): Promise<void> {
  const path = pointerPath(workloadPath(root, workload), name);
  await replace(root, path, text);
}

async function replace(root: string, path: string, text: string): Promise<void> {
  try {
    await clear(root, path, 'file');
    await replaceDurable(path, Buffer.from(text));
  } catch (error) {
    throw asStoreError(error, root);
  }
}

export async function recordActivation(root: string, workload: Workload, activation: number): Promise<void> {
  await replace(root, activationsPath(workloadPath(root, workload)), encodeCounter(activation));
}

export async function settleBoot(root: string, bootId: string): Promise<void> {
  await replace(root, nodePath(root), `${JSON.stringify({ settledBootId: bootId }, undefined, 2)}\n`);
}

/**
 * Deletes generations. Each is out of sight, durably, before its first file goes, so that no reader ever meets half of one.
 * A generation that is not there any more is no error.
 */
export async function pruneGenerations(root: string, workload: Workload, generations: readonly GenerationNumber[]): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  const there = new Set(await generationNumbers(workloadDir));
  const doomed = generations.filter((number) => there.has(number));
  for (const number of doomed) {
    await rm(prunedPath(workloadDir, number), { recursive: true, force: true });
    await rename(generationPath(workloadDir, number), prunedPath(workloadDir, number));
  }
  if (doomed.length > 0) await syncDirectory(generationsPath(workloadDir));
  for (const number of doomed) await rm(prunedPath(workloadDir, number), { recursive: true, force: true });
}
