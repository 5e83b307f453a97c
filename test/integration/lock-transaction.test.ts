import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { withTransaction } from '../../src/lock/transaction.ts';
import { readBootId } from '../../src/sources/boot.ts';
import { Program } from '../support/lines.ts';

const WRITER = join(import.meta.dirname, '../support/lock/writer.ts');

let store: string;

beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'store-'));
});

afterEach(() => rm(store, { recursive: true, force: true }));

describe('a store transaction', () => {
  test('gives the result of the change and leaves nothing in the store', async () => {
    const during = await withTransaction(store, () => readdir(store));
    expect(during).toEqual([`.lock-${await readBootId()}`]);
    expect(await readdir(store)).toEqual([]);
  });

  test('a change that fails gives the lock back', async () => {
    await expect(withTransaction(store, () => Promise.reject(new Error('no space')))).rejects.toThrow('no space');
    expect(await withTransaction(store, async () => 'next')).toBe('next');
  });

  test('changes of three processes never interleave', async () => {
    const log = join(store, 'log');
    const writers = Array.from({ length: 3 }, () => new Program(WRITER, [store, log, '10']));
    await Promise.all(writers.map((writer) => writer.ended));
    const lines = (await readFile(log, 'utf8')).trim().split('\n');
    expect(lines).toHaveLength(60);
    for (let i = 0; i < lines.length; i += 2) expect([lines[i], lines[i + 1]]).toEqual([lines[i], lines[i]?.replace('begin', 'end')]);
  });

  test('a lock of a killed process is taken over once it is 10 s old', async () => {
    const holder = new Program(WRITER, [store, 'hold']);
    await holder.says('holds');
    await holder.kill();
    const lock = join(store, `.lock-${await readBootId()}`);
    const old = Date.now() / 1000 - 11;
    await utimes(lock, old, old);
    expect(await withTransaction(store, async () => 'taken over')).toBe('taken over');
    expect(await readdir(store)).toEqual([]);
  });

  test('a change of another process is waited for so long, then it is an error that names the lock', async () => {
    const holder = new Program(WRITER, [store, 'hold']);
    await holder.says('holds');
    await expect(withTransaction(store, async () => undefined, { waitMs: 200 })).rejects.toThrow(
      `another process, which holds ${store}/.lock-`,
    );
    await holder.kill();
  });

  test('a lock of an earlier boot counts for nothing, however new it looks, and is removed', async () => {
    const before = join(store, '.lock-11111111-1111-1111-1111-111111111111');
    await mkdir(before);
    const later = Date.now() / 1000 + 86_400;
    await utimes(before, later, later);
    const startedAt = performance.now();
    await withTransaction(store, async () => undefined);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(await readdir(store)).toEqual([]);
  });

  test('a lock that is removed during a change is an error, and the signal says so while the change runs', async () => {
    const changing = withTransaction(store, async (lost) => {
      await rm(join(store, `.lock-${await readBootId()}`), { recursive: true });
      await new Promise((resolve) => lost.addEventListener('abort', resolve));
      return 'changed';
    });
    await expect(changing).rejects.toThrow(/lost the store's lock .*\.lock-/);
  });

  test('leaves no timer behind', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    await withTransaction(store, async () => undefined);
    expect(timers()).toBeLessThanOrEqual(before);
  });

  test.each([
    ['that does not exist', async (): Promise<string> => join(store, 'missing'), /does not exist/],
    [
      'that is a file',
      async (): Promise<string> => {
        await writeFile(join(store, 'file'), '');
        return join(store, 'file');
      },
      /is not a directory/,
    ],
  ])('a store %s is an error that names it', async (_, make, message) => {
    const wrong = await make();
    const changing = withTransaction(wrong, async () => undefined);
    await expect(changing).rejects.toThrow(message);
    await expect(changing).rejects.toThrow(wrong);
  });
});
