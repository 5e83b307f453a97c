/** The daemon and a command at the same moment, and commands that are killed half way. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, watch } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { act, type Effects } from '../../src/act.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { withTransaction } from '../../src/lock/transaction.ts';
import { readBootId } from '../../src/sources/boot.ts';
import { Program } from '../support/lines.ts';
import { effectsOn } from '../support/store/effects.ts';
import { leftovers, look } from '../support/store/look.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';
import { until } from '../support/until.ts';

const STOPPED = join(import.meta.dirname, '../support/store/stopped.ts');
const WRITER = join(import.meta.dirname, '../support/lock/writer.ts');
const SAVER = join(import.meta.dirname, '../support/store/saver.ts');

let store: string;

beforeEach(async () => {
  store = join(await mkdtemp(join(tmpdir(), 'store-writers-')), 'store');
  await prepareStore(store);
});

afterEach(() => rm(join(store, '..'), { recursive: true, force: true }));

describe('two writers', () => {
  test('make one generation each for every save, and none is lost or mixed', async () => {
    const savers = ['a', 'b', 'c'].map((name) => new Program(SAVER, [store, name, '8']));
    await Promise.all(savers.map((saver) => saver.ended));
    const { generations } = await look(store, SCHEDULER);
    expect(Object.keys(generations)).toHaveLength(24);
    expect(Object.values(generations).sort()).toEqual(
      ['a', 'b', 'c'].flatMap((name) => Array.from({ length: 8 }, (_, i) => `${name} ${i + 1}`)).sort(),
    );
  });

  test('of which one is killed in the middle of a save: the other goes on at once, and the store is whole', {
    timeout: 60_000,
  }, async () => {
    const saver = new Program(SAVER, [store, 'killed', '1000']);
    await saver.says('saving');
    await new Promise((resolve) => setTimeout(resolve, 100));
    await saver.kill();
    const started = performance.now();
    await withTransaction(store, () => saveGeneration(store, SCHEDULER, sampleCopy('next'), ABOUT));
    expect((await look(store, SCHEDULER)).newest).toBe('next');
    expect(performance.now() - started).toBeLessThan(3_000);
    expect(await leftovers(store, SCHEDULER)).toEqual([]);
    expect((await readdir(store)).filter((name) => name.startsWith('.lock'))).toEqual([]);
  });

  test('without a lock: neither damages what the other saves', async () => {
    const both = ['one', 'two'].map((name) => saveGeneration(store, SCHEDULER, sampleCopy(name), ABOUT));
    const results = await Promise.allSettled(both);
    const saved = results.filter(({ status }) => status === 'fulfilled').length;
    expect(Object.keys((await look(store, SCHEDULER)).generations).length).toBeGreaterThanOrEqual(saved > 0 ? 1 : 0);
  });

  test('of which one is stopped before its commit for longer than a lock lasts: the other saves, and the first one, continued, changes nothing', {
    timeout: 60_000,
  }, async () => {
    const child = spawn(process.execPath, [STOPPED, store], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
    await until(() => lines.includes('building'), 10_000);
    child.kill('SIGSTOP');
    // As after the ten seconds.
    await until(() => readFileSync(`/proc/${child.pid}/stat`, 'utf8').includes(') T '));
    const old = Date.now() / 1000 - 11;
    await utimes(join(store, `.lock-${await readBootId()}`), old, old);
    const number = await withTransaction(store, () => saveGeneration(store, SCHEDULER, sampleCopy('other'), ABOUT));
    const before = await look(store, SCHEDULER);
    expect(before.generations).toEqual({ [number]: 'other' });
    const ended = once(child, 'close');
    child.kill('SIGCONT');
    child.stdin.write('go\n');
    await ended;
    expect(lines.at(-1)).toContain("failed: lost the store's lock");
    expect(await look(store, SCHEDULER)).toEqual(before);
    expect(await leftovers(store, SCHEDULER)).toEqual([]);
  });

  test("a dead holder's lock from the future, because the clock was set back, is taken over after 10 s", { timeout: 30_000 }, async () => {
    const lock = join(store, `.lock-${await readBootId()}`);
    await mkdir(lock);
    await writeFile(join(lock, 'owner'), JSON.stringify({ token: 'x', pid: 1, started: '1', pidNamespace: 'pid:[1]' }));
    const future = Date.now() / 1000 + 86_400;
    await utimes(lock, future, future);
    const started = performance.now();
    await withTransaction(store, () => saveGeneration(store, SCHEDULER, sampleCopy('next'), ABOUT));
    expect(performance.now() - started).toBeGreaterThan(9_000);
    expect((await look(store, SCHEDULER)).newest).toBe('next');
  });
});

describe('an activation while another process changes the store and does not end', () => {
  let holder: Program;
  let manifests: string;
  let effects: Effects;

  beforeEach(async () => {
    manifests = join(store, '../manifests');
    await mkdir(manifests);
    effects = effectsOn(store, manifests);
    await saveGeneration(store, SCHEDULER, sampleCopy('one'), ABOUT);
    holder = new Program(WRITER, [store, 'hold']);
    await holder.says('holds');
  });

  afterEach(() => holder.kill());

  test('goes on without the lock after a moment, counted', async () => {
    const started = performance.now();
    await act({ kind: 'activate', workload: SCHEDULER, generation: 1, activation: 1 }, effects);
    expect(performance.now() - started).toBeLessThan(2_000);
    expect(await readdir(manifests)).toEqual([expect.stringContaining('-g1-a1.json')]);
    expect((await look(store, SCHEDULER)).activations).toBe(1);
  });

  test('takes its manifest back when its generation was taken away meanwhile', async () => {
    // Between verification and manifest: when the count is written.
    const counting = watch(workloadPath(store, SCHEDULER), (_, name) => {
      if (name === 'activations') rmSync(generationPath(workloadPath(store, SCHEDULER), 1), { recursive: true, force: true });
    });
    try {
      await expect(act({ kind: 'activate', workload: SCHEDULER, generation: 1, activation: 1 }, effects)).rejects.toThrow(
        'was taken away while',
      );
      expect(await readdir(manifests)).toEqual([]);
    } finally {
      counting.close();
    }
  });

  test('a save waits, and says who is in its way', async () => {
    const quick = {
      ...effects,
      transaction: (change: () => Promise<unknown>) => withTransaction(store, change, { waitMs: 100 }),
    } as Effects;
    const saving = act({ kind: 'save', workload: SCHEDULER, copy: sampleCopy('two'), parent: ABOUT.parent }, quick);
    await expect(saving).rejects.toThrow(`(pid ${holder.child.pid} there)`);
  });
});
