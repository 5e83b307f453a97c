/** What a start waits for: a disk that takes 10 s for an fsync must not keep the daemon from looking at what is down. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { quarantinePath } from '../../src/checkpoint/store/paths.ts';
import { onFsync } from '../../src/platform/fsync-times.ts';

let dir: string;
let store: string;
let fsyncs = 0;
onFsync(() => fsyncs++);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-prepare-'));
  store = join(dir, 'store');
  await prepareStore(store);
  fsyncs = 0;
});

afterEach(() => rm(dir, { recursive: true, force: true }));

test('a store that is there is prepared without an fsync', async () => {
  await prepareStore(store);
  expect(fsyncs).toBe(0);
});

test('a directory of it that was missing is made durable', async () => {
  await rm(quarantinePath(store), { recursive: true });
  await prepareStore(store);
  expect(fsyncs).toBe(1);
});

test('without its format line, which a start that was cut short did not write, all directories are made durable again', async () => {
  await rm(join(store, 'format'));
  await prepareStore(store);
  // The store's entry in its parent, three directories in it, the format line and its entry.
  expect(fsyncs).toBe(6);
});
