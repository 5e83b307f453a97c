/** What the daemon's view of its disk says of damage that stays where it is, and of what only another file tells. */
import { spawnSync } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { act, type Effects } from '../../src/act.ts';
import type { StoredWorkload } from '../../src/checkpoint/model.ts';
import { DamagedError } from '../../src/checkpoint/store/errors.ts';
import { encodeCounter } from '../../src/checkpoint/store/format.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, workloadPath, workloadsPath } from '../../src/checkpoint/store/paths.ts';
import { pointAt, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { createDiskSource, type DiskSource } from '../../src/sources/disk.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { effectsOn } from '../support/store/effects.ts';
import { ABOUT, APISERVER, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

let dir: string;
let store: string;
let manifests: string;
let disk: DiskSource;
let effects: Effects;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'known-damage-'));
  [store, manifests] = [join(dir, 'store'), join(dir, 'manifests')];
  await mkdir(manifests);
  await prepareStore(store);
  for (const content of ['old', 'new']) {
    const number = await saveGeneration(store, SCHEDULER, sampleCopy(content), ABOUT);
    await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
  }
  disk = createDiskSource(store, manifests);
  effects = { ...effectsOn(store, manifests), onDamage: disk.markDamaged };
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function seen(): Promise<StoredWorkload> {
  const snapshot = await disk.read();
  const found = snapshot.state === 'ok' ? snapshot.store.workloads.get(workloadKey(SCHEDULER)) : undefined;
  if (found === undefined) throw new Error(`the workload is not seen: ${JSON.stringify(snapshot)}`);
  return found.stored;
}

const file = (number: number, path: string) => join(generationPath(workloadPath(store, SCHEDULER), number), path);
const activate = (generation: number, activation = 1) => act({ kind: 'activate', workload: SCHEDULER, generation, activation }, effects);

describe('a generation that does not verify and cannot be moved away', () => {
  test('counts as damaged from then on: the one before it serves; once it is gone it is forgotten', async () => {
    await appendFile(file(2, 'files/secrets/key-0'), 'x');
    expect((await seen()).proven).toBe(2);
    // Nothing can be moved there.
    await rename(join(store, 'quarantine'), join(store, 'elsewhere'));
    await writeFile(join(store, 'quarantine'), '');
    await expect(activate(2)).rejects.toThrow(DamagedError);
    expect(await seen()).toMatchObject({ proven: 1, newest: 1, previous: undefined });
    expect((await seen()).damaged.get(2)).toContain('files/secrets/key-0 has');
    await activate(1);
    expect(await readdir(manifests)).toEqual([expect.stringContaining('-g1-a1')]);
    await rm(file(2, ''), { recursive: true });
    expect((await seen()).damaged.size).toBe(0);
  });

  test('that a manifest names is left to its pod', async () => {
    await activate(2);
    await appendFile(file(2, 'files/secrets/key-0'), 'x');
    await expect(activate(2, 2)).rejects.toThrow('generation 2 of kube-system/kube-scheduler does not verify');
    expect(await readdir(join(store, 'quarantine'))).toEqual([]);
    expect((await seen()).damaged.has(2)).toBe(true);
  });
});

describe('the generation of an active manifest', () => {
  test.each([
    ['is changed', () => appendFile(file(2, 'files/secrets/key-0'), 'x'), 'key-0 has'],
    ['loses a file', () => rm(file(2, 'files/secrets/key-0')), 'is missing'],
    ['gets a file more', () => writeFile(file(2, 'files/secrets/extra'), ''), '"files/secrets/extra" is there and not in index.json'],
  ])('%s: the next look says so', async (_, change, detail) => {
    await activate(2);
    expect((await seen()).damaged.size).toBe(0);
    await change();
    expect((await seen()).damaged.get(2)).toContain(detail);
    expect(await seen()).toMatchObject({ proven: 1 });
  });

  test('was changed before anybody looked: the first look says so', async () => {
    await activate(2);
    await appendFile(file(2, 'pod.json'), ' ');
    expect((await seen()).damaged.get(2)).toContain('pod.json has');
  });
});

describe('the number of an activation', () => {
  const counter = () => join(workloadPath(store, SCHEDULER), 'activations');

  test('goes on above the active manifest where the count did not reach the disk', async () => {
    await activate(2, 41);
    await writeFile(counter(), encodeCounter(3));
    expect((await seen()).activations).toBe(41);
  });

  test('goes on above any there was where the count is gone', async () => {
    await activate(2, 41);
    await rm(join(manifests, (await readdir(manifests))[0] ?? ''));
    await rm(counter());
    const { activations } = await seen();
    expect(activations).toBeGreaterThan(1_000_000);
    await saveGeneration(store, SCHEDULER, sampleCopy('next'), ABOUT);
    expect((await seen()).activations).toBeGreaterThanOrEqual(activations);
  });
});

const noStrace = findProgram('strace') === undefined ? 'strace is not installed' : undefined;

describe.skipIf(skipLoudly('a directory that the disk cannot read', noStrace))('a directory that the disk cannot read', () => {
  const READER = join(import.meta.dirname, '../support/store/reader.ts');

  /** What another process reads while every system call on this path fails with EIO. */
  function readWithout(path: string): { workloads: string[]; unreadable: string[] } {
    const inject = ['openat', 'statx', 'lstat', 'newfstatat', 'getdents64'].flatMap((call) => ['-e', `inject=${call}:error=EIO`]);
    const { stdout, stderr } = spawnSync(
      findProgram('strace') ?? '',
      ['-f', '-qq', '-o', '/dev/null', '-P', path, '-e', 'trace=%file,getdents64', ...inject, process.execPath, READER, store],
      { encoding: 'utf8' },
    );
    if (stdout === '') throw new Error(stderr);
    return JSON.parse(stdout) as { workloads: string[]; unreadable: string[] };
  }

  test.each(['', 'generations'])('of one workload (%j in it): only that one is unknown, the others are read', async (inner) => {
    await saveGeneration(store, APISERVER, sampleCopy('api'), ABOUT);
    const directory = join(workloadPath(store, SCHEDULER), inner);
    const { workloads, unreadable } = readWithout(directory);
    expect(workloads).toEqual([workloadKey(APISERVER)]);
    expect(unreadable).toEqual([workloadPath(store, SCHEDULER)]);
  });

  test('of the retired workloads: those in use are read; of all workloads: nothing is said to be empty', () => {
    expect(readWithout(join(store, 'retired'))).toEqual({ workloads: [workloadKey(SCHEDULER)], unreadable: [join(store, 'retired')] });
    expect(() => readWithout(workloadsPath(store))).toThrow('EIO');
  });
});
