/** Every generation of the store, verified byte by byte, with what ends inside those that a reboot could get. Changes nothing. */
import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest, GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { quarantinePath, retiredPath, workloadPath } from '../checkpoint/store/paths.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import type { DiskSnapshot } from '../sources/disk.ts';
import { each } from './each.ts';
import type { GenerationFacts, StoreFacts } from './facts.ts';
import { readGeneration } from './read-generation.ts';

/** Generations that are looked at side by side: a damaged one has a file open. */
const AT_ONCE = 16;

export interface ReadStore {
  readonly generations: ReadonlyMap<WorkloadKey, ReadonlyMap<GenerationNumber, GenerationFacts>>;
  readonly store: StoreFacts;
}

/** @param everyEnd also of generations that no reboot would get. */
export async function readGenerations(root: string, disk: DiskSnapshot, everyEnd: (key: WorkloadKey) => boolean): Promise<ReadStore> {
  if (disk.state === 'unknown') return { generations: new Map(), store: { state: 'unknown', detail: disk.detail } };
  const { workloads, retired } = disk.store;
  const inUse = [...workloads].flatMap(([key, { workload, stored }]) => {
    const active = disk.manifests.filter((manifest) => manifest.workload === key).map(({ generation }) => generation);
    const wanted = new Set([...whatMayRun(stored), ...active]);
    const directory = workloadPath(root, workload);
    return numbersOf(stored).map((number) => ({ key, directory, workload, number, looked: everyEnd(key) || wanted.has(number) }));
  });
  const old = retired.flatMap(({ entry, workload, stored }) =>
    numbersOf(stored).map((number) => ({ directory: join(retiredPath(root), entry), workload, number, looked: false })),
  );
  const first = await each(inUse, AT_ONCE, async (place) => ({ ...place, facts: await readGeneration(place) }));
  // Where one is damaged another may have to serve: then all of them matter.
  const damaged = new Set(first.filter(({ facts }) => facts?.damage !== undefined).map(({ key }) => key));
  const read = await each(first, AT_ONCE, async (place) =>
    place.looked || !damaged.has(place.key) ? place : { ...place, facts: await readGeneration({ ...place, looked: true }) },
  );
  const generations = new Map(
    [...Map.groupBy(read, ({ key }) => key)].map(([key, of]) => [
      key,
      new Map(of.flatMap(({ facts }) => (facts === undefined ? [] : [[facts.number, facts] as const]))),
    ]),
  );
  const all = [...read.map(({ facts }) => facts), ...(await each(old, AT_ONCE, readGeneration))].filter((facts) => facts !== undefined);
  const space = await statfs(root).catch((error: unknown) => error as Error);
  if (space instanceof Error) return { generations, store: { state: 'unknown', detail: space.message } };
  const newest = [...workloads].flatMap(([key, { stored }]) => generations.get(key)?.get(stored.newest ?? 0) ?? []);
  return {
    generations,
    store: {
      state: 'ok',
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      damaged: all.filter(({ damage }) => damage !== undefined).length,
      demand: {
        files: newest.flatMap(({ files }) => files.map(({ size }) => size)),
        directories: newest.reduce((sum, { directories }) => sum + directories, 0),
      },
      space,
      quarantined: await quarantined(root),
    },
  };
}

/** The generation that is proven, and the one before it where that may have to serve in its place. */
function whatMayRun({ proven, previous, newest, generations, failing }: StoredWorkload): (GenerationNumber | undefined)[] {
  const doubtful = proven === undefined || !generations.has(proven) || failing.has(generations.get(proven)?.digest ?? ('' as Digest));
  return [proven, newest, ...(doubtful ? [previous, ...generations.keys()] : [])];
}

const numbersOf = ({ generations, damaged }: StoredWorkload): GenerationNumber[] =>
  [...generations.keys(), ...damaged.keys()].sort((a, b) => a - b);

async function quarantined(root: string): Promise<string[]> {
  const names = await readdir(quarantinePath(root)).catch(() => []);
  return names.filter((name) => !name.startsWith('.') && !name.endsWith('.reason.txt')).sort();
}
