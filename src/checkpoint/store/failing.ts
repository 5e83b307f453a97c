/**
 * Specs marked failing: one small file a workload, `failing.json`, `{"<digest>": {"since": "<RFC 3339>", "detail": "<sentence>"}}`. One that cannot be read
 * counts for nothing: what it kept from being tried is tried again, and marked again.
 */
import { isErrno, readRegular, removeDurable } from '../../platform/durable.ts';
import type { ReadFile } from '../../platform/remembered.ts';
import type { Digest, Failing } from '../model.ts';
import type { Workload } from '../workload.ts';
import { asStoreError, storeFailure } from './errors.ts';
import { failingPath, workloadPath } from './paths.ts';
import { replace } from './pointers.ts';

const FILE_LIMIT = 64 * 1024;
/** The latest are kept: a spec that was given up long ago does not come back. */
const SPECS = 16;
const DETAIL = 500;

const NONE: ReadonlyMap<Digest, Failing> = new Map();

export async function readFailing(workloadDir: string, readFile?: ReadFile): Promise<ReadonlyMap<Digest, Failing>> {
  try {
    return await read(workloadDir, readFile);
  } catch (error) {
    if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
    return NONE;
  }
}

async function read(workloadDir: string, readFile: ReadFile = readRegular): Promise<ReadonlyMap<Digest, Failing>> {
  const bytes = await readFile(failingPath(workloadDir), FILE_LIMIT);
  return bytes === undefined ? NONE : decodeFailing(bytes.toString());
}

/** For a change of them: marks that the disk does not give are not taken for none. What is no file of ours holds none. Throws StoreError. */
async function marksToChange(root: string, workload: Workload): Promise<ReadonlyMap<Digest, Failing>> {
  try {
    return await read(workloadPath(root, workload));
  } catch (error) {
    if (storeFailure(error) !== undefined) throw asStoreError(error, root);
    return NONE;
  }
}

/** What is not a mark is left out. */
export function decodeFailing(text: string): ReadonlyMap<Digest, Failing> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return NONE;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return NONE;
  return new Map(
    Object.entries(value).flatMap(([digest, mark]: [string, unknown]): [Digest, Failing][] =>
      isFailing(mark) ? [[digest as Digest, { since: mark.since, detail: mark.detail }]] : [],
    ),
  );
}

function isFailing(mark: unknown): mark is Failing {
  return (
    typeof mark === 'object' &&
    mark !== null &&
    'since' in mark &&
    typeof mark.since === 'string' &&
    'detail' in mark &&
    typeof mark.detail === 'string'
  );
}

/** Inside a store transaction. */
export async function markFailing(root: string, workload: Workload, digest: Digest, detail: string, wallClock: number): Promise<void> {
  const marks = new Map(await marksToChange(root, workload));
  marks.delete(digest);
  marks.set(digest, { since: new Date(wallClock).toISOString(), detail: detail.slice(0, DETAIL) });
  await write(root, workload, [...marks].slice(-SPECS));
}

/**
 * Clears marks: that of one spec, or all. Inside a store transaction.
 * @returns the digests whose marks were cleared.
 */
export async function forgive(root: string, workload: Workload, digest?: Digest): Promise<Digest[]> {
  const marks = await marksToChange(root, workload);
  const cleared = [...marks.keys()].filter((marked) => digest === undefined || marked === digest);
  if (cleared.length > 0)
    await write(
      root,
      workload,
      [...marks].filter(([marked]) => !cleared.includes(marked)),
    );
  return cleared;
}

async function write(root: string, workload: Workload, marks: readonly (readonly [Digest, Failing])[]): Promise<void> {
  const path = failingPath(workloadPath(root, workload));
  if (marks.length > 0) {
    await replace(root, path, `${JSON.stringify(Object.fromEntries(marks), undefined, 2)}\n`);
    return;
  }
  try {
    await removeDurable(path);
  } catch (error) {
    throw asStoreError(error, root);
  }
}
