// How long `recover --boot` takes with 6 workloads, from a cold page cache, beside a plain `node -e 0`.
//
//     node scripts/executable.ts && node bench/boot.ts [--executable=dist/checkpointer-linux-x64] [--runs=15] [--drop-caches]
//
// Cold means that the pages of the program and of the store are dropped before each run. --drop-caches empties the whole machine's page cache instead
// (root; it slows down everything else that runs), so that libc and flock(1) are read from the disk, too, as after a power cut.
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { testHost } from '../test/support/host/host.ts';

const { values } = parseArgs({
  options: {
    executable: { type: 'string', default: `dist/checkpointer-linux-${process.arch}` },
    runs: { type: 'string', default: '15' },
    'drop-caches': { type: 'boolean', default: false },
  },
});
const WORKLOADS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy', 'etcd', 'pod-checkpointer'];
const LIMIT_MS = 300;

// On the disk that the machine has, not on a tmpfs.
const base = mkdtempSync(join(statSync('/var/tmp', { throwIfNoEntry: false }) === undefined ? tmpdir() : '/var/tmp', 'bench-'));
const node = join(base, 'node');
copyFileSync(process.execPath, node);
const program = join(base, 'checkpointer');
copyFileSync(values.executable, program);
await using host = await testHost(base);
for (const name of WORKLOADS) await host.save(name);
execFileSync('sync');

const boot = (): Took => {
  for (const file of readdirSync(host.manifests)) rmSync(join(host.manifests, file));
  writeFileSync(host.bootIdFile, `${crypto.randomUUID()}\n`);
  chill();
  const took = time(program, ['recover', '--boot', '--probe-timeout=0', ...host.flags()]);
  if (readdirSync(host.manifests).length !== WORKLOADS.length) throw new Error('not every workload was activated');
  return took;
};
const plain = (): Took => {
  chill();
  return time(node, ['-e', '0']);
};
const warm = (): Took => {
  boot();
  for (const file of readdirSync(host.manifests)) rmSync(join(host.manifests, file));
  return time(program, ['recover', '--boot', '--probe-timeout=0', ...host.flags()]);
};

function chill(): void {
  if (values['drop-caches']) {
    execFileSync('sync');
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    return;
  }
  // dd with nocache and nothing to copy is posix_fadvise(POSIX_FADV_DONTNEED) of the whole file.
  const files = [node, program, ...(readdirSync(host.store, { recursive: true }) as string[]).map((name) => join(host.store, name))];
  for (const file of files) {
    if (!statSync(file).isFile()) continue;
    execFileSync('dd', [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none']);
  }
}

interface Took {
  readonly wall: number;
  /** User and system time of the process and of those that it started. */
  readonly cpu: number;
}

/** Milliseconds. The shell's `time` knows what a process that has ended took; it adds its own start, a few milliseconds, to the wall clock. */
function time(command: string, args: readonly string[]): Took {
  const started = performance.now();
  const { status, stderr } = spawnSync('bash', ['-c', 'TIMEFORMAT="took %U %S"; time "$@"', 'bash', command, ...args], {
    encoding: 'utf8',
  });
  const wall = performance.now() - started;
  if (status !== 0) throw new Error(`${command} ended with ${status}: ${stderr}`);
  const [, user, system] = /^took (\S+) (\S+)$/m.exec(stderr) ?? [];
  return { wall, cpu: (Number(user) + Number(system)) * 1000 };
}

/** Prints the medians; returns that of the wall clock. */
function measure(name: string, once: () => Took): number {
  const took = Array.from({ length: Number(values.runs) }, once);
  const sorted = (of: keyof Took) => took.map((one) => one[of]).sort((x, y) => x - y);
  const [wall, cpu] = [sorted('wall'), sorted('cpu')];
  const at = (times: readonly number[], share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0;
  const shown = (ms: number) => `${ms.toFixed(0).padStart(4)} ms`;
  console.log(
    `${name.padEnd(42)} median ${shown(at(wall, 0.5))}, of it at work ${shown(at(cpu, 0.5))}   fastest ${shown(at(wall, 0))}   p90 ${shown(at(wall, 0.9))}`,
  );
  return at(wall, 0.5);
}

try {
  measure('node -e 0, cold', plain);
  const median = measure(`recover --boot, ${WORKLOADS.length} workloads, cold`, boot);
  measure(`recover --boot, ${WORKLOADS.length} workloads, warm`, warm);
  if (median > LIMIT_MS) {
    console.error(`the median is over ${LIMIT_MS} ms`);
    process.exitCode = 1;
  }
} finally {
  rmSync(base, { recursive: true, force: true });
}
