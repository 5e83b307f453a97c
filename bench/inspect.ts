// How long `inspect` takes over a store of 50 workloads with 3 generations each, and how much memory, beside a plain `node -e 0`. The runtime answers, and has
// a pod for each workload; no API server does, as at the time when it matters.
//
//     node scripts/build.ts && node bench/inspect.ts [--program=dist/checkpointer.js] [--workloads=50] [--runs=21]
//
// The program may also be the executable (scripts/executable.ts). Ends with 1 when the median is above 300 ms of wall time, or the largest resident set above
// 100 MiB. Whatever else runs on the machine counts against it: the CPU time beside it says what inspect itself took.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Container, PodSandbox } from '../src/sources/cri/generated/runtime.ts';
import { testHost } from '../test/support/host/host.ts';
import { startRuntime } from '../test/support/inspect/runtime.ts';

const { values } = parseArgs({
  options: {
    program: { type: 'string', default: 'dist/checkpointer.js' },
    workloads: { type: 'string', default: '50' },
    runs: { type: 'string', default: '21' },
  },
});
const LIMIT = { ms: 300, mib: 100 } as const;
const GENERATIONS = 3;
/** Of a clock tick in /proc/<pid>/stat, milliseconds: Linux' USER_HZ is 100 everywhere that Node runs. */
const TICK_MS = 10;

const base = mkdtempSync(join(tmpdir(), 'bench-'));
await using host = await testHost(base);
const names = Array.from({ length: Number(values.workloads) }, (_, i) => `component-${i}`);
for (const name of names)
  for (let generation = 1; generation <= GENERATIONS; generation++) await host.save(name, `registry.example.org/component:${generation}`);
const runtime = await startRuntime(join(base, 'cri.sock'), {
  images: Array.from({ length: GENERATIONS }, (_, i) => `registry.example.org/component:${i + 1}`),
  sandboxes: names.map((name) =>
    PodSandbox.fromPartial({
      id: name,
      metadata: { name: `${name}-x7k2f`, namespace: 'kube-system', uid: `pod-${name}`, attempt: 0 },
      annotations: { 'kubernetes.io/config.source': 'api', 'checkpointer.alpha.coreos.com/checkpoint': 'true' },
    }),
  ),
  containers: names.map((name) =>
    Container.fromPartial({ id: `c-${name}`, podSandboxId: name, metadata: { name: 'main', attempt: 0 }, state: 1 }),
  ),
});

interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
  readonly mib: number;
}

async function cost([command = '', ...args]: readonly string[]): Promise<Cost> {
  const started = performance.now();
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  let [cpuMs, mib] = [0, 0];
  // The high-water mark only rises, so the last look that finds the process says it; the CPU time lags by what is between two looks.
  const looking = setInterval(() => {
    try {
      mib = Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1] ?? mib * 1024) / 1024;
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    } catch {
      // It has ended.
    }
  }, 5);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const ms = performance.now() - started;
  clearInterval(looking);
  // 3: there is a warning.
  if (code !== 0 && code !== 3) throw new Error(`${command} ${args.join(' ')} ended with ${code}`);
  return { ms, cpuMs, mib };
}

async function measure(name: string, command: readonly string[]): Promise<{ readonly ms: number; readonly mib: number }> {
  const costs: Cost[] = [];
  for (let i = 0; i < Number(values.runs); i++) costs.push(await cost(command));
  const at = (of: (one: Cost) => number, share: number) => {
    const sorted = costs.map(of).sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  };
  const wall = (share: number) => `${at(({ ms }) => ms, share).toFixed(0)} ms`.padStart(7);
  const [cpu, mib] = [at(({ cpuMs }) => cpuMs, 0.5), at((one) => one.mib, 1)];
  console.log(
    `${name.padEnd(42)} min ${wall(0)}  median ${wall(0.5)}  p90 ${wall(0.9)}  CPU ${cpu.toFixed(0)} ms  at most ${mib.toFixed(0)} MiB`,
  );
  return { ms: at(({ ms }) => ms, 0.5), mib };
}

try {
  console.log(`load ${loadavg()[0]?.toFixed(1)}`);
  await measure('node -e 0', [process.execPath, '-e', '0']);
  const program = values.program.endsWith('.js') ? [process.execPath, values.program] : [values.program];
  await measure('version', [...program, 'version']);
  const flags = [...host.flags(), `--container-runtime-endpoint=unix://${base}/cri.sock`];
  const { ms, mib } = await measure(`inspect, ${names.length} workloads × ${GENERATIONS} generations`, [...program, 'inspect', ...flags]);
  await measure('inspect of one of them', [...program, 'inspect', names[0] ?? '', ...flags]);
  if (ms > LIMIT.ms || mib > LIMIT.mib) {
    console.error(`over ${LIMIT.ms} ms or ${LIMIT.mib} MiB`);
    process.exitCode = 1;
  }
} finally {
  runtime.stop();
  rmSync(base, { recursive: true, force: true });
}
