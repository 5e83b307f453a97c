/**
 * Kills a change of the store at its first, second, … system call until there is none left, and lets each of them fail. Whatever happens, the store holds
 * the old state or the new one, every byte of it verified, and the next save works.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { missingPackages } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { type Look, leftovers, look } from '../support/store/look.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';
import { STEPS, type StepName, stepOf } from '../support/store/steps.ts';
import { syncedAgain } from '../support/store/trace.ts';
import { bundleOneStep, type Fault, STATE_CHANGING, type Traced, traced } from '../support/store/traced.ts';

const run = promisify(execFile);
const missing = missingPackages(['strace'])[0];

let dir: string;
let program: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-steps-'));
  program = await bundleOneStep(dir);
});

afterAll(() => rm(dir, { recursive: true, force: true }));

interface Tried {
  readonly traced: Traced;
  readonly found: Look;
}

/** Makes the change once on a store of its own, and looks at what is there afterwards. */
async function attempt(step: StepName, template: string, fault: Fault): Promise<Tried> {
  const own = await mkdtemp(join(dir, 'attempt-'));
  const store = join(own, 'store');
  await run('cp', ['-a', `${template}/.`, own]);
  try {
    const result = await traced(program, store, step, fault, join(own, 'trace'));
    const found = await look(store, SCHEDULER);
    // Whatever was left half way does not hinder what comes next.
    await prepareStore(store);
    await saveGeneration(store, SCHEDULER, sampleCopy('next'), ABOUT);
    expect((await look(store, SCHEDULER)).newest).toBe('next');
    expect(await leftovers(store, SCHEDULER)).toEqual([]);
    return { traced: result, found };
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

/** All that counts: which generations there are, what the newest is, what a reboot gets and what was proven before, what is retired, settled, active. */
const state = (found: Look) => JSON.stringify(found);

/** The old state, the new one, or the third one that a change may have. */
function expectAllowed(step: StepName, third: 'between' | 'afterError', found: Look, before: Look, after: Look, context: string): void {
  if (stepOf(step)[third]?.(found, before, after) !== true) expect([state(before), state(after)], context).toContain(state(found));
}

/** With the fault at the first, second, … of every system call, until the change has no such call any more; two at a time. */
async function everywhere(
  step: StepName,
  fault: (call: string, at: number) => Fault,
  check: (tried: Tried, context: string) => void,
): Promise<number> {
  const template = await mkdtemp(join(dir, 'template-'));
  await STEPS[step].before(join(template, 'store'));
  const calls: string[] = [...STATE_CHANGING];
  let points = 0;
  const worker = async () => {
    for (let call = calls.shift(); call !== undefined; call = calls.shift()) {
      for (let at = 1; ; at++) {
        const tried = await attempt(step, template, fault(call, at));
        if (!tried.traced.injected) {
          expect(tried.traced.outcome.kind).toBe('done');
          break;
        }
        points++;
        const line = tried.traced.trace.split('\n').find((one) => one.includes('INJECTED')) ?? '';
        check(tried, `${call} ${at}: ${JSON.stringify(tried.traced.outcome)} ${line}`);
      }
    }
  };
  await Promise.all([worker(), worker()]);
  return points;
}

async function states(step: StepName): Promise<{ before: Look; after: Look }> {
  const template = await mkdtemp(join(dir, 'states-'));
  await STEPS[step].before(join(template, 'store'));
  const before = await look(join(template, 'store'), SCHEDULER);
  await STEPS[step].change(join(template, 'store'));
  return { before, after: await look(join(template, 'store'), SCHEDULER) };
}

const names = Object.keys(STEPS) as StepName[];

describe.skipIf(skipLoudly('a change of the store killed at every system call', missing && `${missing.program} is not installed`))(
  'a change of the store that is killed at any system call',
  () => {
    test.each(names)('%s: leaves the old state or the new one', { timeout: 180_000 }, async (step) => {
      const { before, after } = await states(step);
      let old = 0;
      const points = await everywhere(
        step,
        (call, at) => ({ kind: 'kill', call, at }),
        ({ traced: { outcome }, found }, context) => {
          expect(outcome.kind, context).toBe('killed');
          expectAllowed(step, 'between', found, before, after, context);
          if (state(found) === state(before)) old++;
        },
      );
      expect(points).toBeGreaterThan(3);
      console.log(`kill points in ${step}: ${points}, old state after ${old}, new after ${points - old}, nothing lost`);
    });
  },
);

describe.skipIf(skipLoudly('a change of the store whose system calls fail', missing && `${missing.program} is not installed`))(
  'a change of the store with a system call that fails',
  () => {
    const REASONS = {
      ENOSPC: 'StoreFull',
      EIO: 'StoreFailing',
      EROFS: 'StoreReadOnly',
      EMFILE: 'TooManyOpenFiles',
      EACCES: 'StoreDenied',
      EDQUOT: 'StoreFull',
    };
    // These go on without what a full or failing store refuses (store-hard-times.test.ts).
    const GOES_ON = new Set<StepName>(['recovering before the kubelet', 'quarantining the proven generation']);
    const ALL = (['ENOSPC', 'EIO'] as const).flatMap((errno) =>
      names.filter((step) => !GOES_ON.has(step)).map((step) => ({ step, errno })),
    );
    const OTHERS = (['EROFS', 'EMFILE', 'EACCES', 'EDQUOT'] as const).map((errno) => ({ step: 'a save' as const, errno }));

    test.each([...ALL, ...OTHERS])('$step, $errno: leaves the old state or the new one', { timeout: 180_000 }, async ({ step, errno }) => {
      const { before, after } = await states(step);
      let failed = 0;
      const points = await everywhere(
        step,
        (call, at) => ({ kind: 'error', errno, call, at }),
        ({ traced: { outcome, trace }, found }, context) => {
          expectAllowed(step, 'afterError', found, before, after, context);
          expect(syncedAgain(trace), context).toEqual([]);
          if (outcome.kind === 'done') {
            if (stepOf(step).afterError === undefined) expect(state(found), context).toBe(state(after));
          } else {
            failed++;
            // What cannot be read is damage, whatever the reason: it is never pointed at.
            expect([REASONS[errno], 'Damaged'], context).toContain(outcome.kind === 'failed' ? outcome.failure : 'killed');
            if (step === 'a save') expect(state(found), context).toBe(state(before));
          }
        },
      );
      console.log(`${errno} injected in ${step}: ${points} points, ${failed} failed with ${REASONS[errno]}, nothing lost`);
    });
  },
);

describe.skipIf(skipLoudly('an activation on a file system that is damaged', missing && `${missing.program} is not installed`))(
  'an activation whose count cannot be written',
  () => {
    // A quota; of ext4 and XFS: metadata that is not whole, or has another checksum, a sector that cannot be read. Node has no name for most of them.
    test.each(['EIO', 'EDQUOT', 'EUCLEAN', 'EBADMSG', 'ENODATA'] as const)(
      'because the file system answers %s: goes ahead without it',
      async (errno) => {
        const own = await mkdtemp(join(dir, 'damaged-'));
        const step = 'recovering before the kubelet';
        await STEPS[step].before(join(own, 'store'));
        const { outcome, injected } = await traced(
          program,
          join(own, 'store'),
          step,
          { kind: 'error', errno, call: 'fsync', at: 1 },
          join(own, 'trace'),
        );
        expect(injected).toBe(true);
        expect(outcome).toEqual({ kind: 'done' });
        expect((await look(join(own, 'store'), SCHEDULER)).manifests).toHaveLength(1);
      },
    );
  },
);
