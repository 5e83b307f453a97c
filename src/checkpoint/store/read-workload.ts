/** Reading what the store has of one workload: its generations' indexes, the pointers to them, and what else lies beside them. */
import { lstat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isErrno, kindOf } from '../../platform/durable.ts';
import type { ReadFile } from '../../platform/remembered.ts';
import type { GenerationNumber, StoredGeneration, StoredWorkload } from '../model.ts';
import { type Workload, workloadKey } from '../workload.ts';
import { DamagedError } from './errors.ts';
import { readFailing } from './failing.ts';
import {
  decodeCounter,
  decodeIndex,
  decodeNewestPointer,
  decodeNumber,
  decodePointer,
  decodeProven,
  type GenerationIndex,
  MANIFEST_LIMIT,
  type NewestPointer,
  type Pointer,
  type Proven,
  sha256,
} from './format.ts';
import { activationsPath, failingPath, generationPath, generationsPath, type PointerName, pointerPath } from './paths.ts';
import { damagedIfUnreadable, type Files, FROM_DISK, tolerant } from './read-files.ts';

/**
 * Generations that did not verify, by directory, with the reason. The index of such a generation may be whole, and where it could not be moved to the
 * quarantine (a disk that is full or read-only) nothing but this keeps it from being chosen again and again.
 */
export type KnownDamage = ReadonlyMap<string, string>;

/** Indexes already read and parsed. A generation never changes under its name, so its index is parsed again only when the file is another one. */
export type IndexCache = Map<string, { readonly stamp: string; readonly sha256: string; readonly index: GenerationIndex }>;

/** The numbers of all generations that have been committed, ascending. */
export async function generationNumbers(workloadDir: string, { list } = FROM_DISK): Promise<GenerationNumber[]> {
  return (await list(generationsPath(workloadDir))).flatMap((name) => decodeNumber(name) ?? []).sort((a, b) => a - b);
}

interface Caches {
  readonly known: IndexCache;
  readonly seen: IndexCache;
  readonly damage?: KnownDamage;
  readonly files?: Files;
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
  const files = caches.files ?? FROM_DISK;
  // Asked for by name, a file that is not there costs as much as one that is.
  const names = await files.list(directory);
  const numbers = await generationNumbers(directory, files);
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
  const newest = await readNewest(directory, files.read);
  const highest = Math.max(0, ...generations.keys());
  const newestPointed = pointed('newest', newest);
  const pointers = await readProven(directory, files.read);
  const pointedProven = pointed('proven', typeof pointers === 'object' ? pointers.proven : pointers);
  const before = names.includes(basename(pointerPath(directory, 'previous'))) ? await readPrevious(directory, files.read) : 'absent';
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
    failing: names.includes(basename(failingPath(directory))) ? await readFailing(directory, files.read) : new Map(),
    activations: await readActivations(directory, numbers.length > 0, files.read),
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
