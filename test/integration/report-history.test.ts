import { appendFile, mkdir, mkdtemp, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { eventsOf } from '../../src/report/events.ts';
import { appendHistory, historyPath, readHistory } from '../../src/report/history.ts';
import { added, outboxPath, readOutbox, writeOutbox } from '../../src/report/outbox.ts';
import type { Transition } from '../../src/report/transitions.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'history-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function entry(number: number, more: Partial<Transition> = {}): Transition {
  const at = new Date(1_767_225_600_000 + number * 1_000).toISOString();
  return {
    at,
    workload: 'ns/DaemonSet/a',
    namespace: 'ns',
    to: 'Saved',
    state: 'saved',
    milestones: [],
    message: `entry ${number}`,
    ...more,
  };
}

const messages = async (workload?: string) => (await readHistory(dir, workload)).map(({ message }) => message);

test('what was appended is read in order, all of it or that of one workload', async () => {
  await appendHistory(dir, [entry(1), entry(2, { workload: 'ns/DaemonSet/b' })]);
  await appendHistory(dir, [entry(3)]);
  expect(await readHistory(dir)).toEqual([entry(1), entry(2, { workload: 'ns/DaemonSet/b' }), entry(3)]);
  expect(await messages('ns/DaemonSet/a')).toEqual(['entry 1', 'entry 3']);
  expect((await stat(historyPath(dir))).mode & 0o777).toBe(0o600);
});

test('no history is an empty one, and nothing to append makes no file', async () => {
  await appendHistory(dir, []);
  expect(await readHistory(dir)).toEqual([]);
  await expect(stat(historyPath(dir))).rejects.toThrow('ENOENT');
});

test('a last line that a power cut tore is skipped, and what comes after it is whole', async () => {
  await appendHistory(dir, [entry(1), entry(2)]);
  const { size } = await stat(historyPath(dir));
  for (let cut = 1; cut < 60; cut += 7) {
    await truncate(historyPath(dir), size - cut);
    expect(await messages()).toEqual(cut === 1 ? ['entry 1', 'entry 2'] : ['entry 1']);
  }
  await appendHistory(dir, [entry(3)]);
  expect(await messages()).toEqual(['entry 1', 'entry 3']);
});

test('lines that are none of ours are skipped', async () => {
  await appendHistory(dir, [entry(1)]);
  await appendFile(historyPath(dir), 'null\n{"at":1}\n\u0000\u0000\n[]\n');
  for (const odd of [{ milestones: 'Proven' }, { milestones: [5] }, { message: 5 }, { from: {} }, { generation: '3' }])
    await appendFile(historyPath(dir), `${JSON.stringify({ ...entry(9), ...odd })}\n`);
  await appendHistory(dir, [entry(2)]);
  expect(await messages()).toEqual(['entry 1', 'entry 2']);
});

test('it never exceeds its bound, and the newest entries stay', async () => {
  const limit = 4_096;
  for (let number = 1; number <= 200; number++) {
    await appendHistory(dir, [entry(number)], limit);
    expect((await stat(historyPath(dir))).size).toBeLessThanOrEqual(limit);
    expect((await messages()).at(-1)).toBe(`entry ${number}`);
  }
  const kept = await messages();
  expect(kept.length).toBeGreaterThan(8);
  expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => `entry ${200 - kept.length + 1 + i}`));
});

test('a message is kept as far as a person reads it', async () => {
  await appendHistory(dir, [entry(1, { message: 'x'.repeat(100_000) })]);
  expect((await messages())[0]).toHaveLength(2_000);
});

test('nothing is written through a link, and a directory in its place is named', async () => {
  await writeFile(join(dir, 'elsewhere'), '');
  await symlink('elsewhere', historyPath(dir));
  await expect(appendHistory(dir, [entry(1)])).rejects.toThrow('ELOOP');
  expect(await readFile(join(dir, 'elsewhere'), 'utf8')).toBe('');
  await rm(historyPath(dir));
  await mkdir(historyPath(dir));
  await expect(appendHistory(dir, [entry(1)])).rejects.toThrow('history.jsonl');
});

test('events that wait outlive the daemon, and a file that is not ours is none', async () => {
  expect(await readOutbox(dir)).toEqual([]);
  const events = added([], eventsOf([entry(1, { milestones: ['Copied'], parent: 'p', parentUid: 'u' })], 'n1'));
  await writeOutbox(dir, events);
  expect(await readOutbox(dir)).toEqual(events);
  for (const text of ['', '[]', '{"events":7}', '{"events":[{"reason":"x"}]}', '{"version":1,"eve']) {
    await writeFile(outboxPath(dir), text);
    expect(await readOutbox(dir)).toEqual([]);
  }
});

test('as many appends at a time as there is room for in their lane do not wait for each other', { timeout: 10_000 }, async () => {
  const directories = await Promise.all(['a', 'b', 'c'].map((name) => mkdtemp(join(dir, name))));
  await Promise.all(directories.map((directory, number) => appendHistory(directory, [entry(number)])));
  for (const [number, directory] of directories.entries()) expect(await readHistory(directory)).toEqual([entry(number)]);
});
