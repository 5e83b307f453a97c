import { readlinkSync } from 'node:fs';
import { lstat, lutimes, mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { leaderMark, type Owner } from '../../src/lock/holder.ts';
import { StoreBusyError, withTransaction } from '../../src/lock/transaction.ts';
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

  const lockPath = async () => join(store, `.lock-${await readBootId()}`);
  /** A lock as another process would have left it, renewed so many seconds ago. */
  async function locked(owner: Partial<Owner>, secondsAgo = 0): Promise<void> {
    const path = await lockPath();
    await mkdir(path);
    const elsewhere: Owner = { token: 'other', pid: 4_000_000, started: '1', pidNamespace: 'pid:[1]' };
    await writeFile(join(path, 'owner'), JSON.stringify({ ...elsewhere, ...owner }));
    const at = Date.now() / 1000 - secondsAgo;
    await utimes(path, at, at);
  }
  const here = readlinkSync('/proc/self/ns/pid');

  test('a lock of a killed process is taken over at once', async () => {
    const holder = new Program(WRITER, [store, 'hold']);
    await holder.says('holds');
    await holder.kill();
    const started = performance.now();
    expect(await withTransaction(store, async () => 'taken over')).toBe('taken over');
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(await readdir(store)).toEqual([]);
  });

  test('a lock whose holder cannot be seen from here is taken over once it is 10 s old, not before', async () => {
    await locked({}, 5);
    await expect(withTransaction(store, async () => undefined, { waitMs: 200 })).rejects.toThrow(StoreBusyError);
    await rm(await lockPath(), { recursive: true });
    await locked({}, 11);
    expect(await withTransaction(store, async () => 'taken over', { waitMs: 200 })).toBe('taken over');
    expect(await readdir(store)).toEqual([]);
  });

  test('a lock of a process that runs is not taken over, however long it was not renewed: its disk may be slow', async () => {
    const holder = new Program(WRITER, [store, 'hold']);
    await holder.says('holds');
    const old = Date.now() / 1000 - 60;
    await utimes(await lockPath(), old, old);
    await expect(withTransaction(store, async () => undefined, { waitMs: 300 })).rejects.toThrow(StoreBusyError);
    await holder.kill();
  });

  test('a pid that is another process by now is a dead holder', async () => {
    await locked({ pid: process.pid, started: '1', pidNamespace: here });
    expect(await withTransaction(store, async () => 'taken over', { waitMs: 200 })).toBe('taken over');
  });

  test('who leads takes over the lock of a former leader at once, wherever that ran, and nobody else does', async () => {
    const leader = await leaderMark(store);
    await locked({ leader });
    await expect(withTransaction(store, async () => undefined, { waitMs: 100 })).rejects.toThrow(StoreBusyError);
    await expect(withTransaction(store, async () => undefined, { waitMs: 100, leader: '1:2' })).rejects.toThrow(StoreBusyError);
    expect(await withTransaction(store, async () => 'taken over', { waitMs: 100, leader })).toBe('taken over');
  });

  test.each([
    ['a file', async (path: string) => writeFile(path, ''), 'is a file'],
    ['a link', async (path: string) => symlink('/tmp', path), 'is neither a file nor a directory'],
    [
      "somebody's directory",
      async (path: string) => mkdir(join(path, 'precious'), { recursive: true }),
      'is a directory that holds "precious"',
    ],
  ])('%s in the place of the lock is an error that says so, and is left alone', async (_, make, message) => {
    const path = await lockPath();
    await make(path);
    const old = Date.now() / 1000 - 60;
    await lutimes(path, old, old);
    await expect(withTransaction(store, async () => undefined, { waitMs: 200 })).rejects.toThrow(`${path} ${message}`);
    expect((await lstat(path)).mtimeMs).toBeLessThan(Date.now() - 50_000);
  });

  test('an empty directory in its place, as a holder leaves that is just giving it back, is free', async () => {
    await mkdir(await lockPath());
    expect(await withTransaction(store, async () => 'taken', { waitMs: 200 })).toBe('taken');
  });

  test('a check during the change fails as soon as somebody else has the lock, before any renewal notices', async () => {
    const changing = withTransaction(store, async ({ check }) => {
      await check();
      await rm(await lockPath(), { recursive: true });
      await locked({});
      await check();
    });
    await expect(changing).rejects.toThrow(/lost the store's lock .*nothing was changed/);
    expect(await readdir(store)).toHaveLength(1);
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
    const changing = withTransaction(store, async ({ lost }) => {
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
