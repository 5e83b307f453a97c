// How long the program takes to start: Node alone, the bundle, the bundle with Node's compile cache, the executable; and what each command adds.
//
//     npm run build && node scripts/executable.ts && node bench/start.ts [--runs=20] [--json=<file>]
//
// With warm caches; bench/boot.ts measures from cold ones.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20' },
    bundle: { type: 'string', default: 'dist/checkpointer.js' },
    executable: { type: 'string', default: `dist/checkpointer-linux-${process.arch}` },
    json: { type: 'string' },
  },
});
const runs = Number(values.runs);
const work = mkdtempSync(join(tmpdir(), 'start-'));
const inspect = ['inspect', `--checkpoint-dir=${work}/store`, `--pod-manifest-path=${work}`];

const CASES: readonly { readonly name: string; readonly command: readonly string[]; readonly env?: Readonly<Record<string, string>> }[] = [
  { name: 'node -e 0', command: [process.execPath, '-e', '0'] },
  { name: 'bundle --version', command: [process.execPath, values.bundle, '--version'] },
  {
    name: 'bundle --version, compile cache',
    command: [process.execPath, values.bundle, '--version'],
    env: { NODE_COMPILE_CACHE: join(work, 'cache') },
  },
  { name: 'executable --version', command: [values.executable, '--version'] },
  { name: 'bundle inspect', command: [process.execPath, values.bundle, ...inspect] },
  { name: 'executable inspect', command: [values.executable, ...inspect] },
];

try {
  // In turns, so that what else the machine does meets all alike.
  const times = CASES.map((): { readonly wall: number; readonly cpu: number }[] => []);
  for (let run = -2; run < runs; run++) {
    for (const [i, { command, env }] of CASES.entries()) {
      const started = performance.now();
      // bash's time counts what the program and its children worked: unlike the time that passed, it does not grow with what else the machine does.
      const timed = spawnSync('bash', ['-c', 'TIMEFORMAT="%U %S"; time "$@" 2>&1', 'bash', ...command], {
        env: { ...process.env, ...env },
        encoding: 'utf8',
      });
      const { error, stdout, stderr, status } = timed;
      if (error !== undefined || /^error: unknown|TypeError/m.test(stdout))
        throw error ?? new Error(`${command.join(' ')} ended with ${status}: ${stdout}`);
      const [user, system] = stderr.trim().split(/\s+/).map(Number);
      if (run >= 0) times[i]?.push({ wall: performance.now() - started, cpu: ((user ?? Number.NaN) + (system ?? Number.NaN)) * 1000 });
    }
  }
  const rows = CASES.map(({ name }, i) => {
    const at = (what: 'wall' | 'cpu', share: number) => {
      const sorted = (times[i] ?? []).map((time) => time[what]).sort((a, b) => a - b);
      return Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(1));
    };
    return { start: name, medianMs: at('wall', 0.5), fastestMs: at('wall', 0), atWorkMs: at('cpu', 0.5) };
  });
  console.table(rows);
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${release()}, Node ${process.version}`;
  console.log(machine);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ bench: 'start', runs, machine, rows }, null, 2)}\n`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
