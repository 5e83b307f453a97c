/** The checkpointer on the host lets one in a container lead, at a boot, where one is to come. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { giveWay, tryLeaderLock } from '../../src/lock/leader.ts';
import { Program } from '../support/lines.ts';

const CANDIDATE = join(import.meta.dirname, '../support/lock/candidate.ts');
let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'give-way-'));
  path = join(dir, 'lock');
});
afterEach(() => rm(dir, { recursive: true }));

async function took(ms: number, signal = new AbortController().signal): Promise<number> {
  const started = performance.now();
  await giveWay(path, ms, signal);
  return performance.now() - started;
}

describe('giving way', () => {
  test('takes its time where nobody comes, and leaves the lock free', async () => {
    const ms = await took(700);
    expect(ms).toBeGreaterThan(690);
    const lock = await tryLeaderLock(path);
    expect(lock).toBeDefined();
    lock?.release();
  });

  test('ends at once where somebody leads, or comes to', async () => {
    const giving = took(60_000);
    const other = new Program(CANDIDATE, [path]);
    await other.says('leads');
    expect(await giving).toBeLessThan(20_000);
    expect(await took(60_000)).toBeLessThan(5_000);
    await other.kill();
  });

  test('ends with its signal', async () => {
    const ended = new AbortController();
    const giving = took(60_000, ended.signal);
    ended.abort();
    expect(await giving).toBeLessThan(5_000);
  });
});
