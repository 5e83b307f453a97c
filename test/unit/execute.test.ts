import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Effects } from '../../src/act.ts';
import type { Action, Digest } from '../../src/checkpoint/model.ts';
import { createExecutor } from '../../src/execute.ts';
import { copyOf, SCHEDULER } from '../support/observations.ts';

/** A store whose every change fails. */
const EFFECTS: Effects = {
  checkpointDir: '/nowhere',
  podManifestPath: '/nowhere',
  api: { confirmAbsence: () => Promise.resolve() },
  runtime: { stopContainer: () => Promise.resolve(), stopSandbox: () => Promise.resolve(), removeContainer: () => Promise.resolve() },
  stopGraceSeconds: 0,
  wallClock: () => 0,
  transaction: () => Promise.reject(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })),
};

describe('actions that fail', () => {
  it('are tried again later and later; what is blocked behind them does not make the loop spin', async () => {
    let now = 0;
    const executor = createExecutor({ effects: EFFECTS, clock: () => now, log: pino({ level: 'silent' }), onLate: () => undefined });
    const { signal } = new AbortController();
    const prove: Action = { kind: 'prove', workload: SCHEDULER, generation: 1 };
    const prune: Action = { kind: 'prune', workload: SCHEDULER, generations: [2] };
    expect((await executor.run([prune], signal)).retryAt).toBe(1_000);
    now = 2_000;
    // The prune waits behind the other now, and its own time has long come.
    expect((await executor.run([prove, prune], signal)).retryAt).toBe(3_000);
    now = 2_500;
    expect(await executor.run([prove, prune], signal)).toMatchObject({ progressed: false, retryAt: 3_000 });
    now = 3_000;
    expect((await executor.run([prove, prune], signal)).retryAt).toBe(5_000);
  });

  it('do not keep a boot from being settled when they can wait, nor a generation from serving because a damaged one stays where it is, or another cannot be taken over', async () => {
    const tried: string[] = [];
    const effects: Effects = {
      ...EFFECTS,
      transaction: () => Promise.reject(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })),
      runtime: {
        ...EFFECTS.runtime,
        removeContainer: (id) => {
          tried.push(id);
          return Promise.resolve();
        },
      },
    };
    const log = pino({ level: 'error' }, { write: (line: string) => void tried.push(String(JSON.parse(line).msg)) });
    const executor = createExecutor({ effects, clock: () => 0, log, onLate: () => undefined });
    const quarantine: Action = { kind: 'quarantine', workload: SCHEDULER, generation: 2, detail: 'torn' };
    const forget: Action = { kind: 'forgetExits', workload: SCHEDULER, containerIds: ['next of the workload'] };
    await executor.run([quarantine, forget], new AbortController().signal);
    expect(tried).toEqual(['quarantine failed', 'next of the workload']);
    tried.length = 0;
    const copy = copyOf('theirs', { servesApi: false, handBack: 'exclusive' });
    const adopt: Action = { kind: 'adopt', workload: SCHEDULER, copy, parent: { name: 'p', uid: 'u' } };
    await executor.run([adopt, forget], new AbortController().signal);
    expect(tried).toEqual(['adopt failed', 'next of the workload']);
    tried.length = 0;
    const prune: Action = { kind: 'prune', workload: SCHEDULER, generations: [1] };
    // Its own time has not come yet.
    await executor.run([adopt, prune, { kind: 'settleBoot', bootId: 'b' }], new AbortController().signal);
    expect(tried).toEqual(['prune failed', 'settleBoot failed']);
  });

  it('are logged without the digest of a spec, by which a Secret with few possible values can be guessed', async () => {
    const logged: string[] = [];
    const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });
    const planted = 'planted-digest' as Digest;
    const executor = createExecutor({ effects: EFFECTS, clock: () => 0, log, onLate: () => undefined });
    const { signal } = new AbortController();
    await executor.run([{ kind: 'markFailing', workload: SCHEDULER, digest: planted, detail: 'it crashed' }], signal);
    await executor.run([{ kind: 'stepDown', digest: planted }], signal);
    expect(logged.join('')).toContain('markFailing failed');
    expect(logged.join('')).not.toContain(planted);
  });
});
