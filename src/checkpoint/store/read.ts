/**
 * Reading the store. Changes nothing, follows no link, and tells damage from absence; `inspect` and the daemon use the same functions.
 *
 *  1. Damage stays where it is: whatever is wrong with one workload, the others are read. One that cannot be read at all is `unreadable`, not absent.
 *  2. A generation whose index is not whole does not count; a pointer that is not whole, or does not fit its generation, counts for nothing.
 *  3. Only an error that says nothing about the disk's content (no more open files, no memory) and a format of a later version throw.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, isErrno, kindOf, listDirectory, readRegular } from '../../platform/durable.ts';
import type { ReadFile } from '../../platform/remembered.ts';
import type { GenerationNumber, StoredGeneration, StoredWorkload } from '../model.ts';
import { type Workload, type WorkloadKey, workloadFileName, workloadKey } from '../workload.ts';
import { DamagedError, FormatError } from './errors.ts';
import { readFailing } from './failing.ts';
import {
  decodeCounter,
  decodeFormatLine,
  decodeIndex,
  decodeNewestPointer,
  decodeNumber,
  decodePointer,
  decodeProven,
  decodeWorkload,
  FORMAT,
  type GenerationIndex,
  MANIFEST_LIMIT,
  type NewestPointer,
  type Pointer,
  type Proven,
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
  replacedPath,
  retiredPath,
  workloadsPath,
} from './paths.ts';

export { DamagedError, FormatError } from './errors.ts';

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
 * Generations that did not verify, by directory, with the reason. The index of such a generation may be whole, and where it could not be moved to the
 * quarantine (a disk that is full or read-only) nothing but this keeps it from being chosen again and again.
 */
export type KnownDamage = ReadonlyMap<string, string>;

/** Indexes already read and parsed. A generation never changes under its name, so its index is parsed again only when the file is another one. */
export type IndexCache = Map<string, { readonly stamp: string; readonly sha256: string; readonly index: GenerationIndex }>;

/**
 * Reads everything but the generations' files. An empty or missing store is an empty snapshot. Throws FormatError on a store of a later version.
 * @param read the store's small files; for looking again and again, one that remembers them
 */
export async function readStore(
  root: string,
  cache: IndexCache = new Map(),
  wallClock: number = Date.now(),
  damage: KnownDamage = new Map(),
  read: ReadFile = readRegular,
): Promise<StoreSnapshot> {
  await checkFormat(root, read);
  const seen: IndexCache = new Map();
  const caches = { known: cache, seen, damage, read };
  const unreadable = new Map<string, string>();
  const found = await inPairs(await entries(workloadsPath(root)), async (name) => {
    const directory = join(workloadsPath(root), name);
    return unlessUnreadable(directory, unreadable, async () => {
      const workload = await readWorkload(directory, name, read);
      return workload === undefined ? undefined : { workload, stored: await readStored(directory, workload, caches) };
    });
  });
  const workloads = new Map(found.flatMap((one) => (one === undefined ? [] : [[workloadKey(one.workload), one] as const])));
  const retired: RetiredWorkload[] = [];
  const names = await unlessUnreadable(retiredPath(root), unreadable, () => entries(retiredPath(root)));
  for (const entry of names ?? []) {
    const [, name, ms] = /^(.+)\.([0-9]{1,15})$/.exec(entry) ?? [];
    if (name === undefined) continue;
    const directory = join(retiredPath(root), entry);
    await unlessUnreadable(directory, unreadable, async () => {
      const workload = await readWorkload(directory, name, read);
      if (workload === undefined) return;
      const age = Math.max(0, wallClock - Number(ms));
      const replaced = (await kindOf(replacedPath(directory))) === 'file';
      retired.push({ workload, entry, age, replaced, stored: await readStored(directory, workload, caches) });
    });
  }
  cache.clear();
  for (const [path, index] of seen) cache.set(path, index);
  return { settledBootId: await readSettledBootId(root, read), workloads, retired, ...(unreadable.size > 0 && { unreadable }) };
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
export async function checkFormat(root: string, read: ReadFile = readRegular): Promise<'none' | 'ours' | 'garbled'> {
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
export async function readWorkload(directory: string, name: string, read: ReadFile = readRegular): Promise<Workload | undefined> {
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

/** The numbers of all generations that have been committed, ascending. */
export async function generationNumbers(workloadDir: string): Promise<GenerationNumber[]> {
  return (await entries(generationsPath(workloadDir))).flatMap((name) => decodeNumber(name) ?? []).sort((a, b) => a - b);
}

interface Caches {
  readonly known: IndexCache;
  readonly seen: IndexCache;
  readonly damage?: KnownDamage;
  readonly read?: ReadFile;
}

/** Looks at a workload that is changed all the time, before what was seen last counts. */
const LOOKS = 5;

/**
 * What is stored of a workload. Another process may change it meanwhile: a generation that was deleted, and a pointer to one that came, after the names
 * were read look like damage. So only damage that is still the same at a second look is called damage.
 */
export async function readStored(
  directory: string,
  workload: Workload,
  caches: Caches = { known: new Map(), seen: new Map() },
): Promise<StoredWorkload> {
  let found = await readOnce(directory, workload, caches);
  for (let look = 1; look < LOOKS && (found.damaged.size > 0 || found.damagedPointers.length > 0); look++) {
    const before = found;
    found = await readOnce(directory, workload, caches);
    if (whatIsThere(before) === whatIsThere(found)) break;
  }
  return found;
}

const whatIsThere = ({ generations, damaged, damagedPointers, proven, previous, newest }: StoredWorkload): string =>
  JSON.stringify([[...generations.keys()], [...damaged], damagedPointers, proven, previous, newest]);

async function readOnce(directory: string, workload: Workload, caches: Caches): Promise<StoredWorkload> {
  const generations = new Map<GenerationNumber, StoredGeneration>();
  const damaged = new Map<GenerationNumber, string>();
  const sums = new Map<GenerationNumber, string>();
  const numbers = await generationNumbers(directory);
  for (const number of numbers) {
    try {
      const known = caches.damage?.get(generationPath(directory, number));
      if (known !== undefined) throw new DamagedError(known);
      const { index, sha256 } = await readIndex(generationPath(directory, number), workload, number, caches);
      const { digest, instance, containers, traits, parent } = index;
      generations.set(number, { number, digest, ...(instance && { instance }), containers, traits, parent });
      sums.set(number, sha256);
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      damaged.set(number, error.message);
    }
  }
  const damagedPointers: PointerName[] = [];
  const pointed = (name: PointerName, pointer: Pointer | 'absent' | 'damaged'): GenerationNumber | undefined => {
    if (pointer === 'absent') return undefined;
    if (pointer !== 'damaged' && sums.get(pointer.generation) === pointer.indexSha256) return pointer.generation;
    // An index that is whole and another one than the pointer says: of the two it is the pointer that is damaged.
    if (pointer === 'damaged' || !damaged.has(pointer.generation)) damagedPointers.push(name);
    return undefined;
  };
  const newest = await readNewest(directory, caches.read);
  const highest = Math.max(0, ...generations.keys());
  const newestPointed = pointed('newest', newest);
  const pointers = await readProven(directory, caches.read);
  const pointedProven = pointed('proven', typeof pointers === 'object' ? pointers.proven : pointers);
  const before = await readPrevious(directory, caches.read);
  // The second pointer of `proven` counts, the file `previous` only where there is none.
  const second =
    typeof pointers === 'string' ? before : (pointers.previous ?? (before === 'damaged' ? before : differing(before, pointers.proven)));
  const pointedBefore = pointed('previous', second);
  if (before === 'damaged' && second !== 'damaged') damagedPointers.push('previous');
  const proven = pointedProven ?? pointedBefore;
  const previous = proven === pointedBefore ? undefined : pointedBefore;
  return {
    generations,
    damaged,
    damagedPointers,
    newest: newestPointed !== undefined && typeof newest === 'object' && highest <= newest.highest ? newestPointed : highest || undefined,
    proven: proven ?? previous,
    previous,
    failing: await readFailing(directory, caches.read),
    activations: await readActivations(directory, numbers.length > 0, caches.read),
  };
}

export async function readIndex(
  directory: string,
  workload: Workload,
  number: GenerationNumber,
  { known, seen }: Caches = { known: new Map(), seen: new Map() },
): Promise<{ index: GenerationIndex; sha256: string }> {
  const kind = await kindOf(directory).catch((error: unknown) => {
    throw damagedUnlessOurs(error, `generation ${number}`);
  });
  if (kind !== 'directory') throw new DamagedError(`generation ${number} is ${kind === 'absent' ? 'missing' : 'not a directory'}`);
  const path = join(directory, 'index.json');
  const stamp = await stampOf(path);
  const cached = known.get(path);
  if (cached !== undefined && cached.stamp === stamp) {
    seen.set(path, cached);
    return cached;
  }
  const bytes = await damagedIfUnreadable(path, MANIFEST_LIMIT, 'index.json');
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
  seen.set(path, read);
  return read;
}

/** SHA-256 of a generation's index, as pointers carry it. */
export async function readIndexSha256(directory: string): Promise<string> {
  return sha256(await damagedIfUnreadable(join(directory, 'index.json'), MANIFEST_LIMIT, 'index.json'));
}

/** A bad inode (EIO, EUCLEAN) is damage of what it belongs to and of nothing else; what this process ran out of says nothing about the disk. */
function damagedUnlessOurs(error: unknown, what: string): unknown {
  if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) return error;
  return new DamagedError(`${what} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
}

async function stampOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await lstat(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw new DamagedError('index.json is missing');
    throw damagedUnlessOurs(error, 'index.json');
  }
}

/** The pointers to the proven generation and to the one before it. */
export async function readProven(workloadDir: string, read?: ReadFile): Promise<Proven | 'absent' | 'damaged'> {
  const bytes = await tolerant(pointerPath(workloadDir, 'proven'), 1024, read);
  if (bytes === 'absent') return 'absent';
  return (bytes === 'unreadable' ? undefined : decodeProven(bytes.toString())) ?? 'damaged';
}

/** The file that repeats the pointer to the generation that was proven before the proven one. */
export async function readPrevious(workloadDir: string, read?: ReadFile): Promise<Pointer | 'absent' | 'damaged'> {
  const bytes = await tolerant(pointerPath(workloadDir, 'previous'), 1024, read);
  if (bytes === 'absent') return 'absent';
  return (bytes === 'unreadable' ? undefined : decodePointer(bytes.toString())) ?? 'damaged';
}

/** A proof that was cut short has written `previous` and not yet `proven`: both then name the generation that is still the proven one. */
function differing(pointer: Pointer | 'absent', from: Pointer): Pointer | 'absent' {
  return pointer !== 'absent' && pointer.generation === from.generation ? 'absent' : pointer;
}

export async function readNewest(workloadDir: string, read?: ReadFile): Promise<NewestPointer | 'absent' | 'damaged'> {
  const bytes = await tolerant(pointerPath(workloadDir, 'newest'), 1024, read);
  if (bytes === 'absent') return 'absent';
  return (bytes === 'unreadable' ? undefined : decodeNewestPointer(bytes.toString())) ?? 'damaged';
}

/**
 * A counter that cannot be read, or was removed, goes on above any count there was: an activation that has been used must not be used again, its pod may
 * still be there. The first save writes it before its generation, so where there were generations before it is asked for, it is there.
 */
async function readActivations(workloadDir: string, anyGeneration: boolean, read?: ReadFile): Promise<number> {
  const path = activationsPath(workloadDir);
  const bytes = await tolerant(path, 1024, read);
  if (bytes === 'absent' && (!anyGeneration || (await generationNumbers(workloadDir)).length === 0)) return 0;
  const count = bytes instanceof Buffer ? decodeCounter(bytes.toString()) : undefined;
  if (count !== undefined) return count;
  // Where the file is gone, its directory changed when it went.
  const changed = await lstat(bytes === 'absent' ? workloadDir : path).catch(() => undefined);
  return Math.max(1_000_000, Math.floor((changed?.mtimeMs ?? Date.now()) / 1000));
}

async function readSettledBootId(root: string, read: ReadFile): Promise<string | undefined> {
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

/** Names in a directory that is one, not a link to one. */
async function entries(path: string): Promise<string[]> {
  return (await kindOf(path)) === 'directory' ? (await listDirectory(path)).sort() : [];
}

/** Errors that say nothing about what lies on the disk. */
const NOT_OF_THE_DISK = ['EMFILE', 'ENFILE', 'ENOMEM'];

async function tolerant(path: string, limit: number, read: ReadFile = readRegular): Promise<Buffer | 'absent' | 'unreadable'> {
  try {
    return (await read(path, limit)) ?? 'absent';
  } catch (error) {
    if (isErrno(error, ...NOT_OF_THE_DISK)) throw error;
    return isErrno(error, 'ENOTDIR') ? 'absent' : 'unreadable';
  }
}

/** Bytes of a file that must be there; anything else is damage. `name` stands for it in the message. */
export async function damagedIfUnreadable(path: string, limit: number, name: string): Promise<Buffer> {
  let bytes: Buffer | undefined;
  try {
    bytes = await readRegular(path, limit);
  } catch (error) {
    if (isErrno(error, ...NOT_OF_THE_DISK)) throw error;
    throw new DamagedError(`${name} cannot be read: ${errnoOf(error) ?? (error instanceof Error ? error.message : String(error))}`);
  }
  if (bytes === undefined) throw new DamagedError(`${name} is missing`);
  return bytes;
}
