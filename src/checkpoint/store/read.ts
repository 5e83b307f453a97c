/**
 * Reading the store. Changes nothing, follows no link, and tells damage from absence; `inspect` and the daemon use the same functions.
 *
 *  1. Damage stays where it is: whatever is wrong with one workload, the others are read. One that cannot be read at all is `unreadable`, not absent.
 *  2. A generation whose index is not whole does not count; a pointer that is not whole, or does not fit its generation, counts for nothing.
 *  3. Only an error that says nothing about the disk's content (no more open files, no memory) and a format of a later version throw.
 */
import { join } from 'node:path';
import { errnoOf, isErrno, kindOf } from '../../platform/durable.ts';
import type { StoredWorkload } from '../model.ts';
import { type Workload, type WorkloadKey, workloadFileName, workloadKey } from '../workload.ts';
import { FormatError } from './errors.ts';
import { decodeFormatLine, decodeIndex, decodeWorkload, FORMAT, MANIFEST_LIMIT } from './format.ts';
import { formatPath, generationPath, nodePath, replacedPath, retiredPath, workloadsPath } from './paths.ts';
import { type Files, FROM_DISK, NOT_OF_THE_DISK, tolerant } from './read-files.ts';
import { generationNumbers, type IndexCache, type KnownDamage, readStored } from './read-workload.ts';

export { DamagedError, FormatError } from './errors.ts';
export type { IndexCache, KnownDamage } from './read-workload.ts';

/** A workload that was moved out of use and is still kept. */
export interface RetiredWorkload {
  readonly workload: Workload;
  /** Its directory's name under `retired/`. */
  readonly entry: string;
  /** Milliseconds since it was retired, by the wall clock; 0 when that was set back. */
  readonly age: number;
  /** Its owner had moved to other nodes. */
  readonly replaced?: boolean;
  readonly stored: StoredWorkload;
}

export interface StoreSnapshot {
  readonly settledBootId: string | undefined;
  readonly workloads: ReadonlyMap<WorkloadKey, { readonly workload: Workload; readonly stored: StoredWorkload }>;
  readonly retired: readonly RetiredWorkload[];
  /** Directories of which the disk does not even say what is in them, with its answer; absent where there are none. Nothing is known of what they hold. */
  readonly unreadable?: ReadonlyMap<string, string>;
}

/**
 * Reads everything but the generations' files. An empty or missing store is an empty snapshot. Throws FormatError on a store of a later version.
 * @param files for looking again and again, what remembers them
 */
export async function readStore(
  root: string,
  cache: IndexCache = new Map(),
  wallClock: number = Date.now(),
  damage: KnownDamage = new Map(),
  files: Files = FROM_DISK,
): Promise<StoreSnapshot> {
  await checkFormat(root, files);
  const seen: IndexCache = new Map();
  const caches = { known: cache, seen, damage, files };
  const unreadable = new Map<string, string>();
  const found = await inPairs(await files.list(workloadsPath(root)), async (name) => {
    const directory = join(workloadsPath(root), name);
    return unlessUnreadable(directory, unreadable, async () => {
      const workload = await readWorkload(directory, name, files);
      return workload === undefined ? undefined : { workload, stored: await readStored(directory, workload, caches) };
    });
  });
  const workloads = new Map(found.flatMap((one) => (one === undefined ? [] : [[workloadKey(one.workload), one] as const])));
  const retired: RetiredWorkload[] = [];
  const names = await unlessUnreadable(retiredPath(root), unreadable, () => files.list(retiredPath(root)));
  for (const entry of names ?? []) {
    const [, name, ms] = /^(.+)\.([0-9]{1,15})$/.exec(entry) ?? [];
    if (name === undefined) continue;
    const directory = join(retiredPath(root), entry);
    await unlessUnreadable(directory, unreadable, async () => {
      const workload = await readWorkload(directory, name, files);
      if (workload === undefined) return;
      const age = Math.max(0, wallClock - Number(ms));
      const replaced = (await kindOf(replacedPath(directory))) === 'file';
      retired.push({ workload, entry, age, replaced, stored: await readStored(directory, workload, caches) });
    });
  }
  cache.clear();
  for (const [path, index] of seen) cache.set(path, index);
  return { settledBootId: await readSettledBootId(root, files), workloads, retired, ...(unreadable.size > 0 && { unreadable }) };
}

/** What the disk answers for one directory (EIO, EUCLEAN, EACCES) is of that directory only. */
async function unlessUnreadable<T>(directory: string, unreadable: Map<string, string>, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (errnoOf(error) === undefined || isErrno(error, ...NOT_OF_THE_DISK)) throw error;
    unreadable.set(directory, error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** Results in the order of the items. Two at a time: a disk that hangs must leave threads of libuv's pool to others. */
async function inPairs<T, R>(items: readonly T[], task: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      const item = items[index];
      if (item !== undefined) results[index] = await task(item);
    }
  };
  await Promise.all([work(), work()]);
  return results;
}

/**
 * Throws FormatError unless this version may read and change what is there. A line that no version writes is damage, not another format: each index
 * says its format, too, and nothing but damage makes a store of ours hold such a line; in a directory without our `workloads` it is somebody else's.
 */
export async function checkFormat(root: string, { read } = FROM_DISK): Promise<'none' | 'ours' | 'garbled'> {
  const ours = (await kindOf(workloadsPath(root))) === 'directory';
  const bytes = ours ? await tolerant(formatPath(root), 1024, read) : ((await read(formatPath(root), 1024)) ?? 'absent');
  if (bytes === 'absent') return 'none';
  const line = bytes === 'unreadable' ? ({ state: 'garbled' } as const) : decodeFormatLine(bytes.toString());
  if (line.state === 'format') {
    if (line.format === FORMAT) return 'ours';
    throw new FormatError(
      `${formatPath(root)}: the store has format ${line.format}, this version reads ${FORMAT}; use the version that wrote it or a newer one`,
    );
  }
  if (ours) return 'garbled';
  throw new FormatError(
    `${formatPath(root)}: not the format line of a pod-checkpointer store; point --checkpoint-dir at an empty directory or at the store`,
  );
}

/** The workload of a directory under `workloads` or `retired`; undefined for one that the store did not make. `name`: without the time of retirement. */
export async function readWorkload(directory: string, name: string, { read } = FROM_DISK): Promise<Workload | undefined> {
  if ((await kindOf(directory)) !== 'directory') return undefined;
  const bytes = await tolerant(join(directory, 'workload.json'), MANIFEST_LIMIT, read);
  const workload = bytes instanceof Buffer ? decodeWorkload(bytes.toString()) : undefined;
  if (workload !== undefined && workloadFileName(workload) === name) return workload;
  // Damaged or gone. Every index says whose it is, too.
  for (const number of await generationNumbers(directory)) {
    const index = await tolerant(join(generationPath(directory, number), 'index.json'), MANIFEST_LIMIT);
    try {
      const { workload: owner } = decodeIndex(index.toString());
      if (workloadFileName(owner) === name) return owner;
    } catch {
      // This one is damaged as well.
    }
  }
  return undefined;
}

async function readSettledBootId(root: string, { read }: Files): Promise<string | undefined> {
  const bytes = await tolerant(nodePath(root), MANIFEST_LIMIT, read);
  if (!(bytes instanceof Buffer)) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    if (typeof value === 'object' && value !== null && 'settledBootId' in value && typeof value.settledBootId === 'string')
      return value.settledBootId;
  } catch {
    // Damaged: treated as a boot that is not settled, which asks again for what is there.
  }
  return undefined;
}
