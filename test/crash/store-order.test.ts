/** The order of system calls, from a trace: what a power cut may leave is decided by what was fsynced before which rename. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingPackages } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { STEPS, type StepName } from '../support/store/steps.ts';
import { type Call, disorder, parseTrace } from '../support/store/trace.ts';
import { bundleOneStep, traced } from '../support/store/traced.ts';

const missing = missingPackages(['strace'])[0];

let dir: string;
let program: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-order-'));
  program = await bundleOneStep(dir);
});

afterAll(() => rm(dir, { recursive: true, force: true }));

async function callsOf(step: StepName): Promise<Call[]> {
  const at = await mkdtemp(join(dir, 'step-'));
  await STEPS[step].before(join(at, 'store'));
  const { outcome, trace } = await traced(program, join(at, 'store'), step, { kind: 'none' }, join(at, 'trace'));
  expect(outcome).toEqual({ kind: 'done' });
  return parseTrace(trace);
}

describe.skipIf(skipLoudly('the order of writes and fsyncs', missing && `${missing.program} is not installed`))(
  'the order of system calls',
  () => {
    test.each(Object.keys(STEPS) as StepName[])(
      '%s: a file and its directories are fsynced before their rename, the directory of the rename after it',
      async (step) => {
        const calls = await callsOf(step);
        expect(calls.filter(({ kind }) => kind === 'rename' || kind === 'sync').length).toBeGreaterThan(0);
        expect(disorder(calls)).toEqual([]);
      },
    );

    test('leaving out any one fsync of a save would be noticed', async () => {
      const calls = await callsOf('a save');
      const syncs = calls.flatMap(({ kind }, at) => (kind === 'sync' ? [at] : []));
      expect(syncs.length).toBeGreaterThan(5);
      for (const left of syncs) expect(disorder(calls.filter((_, at) => at !== left)), JSON.stringify(calls[left])).not.toEqual([]);
    });
  },
);
