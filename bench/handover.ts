// The leader is killed, the next one leads: how long that takes, 100 times.
//
//     node bench/handover.ts [--times=100]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Program } from '../test/support/lines.ts';

const { values } = parseArgs({ options: { times: { type: 'string', default: '100' } } });
const LIMIT_MS = 1_000;
const CANDIDATE = join(import.meta.dirname, '../test/support/lock/candidate.ts');

const directory = mkdtempSync(join(tmpdir(), 'handover-'));
const path = join(directory, 'pod-checkpointer.lock');
const times: number[] = [];
let leader = new Program(CANDIDATE, [path]);
try {
  await leader.says('leads');
  for (let i = 0; i < Number(values.times); i++) {
    const next = new Program(CANDIDATE, [path]);
    await next.says('waiting');
    const killed = performance.now();
    leader.child.kill('SIGKILL');
    await next.says('leads');
    times.push(performance.now() - killed);
    leader = next;
  }
} finally {
  await leader.kill();
  rmSync(directory, { recursive: true });
}
times.sort((a, b) => a - b);
const within = times.filter((ms) => ms <= LIMIT_MS).length;
const median = times[Math.floor(times.length / 2)] ?? 0;
console.log(`${within} of ${times.length} within ${LIMIT_MS} ms; median ${median.toFixed(1)} ms, max ${(times.at(-1) ?? 0).toFixed(1)} ms`);
if (within < times.length) process.exitCode = 1;
