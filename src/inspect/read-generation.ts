/**
 * One generation, verified. Promises cost more than the reads themselves where a store holds a thousand small files, so these are made at once and one after
 * the other. What is not exactly what its index says is looked at again by the store's own verification, which has the last word and the words for it.
 */
import { closeSync, constants, fstatSync, lstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import type { GenerationNumber } from '../checkpoint/model.ts';
import { DamagedError } from '../checkpoint/store/errors.ts';
import { decodeIndex, type GenerationIndex, type IndexedFile, MANIFEST_LIMIT, sha256 } from '../checkpoint/store/format.ts';
import { loadGenerationAt } from '../checkpoint/store/load.ts';
import { generationPath } from '../checkpoint/store/paths.ts';
import { type Workload, workloadKey } from '../checkpoint/workload.ts';
import { type Expiry, endsIn } from './expiry.ts';
import type { GenerationFacts } from './facts.ts';

/** Bytes; a certificate chain with its key is a few KiB. */
const EXPIRY_LIMIT = 256 * 1024;

export interface Place {
  /** Of the workload. */
  readonly directory: string;
  readonly workload: Workload;
  readonly number: GenerationNumber;
  /** Whether its pod is wanted and what ends in it: a thousand pods that nobody asks about take memory and time. */
  readonly looked: boolean;
}

/** Undefined for one that was deleted while it was read. */
export async function readGeneration(place: Place): Promise<GenerationFacts | undefined> {
  const { directory: above, workload, number, looked } = place;
  const quick = readAtOnce(place);
  if (quick !== undefined) return quick;
  const directory = generationPath(above, number);
  try {
    const { index, pod } = await loadGenerationAt(directory, workload, number);
    return factsOf(index, looked ? pod : undefined, []);
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    if (lstatSync(directory, { throwIfNoEntry: false }) === undefined) return undefined;
    const nothing = { files: [], bytes: 0, directories: 0, tokens: [], pod: undefined, ends: [] };
    return { number, createdAt: '', damage: error.message, ...nothing };
  }
}

/** Undefined where anything at all is not as expected. */
function readAtOnce({ directory: above, workload, number, looked }: Place): GenerationFacts | undefined {
  const directory = generationPath(above, number);
  try {
    if (!lstatSync(directory).isDirectory()) return undefined;
    const index = decodeIndex(readRegular(join(directory, 'index.json'), MANIFEST_LIMIT)?.bytes.toString() ?? '');
    if (index.generation !== number || workloadKey(index.workload) !== workloadKey(workload)) return undefined;
    for (const expected of index.directories) {
      const found = lstatSync(join(directory, expected.path));
      if (!found.isDirectory() || !sameOwner(found, expected)) return undefined;
    }
    const ends: Expiry[] = [];
    let manifest: Buffer | undefined;
    for (const expected of index.files) {
      const bytes = verified(join(directory, expected.path), expected);
      if (bytes === undefined) return undefined;
      if (expected.path === 'pod.json') manifest = bytes;
      else if (looked && bytes.length < EXPIRY_LIMIT) ends.push(...endsIn(expected.path, bytes));
    }
    if (manifest === undefined || entriesIn(directory, index) !== index.directories.length + index.files.length + 1) return undefined;
    return factsOf(index, looked ? (JSON.parse(manifest.toString()) as V1Pod) : undefined, ends);
  } catch {
    return undefined;
  }
}

/** Everything that the index names was found: one entry more is something that it does not name. */
function entriesIn(directory: string, { directories }: GenerationIndex): number {
  return ['', ...directories.map(({ path }) => path)].reduce((sum, path) => sum + readdirSync(join(directory, path)).length, 0);
}

function factsOf(index: GenerationIndex, pod: V1Pod | undefined, ends: readonly Expiry[]): GenerationFacts {
  return {
    number: index.generation,
    createdAt: index.createdAt,
    files: index.files,
    bytes: index.files.reduce((sum, { size }) => sum + size, 0),
    directories: index.directories.length + 1,
    tokens: index.instance?.tokens ?? [],
    damage: undefined,
    pod,
    ends,
  };
}

function verified(path: string, expected: IndexedFile): Buffer | undefined {
  const read = readRegular(path, expected.size);
  if (read === undefined || read.bytes.length !== expected.size || !sameOwner(read, expected)) return undefined;
  return sha256(read.bytes) === expected.sha256 ? read.bytes : undefined;
}

interface Owned {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

const sameOwner = (found: Owned, expected: Owned): boolean =>
  (found.mode & 0o7777) === expected.mode && found.uid === expected.uid && found.gid === expected.gid;

function readRegular(path: string, limit: number): (Owned & { readonly bytes: Buffer }) | undefined {
  // O_NONBLOCK: opening a FIFO that somebody put there must not hang.
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(file);
    if (!found.isFile() || found.size > limit) return undefined;
    // One read for one file, as long as it is what fstat(2) says; one that is cut meanwhile does not have its checksum.
    const bytes = Buffer.allocUnsafe(found.size);
    const length = readSync(file, bytes, 0, found.size, 0);
    return { mode: found.mode, uid: found.uid, gid: found.gid, bytes: bytes.subarray(0, length) };
  } finally {
    closeSync(file);
  }
}
