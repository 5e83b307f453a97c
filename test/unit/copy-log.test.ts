import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Effects } from '../../src/act.ts';
import { explainCopy } from '../../src/checkpoint/copy.ts';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import { workloadOf } from '../../src/checkpoint/workload.ts';
import { createExecutor } from '../../src/execute.ts';
import { observation, POLICY, parent, workload } from '../support/observations.ts';
import { SEED } from '../support/seed.ts';
import { givenPods, SECRET_MARK } from '../support/valid-pods.ts';

const RUNS = { numRuns: 10_000, seed: SEED };

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'copy-log-'));
  writeFileSync(join(directory, 'file'), '');
});
afterAll(() => rm(directory, { recursive: true, force: true }));

it('nothing of a Secret is in any line that is logged of a copy, its reasons, its actions or their failure, at any level', async () => {
  let lines = '';
  let count = 0;
  const write = (line: string) => {
    lines += line;
    count += 1;
  };
  const log = pino({ level: 'trace' }, { write });
  // Where a file stands in the place of the store every change of it fails, with a message that is logged.
  const effects: Pick<Effects, 'checkpointDir' | 'wallClock' | 'transaction'> = {
    checkpointDir: join(directory, 'file', 'store'),
    wallClock: Date.now,
    transaction: (change) => change(),
  };
  const kinds = new Set<string>();
  await fc.assert(
    fc.asyncProperty(givenPods, async ({ pod, lookup, secretEnv }) => {
      lines = '';
      const { outcome, changes, warnings } = explainCopy(pod, lookup, { secretEnv });
      const seen = observation([workload(workloadOf(pod), { parent: { state: 'present', pod: parent(outcome) } })]);
      const { actions, reports } = decide(EMPTY_MEMORY, seen, POLICY);
      for (const report of reports.values()) log.info(report, report.reason);
      log.trace({ changes, warnings, ...(outcome.kind === 'copy' ? { digest: outcome.copy.digest } : outcome) }, 'the copy');
      const executor = createExecutor({ effects: effects as Effects, clock: () => performance.now(), log, onLate: () => undefined });
      await executor.run(actions, new AbortController().signal);
      for (const { kind } of actions) kinds.add(kind);
      expect(lines).not.toContain(SECRET_MARK);
      expect(lines).not.toContain(Buffer.from(SECRET_MARK).toString('base64').slice(0, 12));
    }),
    RUNS,
  );
  expect(kinds).toContain('save');
  expect(count).toBeGreaterThan(2 * RUNS.numRuns);
}, 180_000);
