import { mkdir, mkdtemp, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createRememberingReader } from '../../src/platform/remembered.ts';

const LIMIT = 1024;
const LATER = 60_000;

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'remembered-'));
  path = join(directory, 'file');
  await writeFile(path, 'one');
});
afterEach(() => rm(directory, { recursive: true }));

/** As if what lies on the disk had lain there for a minute. */
const settled = () => createRememberingReader(() => Date.now() + LATER);

describe('a file that is read again and again', () => {
  test('is not opened where it is as it was', async () => {
    const { read } = settled();
    const first = await read(path, LIMIT);
    expect(first?.toString()).toBe('one');
    expect(await read(path, LIMIT)).toBe(first);
  });

  test.each<[string, () => Promise<void>]>([
    [
      'that is replaced by one of the same length',
      async () => {
        await writeFile(`${path}.tmp`, 'two');
        await rename(`${path}.tmp`, path);
      },
    ],
    [
      'that is written to in place, its times put back',
      async () => {
        const { atime, mtime } = await stat(path);
        await writeFile(path, 'two');
        await utimes(path, atime, mtime);
      },
    ],
  ])('%s is read anew', async (_, change) => {
    const { read } = settled();
    await read(path, LIMIT);
    const { ctimeMs } = await stat(path);
    // The kernel's time stamps move in steps of some milliseconds.
    do await change();
    while ((await stat(path)).ctimeMs === ctimeMs);
    expect((await read(path, LIMIT))?.toString()).toBe('two');
  });

  test('is read each time while its last change is recent: a second one could have left the same time stamps', async () => {
    const { read } = createRememberingReader();
    const first = await read(path, LIMIT);
    const second = await read(path, LIMIT);
    expect(second).toEqual(first);
    expect(second).not.toBe(first);
  });

  test('is gone when it is removed, and what it is when something else takes its place', async () => {
    const { read } = settled();
    await read(path, LIMIT);
    await rm(path);
    expect(await read(path, LIMIT)).toBeUndefined();
    await symlink('/etc/hostname', path);
    await expect(read(path, LIMIT)).rejects.toThrow('ELOOP');
  });

  test('is not of more than the limit, whoever read it before', async () => {
    const { read } = settled();
    await read(path, LIMIT);
    await expect(read(path, 2)).rejects.toThrow('at most 2');
  });

  test('is forgotten when a whole round did without it', async () => {
    const { read, forgetUnread } = settled();
    const first = await read(path, LIMIT);
    forgetUnread();
    expect(await read(path, LIMIT)).toBe(first);
    forgetUnread();
    forgetUnread();
    expect(await read(path, LIMIT)).not.toBe(first);
  });
});

describe('the names in a directory that is looked at again and again', () => {
  const changedAt = async () => (await stat(directory)).ctimeMs;

  test('are not read again where it is as it was', async () => {
    const { list } = settled();
    const first = await list(directory);
    expect(first).toEqual(['file']);
    await writeFile(path, 'two');
    expect(await list(directory)).toBe(first);
  });

  test.each<[string, () => Promise<void>, readonly string[]]>([
    ['came', () => writeFile(join(directory, 'another'), ''), ['another', 'file']],
    ['went', () => rm(path), []],
    ['became another', () => rename(path, `${path}.moved`), ['file.moved']],
  ])('are others when one %s', async (_, change, names) => {
    const { list } = settled();
    await list(directory);
    const before = await changedAt();
    // The kernel's time stamps move in steps of some milliseconds.
    do {
      await writeFile(join(directory, 'passing'), '');
      await rm(join(directory, 'passing'));
    } while ((await changedAt()) === before);
    await change();
    expect(await list(directory)).toEqual(names);
  });

  test('are read each time while its last change is recent', async () => {
    const { list } = createRememberingReader();
    const first = await list(directory);
    expect(await list(directory)).not.toBe(first);
  });

  test('are none where nothing is, or something else than a directory', async () => {
    const { list } = settled();
    const other = join(directory, 'other');
    expect(await list(other)).toEqual([]);
    expect(await list(path)).toEqual([]);
    await mkdir(other);
    await symlink(other, join(directory, 'link'));
    expect(await list(join(directory, 'link'))).toEqual([]);
  });
});
