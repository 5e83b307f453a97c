/** The reporter on disks that refuse, and on nodes where nothing happens. */
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { Observation, StoredWorkload } from '../../src/checkpoint/model.ts';
import { leaderPath, statusPath } from '../../src/checkpoint/store/paths.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { historyPath, readHistory } from '../../src/report/history.ts';
import { createReporter, type Reported, type Reporter } from '../../src/report/reporter.ts';
import { readLeader, readStatus } from '../../src/status.ts';
import { generation, observation, POLICY, parent, runtimePod, SCHEDULER, stored, workload } from '../support/observations.ts';
import { sampleCopy } from '../support/store/sample.ts';

const KEY = workloadKey(SCHEDULER);
let dir: string;
let lines: { readonly msg: string; readonly level: number; readonly [field: string]: unknown }[];
let reports: Reported[];
let reporter: Reporter;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'reporter-'));
  lines = [];
  reports = [];
  reporter = begin();
});
afterEach(async () => {
  await reporter.idle();
  await rm(dir, { recursive: true, force: true });
});

function begin(): Reporter {
  const log = pino({ level: 'trace' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  let wall = Date.parse('2026-01-01T00:00:00Z');
  return createReporter({
    checkpointDir: dir,
    log,
    wallClock: () => {
      wall += 1_000;
      return wall;
    },
    nodeName: 'n1',
    onReport: (reported) => void reports.push(reported),
  });
}

const copy = sampleCopy('one');
const GENERATION = { ...generation(1, copy.digest, copy.traits) };
const SAVED = stored([GENERATION], { newest: 1 });
const PROVEN = stored([GENERATION], { newest: 1, proven: 1 });

/** What the daemon sees of a pod that runs, and what is decided about it. */
async function turn(of: StoredWorkload | undefined, more: Partial<Observation> = {}): Promise<void> {
  const pod = parent({ kind: 'copy', copy });
  const seen = workload(SCHEDULER, { parent: { state: 'present', pod }, parentPods: [runtimePod('running')], stored: of });
  const observed = observation([seen], more);
  await reporter.report(observed, decide(EMPTY_MEMORY, observed, POLICY));
  await reporter.idle();
}

const transitionsSaid = () => lines.filter(({ msg }) => msg === 'transition');

test('each transition is one line of the log, one of the history, and in the status', async () => {
  await turn(undefined);
  await turn(SAVED);
  await turn(PROVEN);
  expect(transitionsSaid().map(({ workload, from, to, state, generation }) => ({ workload, from, to, state, generation }))).toEqual([
    { workload: KEY, to: 'Saving', state: 'unsaved' },
    { workload: KEY, from: 'Saving', to: 'Saved', state: 'saved', generation: 1 },
    { workload: KEY, from: 'Saved', to: 'Protected', state: 'proven', generation: 1 },
  ]);
  expect((await readHistory(dir)).map(({ from, to }) => ({ from, to }))).toEqual([
    { to: 'Saving' },
    { from: 'Saving', to: 'Saved' },
    { from: 'Saved', to: 'Protected' },
  ]);
  expect((await readStatus(dir))?.workloads[KEY]).toMatchObject({ reason: 'Protected', proven: { generation: 1 } });
});

test('while nothing changes no file is touched and nothing is said', async () => {
  await turn(PROVEN);
  const files = async () =>
    Promise.all((await readdir(dir)).map(async (name) => [name, (await lstat(join(dir, name), { bigint: true })).ctimeNs] as const));
  const before = await files();
  const said = lines.length;
  for (let i = 0; i < 50; i++) await turn(PROVEN, { now: i * 10_000 });
  expect(await files()).toEqual(before);
  expect(lines.slice(said).filter(({ level }) => level >= 20)).toEqual([]);
  expect(reports).toHaveLength(51);
});

test('the next daemon goes on where the last one was: it says how it finds things, and tells nothing as new', async () => {
  await turn(SAVED);
  await turn(PROVEN);
  reporter = begin();
  lines = [];
  await turn(PROVEN);
  expect(transitionsSaid()).toMatchObject([{ workload: KEY, to: 'Protected', generation: 1 }]);
  expect(await readHistory(dir)).toHaveLength(2);
  expect(reports.at(-1)?.transitions).toEqual([]);
});

test('what a disk did not take is written when it takes something again, and complained about once', async () => {
  await mkdir(historyPath(dir));
  await turn(undefined);
  await turn(SAVED);
  await turn(SAVED);
  expect((await readStatus(dir))?.workloads[KEY]?.reason).toBe('Saved');
  expect(lines.filter(({ msg }) => msg.includes('history.jsonl could not be'))).toHaveLength(1);
  await rmdir(historyPath(dir));
  await turn(SAVED);
  expect((await readHistory(dir)).map(({ to }) => to)).toEqual(['Saving', 'Saved']);
});

test('what changes while something is written is written after it, and the loop waits for neither', async () => {
  const of = [undefined, SAVED, PROVEN, SAVED, PROVEN];
  for (const stored of of) {
    const observed = observation([workload(SCHEDULER, { stored })]);
    await reporter.report(observed, decide(EMPTY_MEMORY, observed, POLICY));
  }
  await reporter.idle();
  expect(await readStatus(dir)).toEqual(reports.at(-1)?.status);
  expect(await readHistory(dir)).toEqual(reports.flatMap(({ transitions }) => transitions));
});

test.each([
  ['null', null],
  ['a list', []],
  ['a workload without fields', {}],
  ['a generation that is null', { namespace: 'n', kind: 'k', name: 'a', reason: 'Saved', message: '', since: '', newest: null }],
  ['a message that is a number', { namespace: 'n', kind: 'k', name: 'a', reason: 'Saved', message: 5, since: '' }],
])('a status in which a workload is %s ends neither daemon nor inspect: that workload is as if nobody knew it', async (_, odd) => {
  await turn(SAVED);
  const before = JSON.parse(await readFile(statusPath(dir), 'utf8'));
  await writeFile(statusPath(dir), JSON.stringify({ ...before, workloads: { ...before.workloads, 'n/k/odd': odd, [KEY]: odd } }));
  expect((await readStatus(dir))?.workloads).toEqual({});
  reporter = begin();
  await turn(PROVEN);
  expect(Object.keys((await readStatus(dir))?.workloads ?? {})).toEqual([KEY]);
});

test('who leads is not known from a leader.json of another kind', async () => {
  await writeFile(leaderPath(dir), '{"pid":null,"where":3,"since":{}}');
  expect(await readLeader(dir)).toBeUndefined();
  await writeFile(leaderPath(dir), '{"pid":7,"where":"host","since":"2026-01-01T00:00:00Z"}');
  expect(await readLeader(dir)).toMatchObject({ pid: 7, where: 'host', version: 'unknown' });
});

test('while the disk cannot be read nothing is written, and no workload is said to be gone', async () => {
  await turn(PROVEN);
  const before = await readFile(statusPath(dir));
  await reporter.report(
    observation([], { disk: { state: 'unknown', detail: 'EIO' } }),
    decide(EMPTY_MEMORY, observation([], { disk: { state: 'unknown', detail: 'EIO' } }), POLICY),
  );
  await reporter.idle();
  expect(await readFile(statusPath(dir))).toEqual(before);
  expect(transitionsSaid()).toHaveLength(1);
  expect(lines.filter(({ msg, source }) => msg === 'source' && source === 'disk').at(-1)).toMatchObject({
    from: 'ok',
    to: 'unknown',
    detail: 'EIO',
  });
});
