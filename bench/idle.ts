// What the daemon costs while nothing happens, on the embedded node with a self-hosted control plane of three workloads and the checkpointer itself: CPU
// time, resident memory, API requests, bytes written. The one that leads, and the one that waits for it.
//
//     npm run build && node scripts/executable.ts && node bench/idle.ts [--seconds=600] [--program=dist/checkpointer-linux-x64] [--json=<file>]
//
// A program that ends in .js runs in this Node. The environment is that of the image.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { V1DaemonSet } from '@kubernetes/client-node';
import { load } from 'js-yaml';
import { statusPath } from '../src/checkpoint/store/paths.ts';
import { install } from '../src/embedded/demo/story.ts';
import { createNode } from '../src/embedded/node/node.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '600' },
    program: { type: 'string', default: `dist/checkpointer-linux-${process.arch}` },
    json: { type: 'string' },
  },
});
const seconds = Number(values.seconds);
const LIMITS = { rssMiB: 72, cpuPercent: 0.1 };
const program = resolve(values.program);
interface AuditLine {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource?: string; readonly subresource?: string };
}

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

const work = mkdtempSync(join(tmpdir(), 'idle-'));
const audit = join(work, 'audit.log');
const node = await createNode({
  embedded: [process.execPath, resolve('dist/embedded.js')],
  // env(1) becomes the program: what is measured is the daemon alone.
  checkpointer: [
    '/usr/bin/env',
    'MALLOC_ARENA_MAX=1',
    'MALLOC_TRIM_THRESHOLD_=65536',
    ...(program.endsWith('.js') ? [process.execPath] : []),
    program,
  ],
  checkpointerFlags: ['--prove-after=2s'],
  apiserverFlags: [`--audit-log-path=${audit}`],
});
try {
  await install(node);
  await probeAsReleased();
  const settled = async () => readFileSync(statusPath(node.layout.checkpointDir), 'utf8').split('"Protected"').length >= 4;
  await node.waitFor('every workload to be protected', settled, 120_000);
  const leader = (JSON.parse(readFileSync(join(node.layout.checkpointDir, 'leader.json'), 'utf8')) as { pid: number }).pid;
  const daemons = daemonsOf(node.id).sort((a, b) => Number(b === leader) - Number(a === leader));
  // What the start left to be collected and written is no cost of rest.
  await sleep(10_000);
  const requestsBefore = requests().length;
  const before = daemons.map(sample);
  await sleep(seconds * 1000);
  const after = daemons.map(sample);
  const asked = requests().slice(requestsBefore);
  const rows = daemons.map((pid, i) => ({
    daemon: pid === leader ? 'leads' : 'waits',
    rssMiB: round((after[i]?.rss ?? 0) / 1024, 1),
    anonymousMiB: round((after[i]?.anonymous ?? 0) / 1024, 1),
    cpuSeconds: round((after[i]?.cpu ?? 0) - (before[i]?.cpu ?? 0), 2),
    cpuPercent: round((((after[i]?.cpu ?? 0) - (before[i]?.cpu ?? 0)) / seconds) * 100, 3),
    bytesWritten: (after[i]?.written ?? 0) - (before[i]?.written ?? 0),
  }));
  console.table(rows);
  const byVerb = Object.fromEntries([...new Set(asked)].sort().map((verb) => [verb, asked.filter((one) => one === verb).length]));
  console.log(`API requests in ${seconds} s, those of the kubelet included: ${JSON.stringify(byVerb)}`);
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${execFileSync('uname', ['-r'], { encoding: 'utf8' }).trim()}, Node ${process.version}`;
  console.log(machine);
  if (values.json !== undefined)
    writeFileSync(
      values.json,
      `${JSON.stringify({ bench: 'idle', seconds, machine, program: values.program, rows, requests: byVerb }, null, 2)}\n`,
    );
  const over = rows.filter(({ rssMiB, cpuPercent }) => rssMiB > LIMITS.rssMiB || cpuPercent > LIMITS.cpuPercent);
  if (over.length > 0 || asked.some((one) => one.startsWith('list '))) {
    console.error(`over the limits: ${LIMITS.rssMiB} MiB, ${LIMITS.cpuPercent} % of a core, no list`);
    process.exitCode = 1;
  }
} finally {
  await node.destroy();
  rmSync(work, { recursive: true, force: true });
}

/**
 * The embedded control plane probes every second, so that a demo is short; each probe is a request that costs. Here the checkpointer is probed as
 * manifests/base has it, and so rolled: measured are the new pod and the copy of it.
 */
async function probeAsReleased(): Promise<void> {
  const { spec } = load(readFileSync('manifests/base/daemonset.yaml', 'utf8')) as V1DaemonSet;
  const released = spec?.template.spec?.containers[0];
  const before = daemonsOf(node.id);
  const operations = (['livenessProbe', 'readinessProbe'] as const).flatMap((probe) => ({
    op: 'replace',
    path: `/spec/template/spec/containers/0/${probe}/periodSeconds`,
    value: released?.[probe]?.periodSeconds,
  }));
  const path = '/apis/apps/v1/namespaces/kube-system/daemonsets/pod-checkpointer';
  await node.api().request('PATCH', path, operations, { contentType: 'application/json-patch+json' });
  const rolled = () => {
    const now = daemonsOf(node.id);
    return now.length === 2 && now.every((pid) => !before.includes(pid));
  };
  await node.waitFor('the new pod of the checkpointer, and its copy', rolled, 180_000);
}

/** Processes of the node that are the daemon: the program, with `run` among its arguments. */
function daemonsOf(nodeId: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const words = read(pid, 'cmdline').split('\0');
      // Not the container's first process, which only has the daemon's command line as its own arguments.
      const first = program.endsWith('.js') ? 1 : 0;
      return words[first] === program && words[first + 1] === 'run' && read(pid, 'environ').includes(nodeId);
    });
}

function sample(pid: number): { readonly rss: number; readonly anonymous: number; readonly cpu: number; readonly written: number } {
  const status = read(pid, 'status');
  const kib = (field: string) => Number(new RegExp(`^${field}:\\s+([0-9]+) kB$`, 'm').exec(status)?.[1] ?? Number.NaN);
  // Behind the name in parentheses, which may hold spaces: utime and stime are the fields 14 and 15 (proc(5)).
  const fields = read(pid, 'stat')
    .replace(/^.*\) /s, '')
    .split(' ');
  const cpu = (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
  return {
    rss: kib('VmRSS'),
    anonymous: kib('RssAnon'),
    cpu,
    written: Number(/^write_bytes: ([0-9]+)$/m.exec(read(pid, 'io'))?.[1] ?? Number.NaN),
  };
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It ended.
    return '';
  }
}

/** What was asked as the node, which is the kubelet too, or as the checkpointer's account: `patch nodes/status`. */
function requests(): string[] {
  const lines = readFileSync(audit, 'utf8').split('\n').slice(0, -1);
  return lines
    .map((line) => JSON.parse(line) as AuditLine)
    .filter(({ user }) => /^system:node:|:pod-checkpointer$/.test(user.username))
    .map(({ verb, user, objectRef }) => {
      const as = user.username.startsWith('system:node:') ? '' : ' as the account';
      return `${verb} ${[objectRef?.resource, objectRef?.subresource].filter((part) => part !== undefined).join('/')}${as}`;
    });
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
