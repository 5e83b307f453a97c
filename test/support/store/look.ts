/** What a store holds, every byte of it verified: the question after each power cut, kill and failed call. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredWorkload } from '../../../src/checkpoint/model.ts';
import { loadGeneration, loadGenerationAt } from '../../../src/checkpoint/store/load.ts';
import { generationPath, generationsPath, retiredPath, workloadPath } from '../../../src/checkpoint/store/paths.ts';
import { type RetiredWorkload, readStore } from '../../../src/checkpoint/store/read.ts';
import { type Workload, workloadKey } from '../../../src/checkpoint/workload.ts';

export interface Look {
  /** Content of every generation, by number. */
  readonly generations: Readonly<Record<number, string>>;
  readonly newest: string | undefined;
  /** What a reboot would get. */
  readonly serves: string | undefined;
  readonly previous: string | undefined;
  readonly activations: number;
  /** Digests of specs that are marked failing. */
  readonly failing: readonly string[];
  /** What each retired workload's newest generation is, verified. */
  readonly retired: readonly string[];
  readonly settledBootId: string | undefined;
  /** Manifests beside the store, in `manifests`, where there is such a directory. */
  readonly manifests: readonly string[];
}

/** Throws when anything in the store is not whole. */
export async function look(root: string, workload: Workload): Promise<Look> {
  const { workloads, retired, settledBootId, unreadable } = await readStore(root);
  if (unreadable !== undefined) throw new Error(`unreadable: ${JSON.stringify([...unreadable])}`);
  const common = {
    retired: await Promise.all(retired.map((one) => newestOfRetired(root, one))),
    settledBootId,
    manifests: (await readdir(join(root, '../manifests')).catch(() => [])).filter((name) => !name.startsWith('.')),
  };
  const stored = workloads.get(workloadKey(workload))?.stored;
  if (stored === undefined)
    return { generations: {}, newest: undefined, serves: undefined, previous: undefined, activations: 0, failing: [], ...common };
  expectWhole(stored);
  const generations: Record<number, string> = {};
  for (const number of [...stored.generations.keys()].sort((a, b) => a - b))
    generations[number] = (await loadGeneration(root, workload, number)).index.digest;
  const content = (number: number | undefined) => (number === undefined ? undefined : generations[number]);
  return {
    generations,
    newest: content(stored.newest),
    serves: content(stored.proven ?? stored.newest),
    previous: content(stored.previous),
    activations: stored.activations,
    failing: [...stored.failing.keys()],
    ...common,
  };
}

/** Every generation of it is verified, as `revive` would bring it back. */
async function newestOfRetired(root: string, { workload, entry, stored }: RetiredWorkload): Promise<string> {
  expectWhole(stored);
  let newest = '';
  for (const number of stored.generations.keys()) {
    const directory = generationPath(join(retiredPath(root), entry), number);
    const { index } = await loadGenerationAt(directory, workload, number);
    if (number === stored.newest) newest = index.digest;
  }
  return newest;
}

function expectWhole({ damaged, damagedPointers, proven, previous }: StoredWorkload): void {
  if (damaged.size > 0 || damagedPointers.length > 0) throw new Error(`damage: ${JSON.stringify([...damaged, ...damagedPointers])}`);
  if (previous !== undefined && previous === proven) throw new Error(`generation ${proven} is what was proven before itself`);
}

/** What an interrupted change left: not damage, but the next change of the same workload removes it. */
export async function leftovers(root: string, workload: Workload): Promise<string[]> {
  return (await readdir(generationsPath(workloadPath(root, workload))).catch(() => [])).filter((name) => name.startsWith('.'));
}

export const storeOf = (dir: string): string => join(dir, 'store');
