import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Effects } from '../../src/act.ts';
import type { Action } from '../../src/checkpoint/model.ts';
import { createExecutor } from '../../src/execute.ts';
import { SCHEDULER } from '../support/observations.ts';

/** A store whose every change fails. */
const EFFECTS: Effects = {
  checkpointDir: '/nowhere',
  podManifestPath: '/nowhere',
  api: { confirmAbsence: () => Promise.resolve() },
  runtime: { stopContainer: () => Promise.resolve(), removeContainer: () => Promise.resolve() },
  stopGraceSeconds: 0,
  wallClock: () => 0,
  transaction: () => Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })),
};

describe('actions that fail', () => {
  it('are tried again later and later; what is blocked behind them does not make the loop spin', async () => {
    let now = 0;
    const executor = createExecutor({ effects: EFFECTS, clock: () => now, log: pino({ level: 'silent' }), onLate: () => undefined });
    const { signal } = new AbortController();
    const settle: Action = { kind: 'settleBoot', bootId: 'b' };
    const prove: Action = { kind: 'prove', workload: SCHEDULER, generation: 1 };
    expect((await executor.run([settle], signal)).retryAt).toBe(1_000);
    now = 2_000;
    // settleBoot waits behind the workload now, and its own time has long come.
    expect((await executor.run([prove, settle], signal)).retryAt).toBe(3_000);
    now = 2_500;
    expect(await executor.run([prove, settle], signal)).toMatchObject({ progressed: false, retryAt: 3_000 });
    now = 3_000;
    expect((await executor.run([prove, settle], signal)).retryAt).toBe(5_000);
  });
});
