/**
 * Changing the store. Every change is one rename, so that a power cut leaves the old state or the new one; see format.ts for the layout and
 * platform/durable.ts for the order of the writes. The caller holds the store's transaction lock.
 */
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createDurable, ensureDirectory, isErrno, listDirectory, replaceDurable, syncDirectory } from '../../platform/durable.ts';
import type { Copy } from '../copy-types.ts';
import { manifestBytes, materialize } from '../materialize.ts';
import type { GenerationNumber } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';
import { encodeIndex, encodePointer, FORMAT, FORMAT_LINE, type GenerationIndex, isSafePath, sha256 } from './format.ts';
import {
  activationsPath,
  formatPath,
  generationPath,
  generationsPath,
  nodePath,
  type PointerName,
  pointerPath,
  quarantinePath,
  retiredPath,
  workloadPath,
  workloadsPath,
} from './paths.ts';
import { checkFormat, readPointer } from './read.ts';

/** Makes the store where there is none. The directory itself must exist or its parent must: a typing error must not make a store anywhere. */
export async function prepareStore(root: string): Promise<void> {
  await ensureDirectory(root);
  await checkFormat(root);
  for (const path of [workloadsPath(root), retiredPath(root), quarantinePath(root)]) await ensureDirectory(path);
  const format = await lstat(formatPath(root)).catch(() => undefined);
  if (format === undefined) await replaceDurable(formatPath(root), Buffer.from(FORMAT_LINE));
}

/** Saves a copy as the newest generation of its workload. When this returns, it survives a power cut; when it throws, the store is as it was. */
export async function saveGeneration(
  root: string,
  workload: Workload,
  copy: Copy,
  about: { readonly parent: { readonly name: string; readonly uid: string }; readonly createdAt: string },
): Promise<GenerationNumber> {
  const workloadDir = await ensureWorkload(root, workload);
  const generation = await nextGeneration(root, workload);
  const building = join(generationsPath(workloadDir), `.building-${generation}`);
  const final = generationPath(workloadDir, generation);
  let index: string;
  try {
    await mkdir(building, { mode: 0o700 });
    index = await build(building, final, { workload, generation, copy, ...about });
    await rename(building, final);
  } catch (error) {
    await rm(building, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
  await syncDirectory(generationsPath(workloadDir));
  await replaceDurable(pointerPath(workloadDir, 'newest'), Buffer.from(encodePointer({ generation, indexSha256: sha256(index) })));
  return generation;
}

async function ensureWorkload(root: string, workload: Workload): Promise<string> {
  const directory = workloadPath(root, workload);
  await ensureDirectory(directory);
  await ensureDirectory(generationsPath(directory));
  const identity = join(directory, 'workload.json');
  const { namespace, group, kind, name } = workload;
  if ((await lstat(identity).catch(() => undefined)) === undefined) {
    await replaceDurable(identity, Buffer.from(`${JSON.stringify({ namespace, group, kind, name }, undefined, 2)}\n`));
  }
  return directory;
}

/** One more than any number in use or being built; remains of builds that a crash left are removed on the way. */
async function nextGeneration(root: string, workload: Workload): Promise<GenerationNumber> {
  const workloadDir = workloadPath(root, workload);
  let highest = 0;
  for (const name of await listDirectory(generationsPath(workloadDir))) {
    if (name.startsWith('.building-')) await rm(join(generationsPath(workloadDir), name), { recursive: true, force: true });
    else if (/^[1-9][0-9]{0,14}$/.test(name)) highest = Math.max(highest, Number(name));
  }
  for (const name of ['newest', 'proven', 'previous'] as const)
    highest = Math.max(highest, (await readPointer(workloadDir, name))?.generation ?? 0);
  const quarantined = `${workloadFileName(workload)}.`;
  for (const name of await listDirectory(quarantinePath(root))) {
    const number = name.startsWith(quarantined) ? /^([0-9]+)\.[0-9]+$/.exec(name.slice(quarantined.length))?.[1] : undefined;
    if (number !== undefined) highest = Math.max(highest, Number(number));
  }
  return highest + 1;
}

async function build(
  directory: string,
  final: string,
  given: { workload: Workload; generation: GenerationNumber; copy: Copy; parent: { name: string; uid: string }; createdAt: string },
): Promise<string> {
  const { workload, generation, copy, parent, createdAt } = given;
  const manifest = manifestBytes(materialize(copy.pod, { generationDir: final, generation }));
  const root = { path: 'files', mode: 0o755, uid: 0, gid: 0 };
  const directories = [root, ...copy.directories.map((entry) => ({ ...entry, path: `files/${entry.path}` }))];
  const files = [
    { path: 'pod.json', bytes: manifest, mode: 0o600, uid: 0, gid: 0 },
    ...copy.files.map((file) => ({ ...file, path: `files/${file.path}` })),
  ];
  for (const entry of [...directories, ...files]) {
    if (!isSafePath(entry.path))
      throw new Error(`the copy names the path ${JSON.stringify(entry.path)}, which leads out of the generation`);
  }
  for (const entry of directories) await mkdir(join(directory, entry.path), { mode: 0o700 });
  for (const file of files) await createDurable(join(directory, file.path), file.bytes, file.mode, file);
  // Children before parents, owner before mode; a directory's own entries are on disk before the one above it is.
  for (const entry of directories.toReversed()) await finishDirectory(join(directory, entry.path), entry);
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
  const text = encodeIndex(index);
  await createDurable(join(directory, 'index.json'), Buffer.from(text), 0o600);
  await syncDirectory(directory);
  return text;
}

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

/** Points `newest` or `proven` at a generation. A new proven one makes the old proven one `previous`, unless that is to stay what it is. */
export async function pointAt(
  root: string,
  workload: Workload,
  name: 'newest' | 'proven',
  generation: GenerationNumber,
  indexSha256: string,
  before: 'setPrevious' | 'keepPrevious' = 'setPrevious',
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  if (name === 'proven' && before === 'setPrevious') {
    const old = await readPointer(workloadDir, 'proven');
    if (old !== undefined && old.generation !== generation)
      await replaceDurable(pointerPath(workloadDir, 'previous'), Buffer.from(encodePointer(old)));
  }
  await replaceDurable(pointerPath(workloadDir, name), Buffer.from(encodePointer({ generation, indexSha256 })));
}

export async function recordActivation(root: string, workload: Workload, activation: number): Promise<void> {
  await replaceDurable(activationsPath(workloadPath(root, workload)), Buffer.from(`${activation}\n`));
}

/** Moves a generation that does not verify out of the way, with the reason beside it. Nothing of it is deleted. */
export async function quarantineGeneration(
  root: string,
  workload: Workload,
  generation: GenerationNumber,
  detail: string,
  now: number,
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  const to = join(quarantinePath(root), `${workloadFileName(workload)}.${generation}.${now}`);
  await rename(generationPath(workloadDir, generation), to);
  await syncDirectory(generationsPath(workloadDir));
  await replaceDurable(`${to}.reason.txt`, Buffer.from(`${detail}\n`));
  for (const name of ['newest', 'proven', 'previous'] satisfies PointerName[]) {
    if ((await readPointer(workloadDir, name))?.generation === generation) await rm(pointerPath(workloadDir, name), { force: true });
  }
  await syncDirectory(workloadDir);
}

/** Deletes generations. The rename takes each out of sight at once, so that no reader meets half of one. */
export async function pruneGenerations(root: string, workload: Workload, generations: readonly GenerationNumber[]): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  for (const generation of generations) {
    const doomed = join(generationsPath(workloadDir), `.building-pruned-${generation}`);
    try {
      await rename(generationPath(workloadDir, generation), doomed);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
    await rm(doomed, { recursive: true, force: true });
  }
}

/** Takes a workload out of use; it stays under `retired/`. */
export async function retireWorkload(root: string, workload: Workload, now: number): Promise<void> {
  await rename(workloadPath(root, workload), join(retiredPath(root), `${workloadFileName(workload)}.${now}`));
  await syncDirectory(retiredPath(root));
  await syncDirectory(workloadsPath(root));
}

export async function settleBoot(root: string, bootId: string): Promise<void> {
  await replaceDurable(nodePath(root), Buffer.from(`${JSON.stringify({ settledBootId: bootId }, undefined, 2)}\n`));
}
