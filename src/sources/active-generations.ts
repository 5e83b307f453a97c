/**
 * The generations that active manifests name: their pods mount these files, now and after the next reboot, when the kubelet starts them before anything
 * verifies them. They are verified when they are first seen, and again whenever a file or directory of them is another one than then (inode, size, times,
 * mode, owner): a quiet node reads no file twice.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { DamagedError } from '../checkpoint/store/errors.ts';
import { loadGeneration } from '../checkpoint/store/load.ts';
import { generationPath, workloadPath } from '../checkpoint/store/paths.ts';
import type { IndexCache, StoreSnapshot } from '../checkpoint/store/read.ts';
import type { Workload, WorkloadKey } from '../checkpoint/workload.ts';

/** By the generation's directory: what it looked like when it was verified. */
export type Verified = Map<string, string>;

export interface ActiveGeneration {
  readonly workload: WorkloadKey;
  readonly generation: number;
}

/** Generations that do not verify, with the reason, by directory. Those that the store calls damaged already are not looked at. */
export async function damageOfActive(
  root: string,
  store: StoreSnapshot,
  active: readonly ActiveGeneration[],
  indexes: IndexCache,
  verified: Verified,
): Promise<ReadonlyMap<string, string>> {
  const damage = new Map<string, string>();
  const known = new Map(verified);
  verified.clear();
  for (const { workload: key, generation } of active) {
    const found = store.workloads.get(key);
    if (found?.stored.generations.has(generation) !== true) continue;
    const directory = generationPath(workloadPath(root, found.workload), generation);
    const detail = await damageOf(root, found.workload, generation, directory, indexes, known, verified);
    if (detail !== undefined) damage.set(directory, detail);
  }
  return damage;
}

async function damageOf(
  root: string,
  workload: Workload,
  generation: number,
  directory: string,
  indexes: IndexCache,
  known: Verified,
  verified: Verified,
): Promise<string | undefined> {
  try {
    // Before the files are read, so that a change while they are is seen by the next look.
    const looks = await looksOf(directory, indexes);
    if (looks === undefined || known.get(directory) !== looks) await loadGeneration(root, workload, generation);
    if (looks !== undefined) verified.set(directory, looks);
    return undefined;
  } catch (error) {
    if (error instanceof DamagedError) return error.message;
    throw error;
  }
}

async function looksOf(directory: string, indexes: IndexCache): Promise<string | undefined> {
  const index = indexes.get(join(directory, 'index.json'))?.index;
  if (index === undefined) return undefined;
  const paths = ['', 'index.json', ...index.directories.map(({ path }) => path), ...index.files.map(({ path }) => path)];
  try {
    const all = await Promise.all(paths.map((path) => lstat(join(directory, path), { bigint: true })));
    return all.map(({ ino, size, mtimeNs, ctimeNs, mode, uid, gid }) => [ino, size, mtimeNs, ctimeNs, mode, uid, gid].join(' ')).join('\n');
  } catch {
    // What is the matter with it the verification says.
    return undefined;
  }
}
