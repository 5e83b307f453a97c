/** Every generation of the store, verified byte by byte, with what ends inside those that a reboot could get. Changes nothing. */
import { readdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { DamagedError } from '../checkpoint/store/errors.ts';
import { FILE_LIMIT } from '../checkpoint/store/format.ts';
import { loadGenerationAt } from '../checkpoint/store/load.ts';
import { generationPath, quarantinePath, retiredPath, workloadPath } from '../checkpoint/store/paths.ts';
import type { Workload, WorkloadKey } from '../checkpoint/workload.ts';
import { isErrno, readRegular } from '../platform/durable.ts';
import type { DiskSnapshot } from '../sources/disk.ts';
import { type Expiry, endsIn } from './expiry.ts';
import type { GenerationFacts, StoreFacts } from './facts.ts';

/** A certificate chain with its key is a few KiB. */
const EXPIRY_LIMIT = 256 * 1024;

export interface ReadStore {
  readonly generations: ReadonlyMap<WorkloadKey, ReadonlyMap<GenerationNumber, GenerationFacts>>;
  readonly store: StoreFacts;
}

/** @param everyEnd also of generations that no reboot would get. */
export async function readGenerations(root: string, disk: DiskSnapshot, everyEnd: (key: WorkloadKey) => boolean): Promise<ReadStore> {
  if (disk.state === 'unknown') return { generations: new Map(), store: { state: 'unknown', detail: disk.detail } };
  const { workloads, retired } = disk.store;
  const read = await Promise.all(
    [...workloads].map(async ([key, { workload, stored }]) => {
      const active = disk.manifests.filter((manifest) => manifest.workload === key).map(({ generation }) => generation);
      const wanted = new Set([stored.proven, stored.newest, ...active]);
      const looked = (number: GenerationNumber) => everyEnd(key) || wanted.has(number);
      return [key, await readWorkload(workloadPath(root, workload), workload, stored, looked)] as const;
    }),
  );
  const generations = new Map(read);
  const old = await Promise.all(
    retired.map(({ entry, workload, stored }) => readWorkload(join(retiredPath(root), entry), workload, stored, () => false)),
  );
  const all = [...generations.values(), ...old].flatMap((one) => [...one.values()]);
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
      space: await statfs(root),
      quarantined: await quarantined(root),
    },
  };
}

async function readWorkload(directory: string, workload: Workload, stored: StoredWorkload, looked: (number: GenerationNumber) => boolean) {
  const numbers = [...stored.generations.keys(), ...stored.damaged.keys()].sort((a, b) => a - b);
  const read = await Promise.all(
    numbers.map(
      async (number) => [number, await readGeneration(generationPath(directory, number), workload, number, looked(number))] as const,
    ),
  );
  return new Map(read.flatMap(([number, facts]) => (facts === undefined ? [] : [[number, facts] as const])));
}

/** Undefined for one that was deleted while it was read. */
async function readGeneration(
  directory: string,
  workload: Workload,
  number: GenerationNumber,
  looked: boolean,
): Promise<GenerationFacts | undefined> {
  try {
    const { index, pod } = await loadGenerationAt(directory, workload, number);
    const tokens = index.instance?.tokens ?? [];
    return {
      number,
      createdAt: index.createdAt,
      files: index.files,
      bytes: index.files.reduce((sum, { size }) => sum + size, 0),
      directories: index.directories.length + 1,
      tokens,
      damage: undefined,
      pod,
      ends: looked ? await readEnds(directory, index.files) : [],
    };
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    if ((await readdir(directory).catch((gone: unknown) => isErrno(gone, 'ENOENT'))) === true) return undefined;
    const nothing = { files: [], bytes: 0, directories: 0, tokens: [], pod: undefined, ends: [] };
    return { number, createdAt: '', damage: error.message, ...nothing };
  }
}

async function readEnds(directory: string, files: GenerationFacts['files']): Promise<Expiry[]> {
  const mounted = files.filter(({ path, size }) => path.startsWith('files/') && size < EXPIRY_LIMIT);
  const ends = await Promise.all(
    mounted.map(async ({ path }) => {
      const bytes = await readRegular(join(directory, path), FILE_LIMIT).catch(() => undefined);
      return bytes === undefined ? [] : endsIn(path, bytes);
    }),
  );
  return ends.flat();
}

async function quarantined(root: string): Promise<string[]> {
  const names = await readdir(quarantinePath(root)).catch(() => []);
  return names.filter((name) => !name.startsWith('.') && !name.endsWith('.reason.txt')).sort();
}
