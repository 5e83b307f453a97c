/** What a store holds, every byte of it verified: the question after each power cut, kill and failed call. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadGeneration } from '../../../src/checkpoint/store/load.ts';
import { generationsPath, workloadPath } from '../../../src/checkpoint/store/paths.ts';
import { readStore } from '../../../src/checkpoint/store/read.ts';
import { type Workload, workloadKey } from '../../../src/checkpoint/workload.ts';

export interface Look {
  /** Content of every generation, by number. */
  readonly generations: Readonly<Record<number, string>>;
  readonly newest: string | undefined;
  /** What a reboot would get. */
  readonly serves: string | undefined;
  readonly previous: string | undefined;
  readonly activations: number;
  readonly retired: number;
}

/** Throws when anything in the store is not whole. */
export async function look(root: string, workload: Workload): Promise<Look> {
  const { workloads, retired } = await readStore(root);
  const stored = workloads.get(workloadKey(workload))?.stored;
  if (stored === undefined)
    return { generations: {}, newest: undefined, serves: undefined, previous: undefined, activations: 0, retired: retired.length };
  if (stored.damaged.size > 0 || stored.damagedPointers.length > 0)
    throw new Error(`damage: ${JSON.stringify([...stored.damaged, ...stored.damagedPointers])}`);
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
    retired: retired.length,
  };
}

/** What an interrupted change left: not damage, but the next change of the same workload removes it. */
export async function leftovers(root: string, workload: Workload): Promise<string[]> {
  return (await readdir(generationsPath(workloadPath(root, workload))).catch(() => [])).filter((name) => name.startsWith('.'));
}

export const storeOf = (dir: string): string => join(dir, 'store');
