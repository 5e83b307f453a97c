/** Verification: every byte of a generation against its index. Only what was loaded this way may be handed to the kubelet. */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { errnoOf, isErrno } from '../../platform/durable.ts';
import type { GenerationNumber } from '../model.ts';
import type { Workload } from '../workload.ts';
import { DamagedError } from './errors.ts';
import { FILE_LIMIT, type GenerationIndex, type IndexedDirectory, type IndexedFile, MANIFEST_LIMIT, sha256 } from './format.ts';
import { generationPath, generationsPath, workloadPath, workloadsPath } from './paths.ts';
import { damagedIfUnreadable } from './read-files.ts';
import { readIndex } from './read-workload.ts';

export interface LoadedGeneration {
  readonly index: GenerationIndex;
  /** Of index.json: what a pointer to this generation says. */
  readonly indexSha256: string;
  readonly pod: V1Pod;
}

/** Reads a generation and verifies every byte of it. Throws DamagedError with the first thing that is wrong. */
export async function loadGeneration(root: string, workload: Workload, number: GenerationNumber): Promise<LoadedGeneration> {
  const workloadDir = workloadPath(root, workload);
  for (const path of [workloadsPath(root), workloadDir, generationsPath(workloadDir)]) await expectDirectory(path, path);
  return loadGenerationAt(generationPath(workloadDir, number), workload, number);
}

/** The same for a generation that lies somewhere else: among the retired ones, say. The directories above it are the caller's to check. */
export async function loadGenerationAt(directory: string, workload: Workload, number: GenerationNumber): Promise<LoadedGeneration> {
  const { index, sha256: indexSha256 } = await readIndex(directory, workload, number);
  // Each one before what lies in it, so that no file is reached through a link.
  for (const expected of index.directories) expectSame(expected, await expectDirectory(join(directory, expected.path), expected.path));
  let manifest: Buffer | undefined;
  for (const expected of index.files) {
    const bytes = await verifiedBytes(directory, expected);
    if (expected.path === 'pod.json') manifest = bytes;
  }
  if (manifest === undefined) throw new DamagedError('index.json names no pod.json');
  await expectNothingElse(directory, index);
  return { index, indexSha256, pod: parsePod(manifest) };
}

/** What the index does not name was put there by somebody, and the pod would see it: it is not the copy that was proven. */
async function expectNothingElse(directory: string, { directories, files }: GenerationIndex): Promise<void> {
  const known = new Set(['index.json', ...directories.map(({ path }) => path), ...files.map(({ path }) => path)]);
  for (const above of ['', ...directories.map(({ path }) => path)]) {
    for (const name of await namesIn(join(directory, above), above)) {
      const path = above === '' ? name : `${above}/${name}`;
      if (!known.has(path)) throw new DamagedError(`${JSON.stringify(path)} is there and not in index.json`);
    }
  }
}

async function namesIn(path: string, name: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
    throw new DamagedError(`${name || 'the generation'} cannot be read: ${errnoOf(error)}`);
  }
}

async function expectDirectory(path: string, name: string): Promise<Owned> {
  const found = await stat(path, name);
  if (!found.isDirectory()) throw new DamagedError(`${name} is not a directory`);
  return found;
}

async function verifiedBytes(directory: string, expected: IndexedFile): Promise<Buffer> {
  const path = join(directory, expected.path);
  const bytes = await damagedIfUnreadable(path, Math.max(MANIFEST_LIMIT, FILE_LIMIT), expected.path);
  if (bytes.length !== expected.size) throw new DamagedError(`${expected.path} has ${bytes.length} bytes, ${expected.size} were written`);
  if (sha256(bytes) !== expected.sha256) throw new DamagedError(`${expected.path} has another SHA-256 than when it was written`);
  expectSame(expected, await stat(path, expected.path));
  return bytes;
}

interface Owned {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

function expectSame(expected: IndexedDirectory, { mode, uid, gid }: Owned): void {
  if ((mode & 0o7777) !== expected.mode || uid !== expected.uid || gid !== expected.gid)
    throw new DamagedError(`${expected.path} has another mode or owner than when it was written`);
}

async function stat(path: string, name: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
    throw new DamagedError(isErrno(error, 'ENOENT', 'ENOTDIR') ? `${name} is missing` : `${name} cannot be read: ${errnoOf(error)}`);
  }
}

function parsePod(manifest: Buffer): V1Pod {
  try {
    return JSON.parse(manifest.toString()) as V1Pod;
  } catch {
    throw new DamagedError('pod.json is not JSON');
  }
}
