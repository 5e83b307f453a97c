/** Actions that do not end in time, because of a slow disk: what goes on beside them, and what waits. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { Effects } from '../../src/act.ts';
import type { Action } from '../../src/checkpoint/model.ts';
import { createExecutor } from '../../src/execute.ts';
import { APISERVER, SCHEDULER } from '../support/observations.ts';

const { signal } = new AbortController();

/** A store whose changes do not end before they are told to, and a runtime that says what it was asked to do. */
function slowStore() {
  const done: string[] = [];
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const effects: Effects = {
    checkpointDir: '/nowhere',
    podManifestPath: '/nowhere',
    api: { confirmAbsence: () => Promise.resolve() },
    runtime: {
      stopContainer: (id: string) => Promise.resolve(void done.push(id)),
      removeContainer: (id: string) => Promise.resolve(void done.push(id)),
      stopSandbox: (id: string) => Promise.resolve(void done.push(id)),
    } as Effects['runtime'],
    stopGraceSeconds: 0,
    wallClock: () => 0,
    transaction: () => finished.then(() => Promise.reject(new Error('ended'))),
  };
  const log = pino({ level: 'error' }, { write: (line: string) => void done.push(String(JSON.parse(line).msg)) });
  const executor = createExecutor({ effects, clock: () => performance.now(), log, onLate: () => undefined });
  return { executor, done, finish };
}

const makeRoom: Action = { kind: 'makeRoom', workload: SCHEDULER, files: [], containerIds: ['room was made'], graceful: true };

describe('while a slow disk holds up', () => {
  test.each<Action>([
    { kind: 'prove', workload: SCHEDULER, generation: 1 },
    { kind: 'prune', workload: SCHEDULER, generations: [1] },
    { kind: 'quarantine', workload: SCHEDULER, generation: 1, detail: '' },
  ])('$kind, what ends an outage of the same workload goes on, and no other save begins', async (slow) => {
    const { executor, done, finish } = slowStore();
    await executor.run([slow], signal);
    await executor.run([makeRoom, { kind: 'repoint', workload: APISERVER, generation: 1 }, slow], signal);
    expect(done).toEqual(['room was made']);
    finish();
    await executor.idle();
    expect(done).toEqual(['room was made', `${slow.kind} failed`]);
  });

  test.each<Action>([
    { kind: 'retire', workload: SCHEDULER, replaced: false },
    { kind: 'activate', workload: SCHEDULER, generation: 1, activation: 1 },
  ])('$kind, the same workload waits for it', async (slow) => {
    const { executor, done, finish } = slowStore();
    await executor.run([slow], signal);
    await executor.run([makeRoom], signal);
    expect(done).toEqual([]);
    finish();
    await executor.idle();
  });
});
