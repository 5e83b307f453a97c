/** A disk that is full, read-only or slow while the daemon wants to save: it goes on observing, keeps its lock, says why, and saves once it can. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { act } from '../../src/act.ts';
import { DamagedError } from '../../src/checkpoint/store/errors.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { pointAt, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { createDiskSource } from '../../src/sources/disk.ts';
import { findProgram, PROGRAM_PATH } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { missingForCrashDisks } from '../support/store/crash-disk.ts';
import { effectsOn } from '../support/store/effects.ts';
import { look } from '../support/store/look.ts';
import { ABOUT, APISERVER, SCHEDULER, sampleCopy } from '../support/store/sample.ts';
import { until } from '../support/until.ts';

const DAEMON = join(import.meta.dirname, '../support/store/daemon.ts');
const env = { ...process.env, PATH: PROGRAM_PATH };

let dir: string;
let store: string;
let lockFile: string;
let daemon: Daemon | undefined;
let mounted: string | undefined;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'hard-times-'));
  [store, lockFile] = [join(dir, 'disk/store'), join(dir, 'lock')];
  await mkdir(join(dir, 'disk'));
  await mkdir(join(dir, 'manifests'));
});

afterEach(async () => {
  await daemon?.end();
  daemon = undefined;
  if (mounted !== undefined) spawnSync('umount', [mounted], { env });
  mounted = undefined;
  await rm(dir, { recursive: true, force: true });
});

class Daemon {
  observed = 0;
  /** Reason codes, in the order in which they came. */
  readonly reasons: string[] = [];
  readonly child: ChildProcess;
  readonly #input: NodeJS.WritableStream;

  constructor() {
    const child = spawn(process.execPath, [DAEMON, store, join(dir, 'manifests'), lockFile], { stdio: ['pipe', 'pipe', 'pipe'] });
    createInterface({ input: child.stdout }).on('line', () => this.observed++);
    createInterface({ input: child.stderr }).on('line', (line) => {
      const entry: { msg?: string; to?: string } = JSON.parse(line);
      if (entry.msg === 'transition' && entry.to !== undefined) this.reasons.push(entry.to);
    });
    this.child = child;
    this.#input = child.stdin;
  }

  content(text: string): void {
    this.#input.write(`${text}\n`);
  }

  /** Observations in so many milliseconds from now. */
  async observedWithin(ms: number): Promise<number> {
    const before = this.observed;
    await new Promise((resolve) => setTimeout(resolve, ms));
    return this.observed - before;
  }

  async end(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = once(this.child, 'close');
    this.child.kill('SIGKILL');
    await closed;
  }
}

const holdsLock = (): boolean => spawnSync('flock', ['-n', lockFile, 'true'], { env }).status !== 0;
const manifests = async (): Promise<string[]> => (await readdir(join(dir, 'manifests'))).filter((name) => !name.startsWith('.'));
const newest = async (): Promise<string | undefined> => (await look(store, SCHEDULER)).newest;

function command(name: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(name, args, { env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${name} ${args.join(' ')}: ${stderr}`);
}

function mountSmallDisk(): void {
  command('truncate', '-s', '16M', join(dir, 'image'));
  command('mkfs.ext4', '-q', '-F', '-m', '0', join(dir, 'image'));
  command('mount', '-o', 'loop', join(dir, 'image'), join(dir, 'disk'));
  mounted = join(dir, 'disk');
}

async function start(): Promise<Daemon> {
  daemon = new Daemon();
  await until(async () => (await newest()) === 'one', 10_000);
  return daemon;
}

describe.skipIf(skipLoudly('a save on a full or read-only disk', missingForCrashDisks()))('a save on a file system of its own', () => {
  beforeEach(mountSmallDisk);

  test('that is 100 % full: StoreFull, the previous generation is whole, the daemon observes and keeps its lock; with room again it saves', {
    timeout: 60_000,
  }, async () => {
    const daemon = await start();
    await writeFile(join(dir, 'disk/filler'), Buffer.alloc(20 * 1024 * 1024)).catch(() => undefined);
    daemon.content('two');
    await until(() => daemon.reasons.at(-1) === 'StoreFull', 10_000);
    expect(await daemon.observedWithin(1_000)).toBeGreaterThanOrEqual(3);
    expect(holdsLock()).toBe(true);
    expect(await look(store, SCHEDULER)).toMatchObject({ newest: 'one', generations: { 1: 'one' } });
    await rm(join(dir, 'disk/filler'));
    await until(async () => (await newest()) === 'two', 20_000);
    await until(() => daemon.reasons.at(-1) === 'Saved', 5_000);
  });

  test('that became read-only: StoreReadOnly, the daemon observes and keeps its lock; writable again it saves', {
    timeout: 60_000,
  }, async () => {
    const daemon = await start();
    // Nothing may be being written for that.
    await until(() => spawnSync('mount', ['-o', 'remount,ro', join(dir, 'disk')], { env }).status === 0, 10_000);
    daemon.content('two');
    await until(() => daemon.reasons.at(-1) === 'StoreReadOnly', 10_000);
    expect(await daemon.observedWithin(1_000)).toBeGreaterThanOrEqual(3);
    expect(holdsLock()).toBe(true);
    expect(await newest()).toBe('one');
    command('mount', '-o', 'remount,rw', join(dir, 'disk'));
    await until(async () => (await newest()) === 'two', 20_000);
  });
});

describe.skipIf(skipLoudly('an activation on a full or read-only disk', missingForCrashDisks()))('an activation while the store', () => {
  const FAULTS = {
    'is 100 % full': () => writeFile(join(dir, 'disk/filler'), Buffer.alloc(20 * 1024 * 1024)).catch(() => undefined),
    'is read-only': async () => command('mount', '-o', 'remount,ro', join(dir, 'disk')),
  } as const;

  test.each(Object.keys(FAULTS) as (keyof typeof FAULTS)[])(
    '%s: happens, each time under a name that was not used before',
    async (fault) => {
      mountSmallDisk();
      await prepareStore(store);
      await saveGeneration(store, SCHEDULER, sampleCopy('one'), ABOUT);
      await FAULTS[fault]();
      const manifests = join(dir, 'manifests');
      let seconds = 1_800_000_000;
      const effects = { ...effectsOn(store, manifests), wallClock: () => seconds++ * 1000 };
      for (const many of [1, 2]) {
        const { activations } = await look(store, SCHEDULER);
        await act({ kind: 'activate', workload: SCHEDULER, generation: 1, activation: activations + 1 }, effects);
        expect(await readdir(manifests)).toHaveLength(many);
      }
    },
  );
});

describe.skipIf(skipLoudly('damage on a full or read-only disk', missingForCrashDisks()))(
  'a damaged proven generation while the store',
  () => {
    test.each(['is 100 % full', 'is read-only'] as const)('%s: the one before it is activated at the next look', async (fault) => {
      mountSmallDisk();
      await prepareStore(store);
      for (const content of ['old', 'new']) {
        const number = await saveGeneration(store, SCHEDULER, sampleCopy(content), ABOUT);
        await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
      }
      await truncate(join(generationPath(workloadPath(store, SCHEDULER), 2), 'pod.json'), 10);
      if (fault === 'is read-only') command('mount', '-o', 'remount,ro', join(dir, 'disk'));
      else await writeFile(join(dir, 'disk/filler'), Buffer.alloc(20 * 1024 * 1024)).catch(() => undefined);
      const disk = createDiskSource(store, join(dir, 'manifests'));
      const effects = { ...effectsOn(store, join(dir, 'manifests')), onDamage: disk.markDamaged };
      const tried: number[] = [];
      for (let look = 0; look < 3 && (await manifests()).length === 0; look++) {
        const read = await disk.read();
        const stored = read.state === 'ok' ? read.store.workloads.get(workloadKey(SCHEDULER))?.stored : undefined;
        const generation = stored?.proven ?? 0;
        tried.push(generation);
        await act({ kind: 'activate', workload: SCHEDULER, generation, activation: 1 }, effects).catch((error: unknown) =>
          expect(error).toBeInstanceOf(DamagedError),
        );
      }
      expect(tried).toEqual([2, 1]);
      // A rename needs no room; a reason would.
      const quarantine = (await readdir(join(store, 'quarantine'))).filter((name) => !name.startsWith('.'));
      expect(quarantine.length > 0).toBe(fault === 'is 100 % full');
    });
  },
);

const noStrace = findProgram('strace') === undefined ? 'strace is not installed' : undefined;

describe.skipIf(skipLoudly('a save on a slow disk', noStrace))('a save on a disk', () => {
  test('on which every fsync takes 10 s: the daemon observes and keeps its lock all the time, brings up what is down before the save is done, and saves in the end', {
    timeout: 150_000,
  }, async () => {
    await prepareStore(store);
    const number = await saveGeneration(store, APISERVER, sampleCopy('api', { servesApi: true }), ABOUT);
    await pointAt(store, APISERVER, 'proven', number, (await loadGeneration(store, APISERVER, number)).indexSha256);
    const daemon = await start();
    // The renewals of the store's lock (utimensat) are as slow.
    const slow = 'fsync,fdatasync,utimensat';
    const args = [
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      `trace=${slow}`,
      '-e',
      `inject=${slow}:delay_enter=10000000`,
      '-p',
      String(daemon.child.pid),
    ];
    const strace = spawn(findProgram('strace') ?? '', args, { stdio: 'ignore' });
    const observed: number[] = [];
    const seconds = async () => observed.push(await daemon.observedWithin(2_000));
    try {
      await until(() => spawnSync('grep', ['-q', `TracerPid:\t${strace.pid}`, `/proc/${daemon.child.pid}/status`]).status === 0);
      daemon.content('two');
      for (let pause = 0; pause < 2; pause++) await seconds();
      daemon.content('down');
      while ((await manifests()).length === 0 && observed.length < 40) await seconds();
      expect(await manifests(), 'the API server is up').toHaveLength(1);
      expect(await newest(), 'and the save is not done').toBe('one');
      // The loop waits a second for each change that it begins, and one for its status, before it goes on without them.
      expect(Math.min(...observed.slice(1)), String(observed)).toBeGreaterThanOrEqual(1);
      expect(holdsLock()).toBe(true);
    } finally {
      strace.kill('SIGTERM');
    }
    await until(async () => (await newest()) === 'two', 60_000);
    console.log(
      `a disk whose fsyncs take 10 s: up after ${(observed.length - 2) * 2} s, the save not done by then; observations in each 2 s: ${observed.join(', ')}`,
    );
  });
});
