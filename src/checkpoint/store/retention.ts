/** What leaves the store's use and for how long it is kept: the quarantine, and retired workloads. */
import { join } from 'node:path';
import { type Confirm, kindOf, listDirectory, removeDurable, removeTree, renameDurable, replaceDurable } from '../../platform/durable.ts';
import type { GenerationNumber, StoredWorkload } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';
import { asStoreError, storeFailure } from './errors.ts';
import { expectDirectory, freeEntry } from './layout.ts';
import { generationPath, quarantinePath, replacedPath, retiredPath, workloadPath, workloadsPath } from './paths.ts';
import { unpoint } from './pointers.ts';
import { readStore } from './read.ts';

/** What is kept at the most. The names carry the time, so no clock is asked. */
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
  // A workload: its directory, that of its generations, 5 small files, and up to 8 blocks of failing.json; a reason; what lies at the top, some of it twice while it is replaced.
  const small = (places * 16 + QUARANTINE_LIMIT + 16) * blockSize;
  return generations * largestGeneration + small;
}

/**
 * Moves a generation that does not verify out of the way, with the reason beside it. `now` in milliseconds, wall clock.
 * The move is what counts: it needs no room. Neither the pointers nor the reason, which do, keep it from happening on a disk that is full.
 */
export async function quarantineGeneration(
  root: string,
  workload: Workload,
  generation: GenerationNumber,
  detail: string,
  now: number,
  confirm?: Confirm,
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  try {
    await expectDirectory(quarantinePath(root));
    const to = await freeEntry(quarantinePath(root), `${workloadFileName(workload)}.${generation}`, now);
    await ifThereIsRoom(() => unpoint(root, workload, generation));
    await renameDurable(generationPath(workloadDir, generation), to, confirm);
    await ifThereIsRoom(() => replaceDurable(`${to}.reason.txt`, Buffer.from(`${detail}\n`)));
    await ifThereIsRoom(() => boundQuarantine(root));
  } catch (error) {
    throw asStoreError(error, root);
  }
}

async function ifThereIsRoom(change: () => Promise<void>): Promise<void> {
  try {
    await change();
  } catch (error) {
    if (storeFailure(error) === undefined) throw error;
  }
}

/** Takes a workload out of use; it stays under `retired/`. `now` in milliseconds, wall clock. */
export async function retireWorkload(root: string, workload: Workload, now: number, confirm?: Confirm, replaced = false): Promise<void> {
  try {
    await expectDirectory(retiredPath(root));
    const mark = replacedPath(workloadPath(root, workload));
    if (replaced) await replaceDurable(mark, Buffer.alloc(0));
    else if ((await kindOf(mark)) !== 'absent') await removeDurable(mark);
    const name = workloadFileName(workload);
    await renameDurable(workloadPath(root, workload), await freeEntry(retiredPath(root), name, now), confirm);
    await boundRetired(root);
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Brings a retired workload back into use. Throws when there is one of its name again. */
export async function reviveWorkload(root: string, workload: Workload, entry: string, confirm?: Confirm): Promise<void> {
  const to = workloadPath(root, workload);
  try {
    await expectDirectory(workloadsPath(root));
    if ((await kindOf(to)) !== 'absent') throw new Error(`${to} is there again: the retired ${entry} is not needed`);
    await renameDurable(retiredEntryPath(root, workload, entry), to, confirm);
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Deletes a retired workload for good. */
export async function discardRetired(root: string, workload: Workload, entry: string): Promise<void> {
  await remove(retiredPath(root), retiredEntryPath(root, workload, entry));
}

/** Names of what is in quarantine, without the reasons beside it. */
export async function quarantinedEntries(root: string): Promise<string[]> {
  return (await visible(quarantinePath(root))).filter((name) => !name.endsWith(REASON)).sort();
}

/** Deletes something in quarantine for good, with its reason. */
export async function discardQuarantined(root: string, entry: string): Promise<void> {
  if (!(await quarantinedEntries(root)).includes(entry)) throw new Error(`${JSON.stringify(entry)} is not in ${quarantinePath(root)}`);
  await remove(quarantinePath(root), join(quarantinePath(root), entry));
  await removeDurable(join(quarantinePath(root), `${entry}${REASON}`));
}

function retiredEntryPath(root: string, workload: Workload, entry: string): string {
  const name = `${workloadFileName(workload)}.`;
  if (!entry.startsWith(name) || !/^[0-9]{1,15}$/.test(entry.slice(name.length)))
    throw new Error(`${JSON.stringify(entry)} is no entry of ${workloadFileName(workload)} under ${retiredPath(root)}`);
  return join(retiredPath(root), entry);
}

/** Something that is kept for a while. */
export interface Entry {
  readonly name: string;
  /** Milliseconds, wall clock, as its name says. */
  readonly time: number;
  /** It is, or is of, a workload that serves the API. */
  readonly servesApi: boolean;
  /** It has a proven generation. */
  readonly proven: boolean;
}

/** Which entries go so that no more than `limit` are left: the oldest first, but of the workloads that serve the API last, and of these the proven ones. Pure. */
export function evicted(entries: readonly Entry[], limit: number): string[] {
  const worth = ({ servesApi, proven }: Entry) => (servesApi ? 2 : 0) + (servesApi && proven ? 1 : 0);
  const order = entries.toSorted((a, b) => worth(a) - worth(b) || a.time - b.time);
  return order.slice(0, Math.max(0, entries.length - limit)).map(({ name }) => name);
}

async function boundRetired(root: string): Promise<void> {
  const names = await visible(retiredPath(root));
  if (names.length <= RETIRED_LIMIT) return;
  const known = new Map((await readStore(root)).retired.map(({ entry, stored }) => [entry, stored]));
  const entries = names.map((name): Entry => {
    // What is no workload of ours is worth nothing.
    const stored = known.get(name);
    return { name, time: timeOf(name), servesApi: stored !== undefined && servesApi(stored), proven: stored?.proven !== undefined };
  });
  for (const name of evicted(entries, RETIRED_LIMIT)) await remove(retiredPath(root), join(retiredPath(root), name));
}

const REASON = '.reason.txt';
const timeOf = (name: string): number => Number(/\.([0-9]{1,15})$/.exec(name)?.[1] ?? 0);
const servesApi = ({ generations }: StoredWorkload): boolean => [...generations.values()].some(({ traits }) => traits.servesApi);
const visible = async (directory: string): Promise<string[]> => (await listDirectory(directory)).filter((name) => !name.startsWith('.'));

/** What is in quarantine has not verified, so whose it is its name says, and whether that serves the API the generations that are still in the store. */
async function boundQuarantine(root: string): Promise<void> {
  const names = await visible(quarantinePath(root));
  const entries = names.filter((name) => !name.endsWith(REASON));
  const gone = entries.length > QUARANTINE_LIMIT ? evicted(await quarantined(root, entries), QUARANTINE_LIMIT) : [];
  for (const name of gone) await remove(quarantinePath(root), join(quarantinePath(root), name));
  const kept = new Set(entries.filter((name) => !gone.includes(name)).map((name) => `${name}${REASON}`));
  for (const name of names) if (name.endsWith(REASON) && !kept.has(name)) await removeDurable(join(quarantinePath(root), name));
}

async function quarantined(root: string, names: readonly string[]): Promise<Entry[]> {
  const serving = [...(await readStore(root)).workloads.values()].filter(({ stored }) => servesApi(stored));
  const prefixes = serving.map(({ workload }) => `${workloadFileName(workload)}.`);
  return names.map((name) => ({ name, time: timeOf(name), servesApi: prefixes.some((prefix) => name.startsWith(prefix)), proven: false }));
}

/** Out of sight in one step, then deleted; what an interrupted deletion left goes with it. */
async function remove(directory: string, path: string): Promise<void> {
  const prefix = '.discarded-';
  await renameDurable(path, join(directory, `${prefix}${Date.now()}-${process.hrtime.bigint()}`));
  for (const name of await listDirectory(directory)) if (name.startsWith(prefix)) await removeTree(join(directory, name));
}
