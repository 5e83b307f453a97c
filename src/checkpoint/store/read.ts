/** Reading the store. Changes nothing, follows no link, and tells damage from absence; `inspect` and the daemon use the same functions. */

import { lstat, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { isErrno, listDirectory, readRegular } from '../../platform/durable.ts';
import type { GenerationNumber, StoredGeneration, StoredWorkload } from '../model.ts';
import { type Workload, type WorkloadKey, workloadFileName, workloadKey } from '../workload.ts';
import {
  decodeIndex,
  decodePointer,
  decodeWorkload,
  FILE_LIMIT,
  FORMAT,
  FORMAT_LINE,
  type GenerationIndex,
  MANIFEST_LIMIT,
  type Pointer,
  sha256,
} from './format.ts';
import {
  activationsPath,
  formatPath,
  generationPath,
  generationsPath,
  nodePath,
  type PointerName,
  pointerPath,
  workloadPath,
  workloadsPath,
} from './paths.ts';

export interface StoreSnapshot {
  readonly settledBootId: string | undefined;
  readonly workloads: ReadonlyMap<WorkloadKey, { readonly workload: Workload; readonly stored: StoredWorkload }>;
}

/** A generation that is not what its index or its pointer says. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError';
}

/** The store was written by a version that this one does not know; nothing of it may be touched. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
}

/** Indexes already read and parsed. A generation never changes under its name, so its index is parsed again only when the file is another one. */
export type IndexCache = Map<string, { readonly stamp: string; readonly sha256: string; readonly index: GenerationIndex }>;

/** Reads everything but the generations' files. An empty or missing store is an empty snapshot; an unreadable one throws. */
export async function readStore(root: string, cache: IndexCache = new Map()): Promise<StoreSnapshot> {
  await checkFormat(root);
  const workloads = new Map<WorkloadKey, { workload: Workload; stored: StoredWorkload }>();
  for (const name of (await listDirectory(workloadsPath(root))).sort()) {
    const directory = join(workloadsPath(root), name);
    const workload = await readWorkload(directory, name);
    if (workload !== undefined) workloads.set(workloadKey(workload), { workload, stored: await readStored(directory, workload, cache) });
  }
  return { settledBootId: await readSettledBootId(root), workloads };
}

export async function checkFormat(root: string): Promise<void> {
  const text = (await readRegular(formatPath(root), 1024))?.toString();
  if (text === undefined || text === FORMAT_LINE) return;
  const found = /^pod-checkpointer store ([0-9]+)\n$/.exec(text)?.[1];
  throw new FormatError(
    found === undefined
      ? `${formatPath(root)}: not the format line of a pod-checkpointer store; point --checkpoint-dir at an empty directory or at the store`
      : `${formatPath(root)}: the store has format ${found}, this version reads ${FORMAT}; use the version that wrote it or a newer one`,
  );
}

async function readWorkload(directory: string, name: string): Promise<Workload | undefined> {
  if (!(await lstat(directory)).isDirectory()) return undefined;
  const text = await readRegular(join(directory, 'workload.json'), MANIFEST_LIMIT);
  const workload = text === undefined ? undefined : decodeWorkload(text.toString());
  // A directory whose name is not that of the workload it claims to be was not made by the store.
  return workload !== undefined && workloadFileName(workload) === name ? workload : undefined;
}

async function readStored(directory: string, workload: Workload, cache: IndexCache): Promise<StoredWorkload> {
  const generations = new Map<GenerationNumber, StoredGeneration>();
  const damaged = new Map<GenerationNumber, string>();
  const sums = new Map<GenerationNumber, string>();
  for (const name of await listDirectory(generationsPath(directory))) {
    if (!/^[1-9][0-9]{0,14}$/.test(name)) continue;
    const number = Number(name);
    try {
      const { index, sha256 } = await readIndex(generationPath(directory, number), workload, number, cache);
      const { digest, instance, containers, traits, parent } = index;
      generations.set(number, { number, digest, ...(instance && { instance }), containers, traits, parent });
      sums.set(number, sha256);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      damaged.set(number, error.message);
    }
  }
  const pointed = async (name: PointerName): Promise<GenerationNumber | undefined> => {
    const pointer = await readPointer(directory, name);
    if (pointer === undefined) return undefined;
    const sum = sums.get(pointer.generation);
    if (sum !== undefined && sum !== pointer.indexSha256) {
      generations.delete(pointer.generation);
      damaged.set(pointer.generation, `index.json has another SHA-256 than the pointer '${name}' says`);
    }
    return generations.has(pointer.generation) ? pointer.generation : undefined;
  };
  const [newest, proven, previous] = [await pointed('newest'), await pointed('proven'), await pointed('previous')];
  // A cut between the commit of a generation and its pointer, or a damaged pointer: the highest whole generation is the newest.
  const highest = Math.max(0, ...generations.keys());
  return {
    generations,
    damaged,
    newest: newest ?? (highest || undefined),
    proven,
    previous,
    activations: await readActivations(directory),
  };
}

async function readIndex(
  directory: string,
  workload: Workload,
  number: GenerationNumber,
  cache: IndexCache,
): Promise<{ index: GenerationIndex; sha256: string }> {
  const path = join(directory, 'index.json');
  const stamp = await stampOf(path);
  const known = cache.get(path);
  if (known !== undefined && known.stamp === stamp) return known;
  const bytes = await damagedIfUnreadable(path, MANIFEST_LIMIT);
  let index: GenerationIndex;
  try {
    index = decodeIndex(bytes.toString());
  } catch (error) {
    throw new DamagedError(error instanceof Error ? error.message : String(error));
  }
  if (index.generation !== number || workloadKey(index.workload) !== workloadKey(workload)) {
    throw new DamagedError(`index.json is of generation ${index.generation} of ${workloadKey(index.workload)}`);
  }
  const read = { stamp, sha256: sha256(bytes), index };
  cache.set(path, read);
  return read;
}

/** SHA-256 of a generation's index, as pointers carry it. */
export async function readIndexSha256(directory: string): Promise<string> {
  return sha256(await damagedIfUnreadable(join(directory, 'index.json'), MANIFEST_LIMIT));
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await lstat(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw new DamagedError('index.json is missing');
    throw error;
  }
}

export async function readPointer(workloadDir: string, name: PointerName): Promise<Pointer | undefined> {
  const bytes = await readRegular(pointerPath(workloadDir, name), 1024);
  return bytes === undefined ? undefined : decodePointer(bytes.toString());
}

async function readActivations(workloadDir: string): Promise<number> {
  const text = (await readRegular(activationsPath(workloadDir), 1024))?.toString() ?? '';
  return /^[0-9]{1,15}\n$/.test(text) ? Number(text) : 0;
}

async function readSettledBootId(root: string): Promise<string | undefined> {
  try {
    const value: unknown = JSON.parse((await readRegular(nodePath(root), MANIFEST_LIMIT))?.toString() ?? '{}');
    if (typeof value === 'object' && value !== null && 'settledBootId' in value && typeof value.settledBootId === 'string')
      return value.settledBootId;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return undefined;
}

/**
 * Reads a generation and verifies every byte of it. Throws DamagedError with the first thing that is wrong.
 * Only what was loaded this way may be handed to the kubelet.
 */
export async function loadGeneration(
  root: string,
  workload: Workload,
  number: GenerationNumber,
): Promise<{ index: GenerationIndex; pod: V1Pod }> {
  const workloadDir = workloadPath(root, workload);
  const directory = generationPath(workloadDir, number);
  const { index, sha256: sum } = await readIndex(directory, workload, number, new Map());
  for (const name of ['proven', 'newest', 'previous'] as const) {
    const pointer = await readPointer(workloadDir, name);
    if (pointer?.generation === number && pointer.indexSha256 !== sum)
      throw new DamagedError(`index.json has another SHA-256 than the pointer '${name}' says`);
  }
  for (const expected of index.directories) {
    const found = await stat(join(directory, expected.path)).catch(() => undefined);
    if (found === undefined || !found.isDirectory() || (await isLink(join(directory, expected.path))))
      throw new DamagedError(`${expected.path} is not a directory`);
    if ((found.mode & 0o7777) !== expected.mode || found.uid !== expected.uid || found.gid !== expected.gid)
      throw new DamagedError(`${expected.path} has another mode or owner than when it was written`);
  }
  let pod: V1Pod | undefined;
  for (const expected of index.files) {
    const bytes = await verifiedBytes(directory, expected);
    if (expected.path === 'pod.json') pod = JSON.parse(bytes.toString());
  }
  if (pod === undefined) throw new DamagedError('index.json names no pod.json');
  return { index, pod };
}

async function verifiedBytes(directory: string, expected: GenerationIndex['files'][number]): Promise<Buffer> {
  const path = join(directory, expected.path);
  const bytes = await damagedIfUnreadable(path, Math.max(MANIFEST_LIMIT, FILE_LIMIT), expected.path);
  if (bytes.length !== expected.size) throw new DamagedError(`${expected.path} has ${bytes.length} bytes, ${expected.size} were written`);
  if (sha256(bytes) !== expected.sha256) throw new DamagedError(`${expected.path} has another SHA-256 than when it was written`);
  const { mode, uid, gid } = await lstat(path);
  if ((mode & 0o7777) !== expected.mode || uid !== expected.uid || gid !== expected.gid)
    throw new DamagedError(`${expected.path} has another mode or owner than when it was written`);
  return bytes;
}

async function damagedIfUnreadable(path: string, limit: number, name = 'index.json'): Promise<Buffer> {
  let bytes: Buffer | undefined;
  try {
    bytes = await readRegular(path, limit);
  } catch (error) {
    if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
    throw new DamagedError(`${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (bytes === undefined) throw new DamagedError(`${name} is missing`);
  return bytes;
}

async function isLink(path: string): Promise<boolean> {
  return (await lstat(path)).isSymbolicLink();
}
