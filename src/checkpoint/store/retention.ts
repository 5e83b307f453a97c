/** What leaves the store's use and for how long it is kept: the quarantine, and retired workloads. */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { kindOf, listDirectory, removeDurable, replaceDurable, syncDirectory } from '../../platform/durable.ts';
import type { GenerationNumber } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';
import { asStoreError } from './errors.ts';
import { expectDirectory, freeEntry } from './layout.ts';
import { generationPath, generationsPath, pointerPath, quarantinePath, retiredPath, workloadPath, workloadsPath } from './paths.ts';
import { readNewest, readPointer } from './read.ts';

/** What is kept at the most; the oldest goes first. The names carry the time, so no clock is asked. */
export const QUARANTINE_LIMIT = 8;
export const RETIRED_LIMIT = 32;

/** Generations of one workload at the most: proven, the one before it, newest, one that runs, one that is being saved, and those kept in doubt (see save.ts). */
const GENERATIONS = { certain: 5, inDoubt: 13 } as const;

/**
 * The store never takes more than this, in bytes on the disk: as many generations as are kept, each no larger than the largest there was, and a few small
 * files for each. In doubt: while the container runtime does not answer, or a pointer is damaged.
 */
export function maximumBytes(given: {
  readonly workloads: number;
  /** Blocks and all: what `du` says of it. */
  readonly largestGeneration: number;
  readonly blockSize: number;
  readonly inDoubt?: boolean;
}): number {
  const { workloads, largestGeneration, blockSize, inDoubt = false } = given;
  const each = GENERATIONS[inDoubt ? 'inDoubt' : 'certain'];
  const places = workloads + RETIRED_LIMIT;
  const generations = places * each + QUARANTINE_LIMIT;
  // A workload: its directory, that of its generations, and 5 files; a reason; what lies at the top, some of it twice while it is replaced.
  const small = (places * 8 + QUARANTINE_LIMIT + 16) * blockSize;
  return generations * largestGeneration + small;
}

/** Moves a generation that does not verify out of the way, with the reason beside it. `now` in milliseconds, wall clock. */
export async function quarantineGeneration(
  root: string,
  workload: Workload,
  generation: GenerationNumber,
  detail: string,
  now: number,
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  try {
    await expectDirectory(quarantinePath(root));
    const to = await freeEntry(quarantinePath(root), `${workloadFileName(workload)}.${generation}`, now);
    // The reason first: a quarantine without one would say nothing.
    await replaceDurable(`${to}.reason.txt`, Buffer.from(`${detail}\n`));
    await rename(generationPath(workloadDir, generation), to);
    await syncDirectory(quarantinePath(root));
    await syncDirectory(generationsPath(workloadDir));
    for (const name of ['proven', 'previous', 'newest'] as const) {
      const pointer = await (name === 'newest' ? readNewest(workloadDir) : readPointer(workloadDir, name));
      if (typeof pointer === 'object' && pointer.generation === generation) await removeDurable(pointerPath(workloadDir, name));
    }
    await keepLatest(quarantinePath(root), QUARANTINE_LIMIT);
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Takes a workload out of use; it stays under `retired/`. `now` in milliseconds, wall clock. */
export async function retireWorkload(root: string, workload: Workload, now: number): Promise<void> {
  try {
    await expectDirectory(retiredPath(root));
    const name = workloadFileName(workload);
    await rename(workloadPath(root, workload), await freeEntry(retiredPath(root), name, now));
    await syncDirectory(retiredPath(root));
    await syncDirectory(workloadsPath(root));
    await keepLatest(retiredPath(root), RETIRED_LIMIT);
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Brings a retired workload back into use. Throws when there is one of its name again. */
export async function reviveWorkload(root: string, workload: Workload, entry: string): Promise<void> {
  const to = workloadPath(root, workload);
  try {
    await expectDirectory(workloadsPath(root));
    if ((await kindOf(to)) !== 'absent') throw new Error(`${to} is there again: the retired ${entry} is not needed`);
    await rename(retiredEntryPath(root, workload, entry), to);
    await syncDirectory(workloadsPath(root));
    await syncDirectory(retiredPath(root));
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Deletes a retired workload for good. */
export async function discardRetired(root: string, workload: Workload, entry: string): Promise<void> {
  await remove(retiredPath(root), retiredEntryPath(root, workload, entry));
}

function retiredEntryPath(root: string, workload: Workload, entry: string): string {
  const name = `${workloadFileName(workload)}.`;
  if (!entry.startsWith(name) || !/^[0-9]{1,15}$/.test(entry.slice(name.length)))
    throw new Error(`${JSON.stringify(entry)} is no entry of ${workloadFileName(workload)} under ${retiredPath(root)}`);
  return join(retiredPath(root), entry);
}

async function keepLatest(directory: string, limit: number): Promise<void> {
  const entries = (await listDirectory(directory))
    .filter((name) => !name.startsWith('.'))
    .map((name) => ({ name, time: Number(/\.([0-9]{1,15})(\.reason\.txt)?$/.exec(name)?.[1] ?? 0) }));
  const times = [...new Set(entries.map(({ time }) => time))].sort((a, b) => b - a);
  const oldest = times[limit - 1];
  if (oldest === undefined) return;
  for (const { name, time } of entries) if (time < oldest) await remove(directory, join(directory, name));
}

/** Out of sight in one step, then deleted; what an interrupted deletion left goes with it. */
async function remove(directory: string, path: string): Promise<void> {
  const prefix = '.discarded-';
  await rename(path, join(directory, `${prefix}${Date.now()}-${process.hrtime.bigint()}`));
  await syncDirectory(directory);
  for (const name of await listDirectory(directory))
    if (name.startsWith(prefix)) await rm(join(directory, name), { recursive: true, force: true });
}
