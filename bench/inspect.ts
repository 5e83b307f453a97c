// How long `inspect` takes over a store of 50 workloads with 3 generations each, and how much memory, beside a plain `node -e 0`. Everything that can answer
// is there: a runtime with the parents running and their images; no API server, as at the time when it matters.
//
//     node scripts/build.ts && node bench/inspect.ts [--bundle=dist/checkpointer.js] [--workloads=50] [--runs=21]
//
// Ends with 1 when the median is above 300 ms of wall time, or the largest resident set above 100 MiB. The machine's other work counts against it: the CPU
// time beside it says what inspect itself took.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { testHost } from '../test/support/host/host.ts';

const { values } = parseArgs({
  options: {
    bundle: { type: 'string', default: 'dist/checkpointer.js' },
    workloads: { type: 'string', default: '50' },
    runs: { type: 'string', default: '21' },
  },
});
const LIMIT = { ms: 300, mib: 100 } as const;
const GENERATIONS = 3;

const base = mkdtempSync(join(tmpdir(), 'bench-'));
await using host = await testHost(base);
for (let i = 0; i < Number(values.workloads); i++)
  for (let generation = 1; generation <= GENERATIONS; generation++)
    await host.save(`component-${i}`, `registry.example.org/component:${generation}`);

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly mib: number;
}

/** The process reports its own getrusage(2) at its end, as time(1) does from outside. */
const REPORT = `process.on('exit', () => { const u = process.resourceUsage(); require('node:fs').writeSync(3, JSON.stringify([u.userCPUTime + u.systemCPUTime, u.maxRSS])); });`;

async function cost(args: readonly string[], expected: readonly number[]): Promise<Cost> {
  const started = performance.now();
  const child = spawn(
    process.execPath,
    [
      '--import',
      `data:text/javascript,import{createRequire}from'node:module';const require=createRequire('file:///');${encodeURIComponent(REPORT)}`,
      ...args,
    ],
    {
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    },
  );
  let said = '';
  child.stdio[3]?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const ms = performance.now() - started;
  if (code === null || !expected.includes(code)) throw new Error(`${args.join(' ')} ended with ${code}`);
  const [micros = 0, kib = 0] = JSON.parse(said) as number[];
  return { ms, cpuMs: micros / 1000, mib: kib / 1024 };
}

async function measure(name: string, args: readonly string[], expected: readonly number[]): Promise<{ ms: number; mib: number }> {
  const costs: Cost[] = [];
  for (let i = 0; i < Number(values.runs); i++) costs.push(await cost(args, expected));
  const at = (of: (one: Cost) => number, share: number) => {
    const sorted = costs.map(of).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  };
  const [ms, p90, cpu, mib] = [at((c) => c.ms, 0.5), at((c) => c.ms, 0.9), at((c) => c.cpuMs, 0.5), at((c) => c.mib, 1)];
  console.log(
    `${name.padEnd(44)} median ${ms.toFixed(0).padStart(4)} ms   p90 ${p90.toFixed(0).padStart(4)} ms   CPU ${cpu.toFixed(0).padStart(4)} ms   at most ${mib.toFixed(0)} MiB`,
  );
  return { ms, mib };
}

try {
  await measure('node -e 0', ['-e', '0'], [0]);
  const flags = [...host.flags(), `--container-runtime-endpoint=unix://${base}/none.sock`];
  const { ms, mib } = await measure(
    `inspect, ${values.workloads} workloads × ${GENERATIONS} generations`,
    [values.bundle, 'inspect', ...flags],
    [0, 3],
  );
  await measure('inspect of one of them', [values.bundle, 'inspect', 'component-0', ...flags], [0, 3]);
  if (ms > LIMIT.ms || mib > LIMIT.mib) {
    console.error(`over ${LIMIT.ms} ms or ${LIMIT.mib} MiB`);
    process.exitCode = 1;
  }
} finally {
  rmSync(base, { recursive: true, force: true });
}
