// What the daemon costs as the node grows: pods on it, marked pods among them, the size of their Secrets. From the start of the daemon with an empty store
// until every marked pod has its copy: time, CPU time, peak memory, requests to the API server. The API server is the embedded one; the container runtime is
// scripted, so that 500 pods need no 500 processes.
//
//     npm run build && node bench/growth.ts [--program=dist/checkpointer-linux-x64] [--json=<file>]
//
// A program that ends in .js runs in this Node.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readStatus } from '../src/status.ts';
import { CriServer } from '../test/support/cri/server.ts';
import { startCluster, type TestCluster } from '../test/support/embedded/cluster.ts';
import { until } from '../test/support/until.ts';

const { values } = parseArgs({ options: { program: { type: 'string', default: 'dist/checkpointer.js' }, json: { type: 'string' } } });
const program = resolve(values.program);
const command = program.endsWith('.js') ? [process.execPath, program] : [program];
const KIB = 1024;
/** USER_HZ, as every Linux of today has it. */
const TICKS_PER_SECOND = 100;

interface Case {
  readonly pods: number;
  readonly marked: number;
  /** Of each marked pod, in bytes. */
  readonly secret: number;
}
const CASES: readonly Case[] = [
  ...[5, 20, 110, 500].map((pods) => ({ pods, marked: 1, secret: KIB })),
  ...[1, 5, 10, 25, 50].map((marked) => ({ pods: 110, marked, secret: KIB })),
  ...[KIB, 64 * KIB, 512 * KIB, 1024 * KIB - 64].map((secret) => ({ pods: 20, marked: 5, secret })),
];

const rows: object[] = [];
for (const one of CASES) {
  const row = await measure(one);
  rows.push(row);
  console.log(JSON.stringify(row));
}
console.table(rows);
const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${release()}, Node ${process.version}`;
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ bench: 'growth', machine, rows }, null, 2)}\n`);

async function measure({ pods, marked, secret }: Case): Promise<object> {
  const work = mkdtempSync(join(tmpdir(), 'growth-'));
  const audit = join(work, 'audit.log');
  const cluster = await startCluster([`--audit-log-path=${audit}`]);
  const names = Array.from({ length: pods }, (_, i) => `pod-${i}`);
  const uids = await populate(cluster, names, marked, secret);
  const runtime = new CriServer(join(work, 'cri.sock'));
  Object.assign(runtime, running(names, uids));
  runtime.containerStatus = () => ({ state: 1, startedAt: BigInt(Date.now()) * 1_000_000n });
  await runtime.start();
  for (const name of ['manifests', 'lock']) mkdirSync(join(work, name));
  const store = join(work, 'store');
  const load = Math.round((loadavg()[0] ?? Number.NaN) * 10) / 10;
  const started = performance.now();
  const child = spawn(
    command[0] ?? '',
    [
      ...command.slice(1),
      'run',
      '--node-name=n1',
      `--kubeconfig=${cluster.pki.kubeletConf}`,
      `--checkpoint-dir=${store}`,
      `--pod-manifest-path=${join(work, 'manifests')}`,
      `--lock-file=${join(work, 'lock/leader')}`,
      `--container-runtime-endpoint=unix://${join(work, 'cri.sock')}`,
      '--metrics-address=0',
      // There are no controllers, and so no Service default/kubernetes.
      '--kubernetes-service=10.96.0.1:443',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536' } },
  );
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-4000);
  });
  try {
    const saved = async () =>
      Object.values((await readStatus(store))?.workloads ?? {}).filter((w) => w.newest !== undefined).length === marked;
    await until(saved, 120_000).catch((error: Error) => {
      throw new Error(`${error.message}\n${said}`);
    });
    const ms = Math.round(performance.now() - started);
    const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
    const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return {
      pods,
      marked,
      secretKiB: Math.round(secret / KIB),
      savedMs: ms,
      cpuMs: ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND,
      peakMiB: Math.round(Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1] ?? Number.NaN) / KIB),
      requests: requestsOf(audit),
      load,
    };
  } finally {
    const ended = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await ended;
    runtime.stop();
    await cluster.stop();
    rmSync(work, { recursive: true, force: true });
  }
}

/** Bare pods of the node n1, Running and Ready; each marked one mounts a Secret of its own. Their UIDs. */
async function populate(cluster: TestCluster, names: readonly string[], marked: number, secret: number): Promise<string[]> {
  const uids: string[] = [];
  await cluster.admin.request('POST', '/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } });
  for (const [i, name] of names.entries()) {
    const isMarked = i < marked;
    if (isMarked) {
      const data = { content: Buffer.alloc(Math.floor((secret * 3) / 4), 'x').toString('base64') };
      await cluster.admin.request('POST', '/api/v1/namespaces/kube-system/secrets', {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name },
        data,
      });
    }
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, ...(isMarked && { annotations: { 'checkpointer.alpha.coreos.com/checkpoint': 'true' } }) },
      spec: {
        nodeName: 'n1',
        hostNetwork: true,
        automountServiceAccountToken: false,
        containers: [
          { name: 'main', image: 'registry.local/sleep:1', ...(isMarked && { volumeMounts: [{ name: 's', mountPath: '/s' }] }) },
        ],
        ...(isMarked && { volumes: [{ name: 's', secret: { secretName: name } }] }),
      },
    };
    const made = (await cluster.admin.request('POST', '/api/v1/namespaces/kube-system/pods', pod)) as {
      readonly metadata: { readonly uid: string };
    };
    uids.push(made.metadata.uid);
    const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
    const path = `/api/v1/namespaces/kube-system/pods/${name}/status`;
    await cluster.admin.request('PATCH', path, { status }, { contentType: 'application/merge-patch+json' });
  }
  return uids;
}

function running(names: readonly string[], uids: readonly string[]): Pick<CriServer, 'sandboxes' | 'containers'> {
  const createdAt = BigInt(Date.now()) * 1_000_000n;
  const labels = (name: string, i: number) => ({
    'io.kubernetes.pod.name': name,
    'io.kubernetes.pod.namespace': 'kube-system',
    'io.kubernetes.pod.uid': uids[i] ?? '',
  });
  return {
    sandboxes: names.map((name, i) => ({
      id: `sandbox-${i}`,
      metadata: { name, uid: uids[i] ?? '', namespace: 'kube-system', attempt: 0 },
      state: 0,
      createdAt,
      labels: labels(name, i),
      annotations: { 'kubernetes.io/config.source': 'api' },
      runtimeHandler: '',
    })),
    containers: names.map((name, i) => ({
      id: `container-${i}`,
      podSandboxId: `sandbox-${i}`,
      metadata: { name: 'main', attempt: 0 },
      image: undefined,
      imageRef: '',
      state: 1,
      createdAt,
      labels: { ...labels(name, i), 'io.kubernetes.container.name': 'main' },
      annotations: {},
      imageId: '',
    })),
  };
}

/** Of the node's identity: everything that the daemon asked. */
function requestsOf(audit: string): number {
  if (!existsSync(audit)) return 0;
  const lines = readFileSync(audit, 'utf8').split('\n').slice(0, -1);
  return lines.filter((line) => (JSON.parse(line) as { readonly user: { readonly username: string } }).user.username === 'system:node:n1')
    .length;
}
