/** Health of real daemons: with nothing that answers them, and of two on one node. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../support/until.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
/** Nothing listens at port 1. */
const KUBECONFIG = JSON.stringify({
  'current-context': 'c',
  contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
  clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:1' } }],
  users: [{ name: 'u', user: { token: 't' } }],
});

let directory: string;
let daemons: { readonly child: ChildProcess; said(): string }[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'health-'));
  await mkdir(join(directory, 'manifests'));
  await writeFile(join(directory, 'kubelet.conf'), KUBECONFIG);
  daemons = [];
});
afterEach(async () => {
  await Promise.all(daemons.map(({ child }) => end(child)));
  await rm(directory, { recursive: true, force: true });
});

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGKILL');
  await closed;
}

function start(port: number): { readonly child: ChildProcess; said(): string } {
  const flags = [
    '--node-name=n1',
    `--kubeconfig=${join(directory, 'kubelet.conf')}`,
    `--pod-manifest-path=${join(directory, 'manifests')}`,
    `--checkpoint-dir=${join(directory, 'store')}`,
    `--lock-file=${join(directory, 'lock')}`,
    `--container-runtime-endpoint=unix://${join(directory, 'nothing.sock')}`,
    `--metrics-address=127.0.0.1:${port}`,
  ];
  const child = spawn(process.execPath, [CLI, 'run', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const daemon = { child, said: () => text };
  daemons.push(daemon);
  return daemon;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function ask(port: number, path: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`);
  return `${answer.status} ${await answer.text()}`;
}

test('a daemon without API server and without runtime is alive and ready, and its metrics say what is missing', async () => {
  const port = await freePort();
  start(port);
  await until(async () => (await ask(port, '/readyz')) === '200 ok', 20_000);
  expect(await ask(port, '/livez')).toBe('200 ok');
  expect(await ask(port, '/readyz?verbose')).toContain('[+]leader ok: leading\n');
  await until(async () => {
    const metrics = await ask(port, '/metrics');
    return metrics.includes('pod_checkpointer_api_answers_total{method="get",result="refused"}') && metrics;
  });
  const metrics = await ask(port, '/metrics');
  for (const line of ['leader 1', 'api_up 0', 'runtime_up 0', 'store_up 1', 'checkpointed 0', 'checkpoints{state="proven"} 0'])
    expect(metrics).toContain(`pod_checkpointer_${line}\n`);
  expect(metrics).toMatch(/pod_checkpointer_cri_answers_total\{operation="list",result="failed"\} [1-9]/);
  expect(metrics).toMatch(/pod_checkpointer_fsync_duration_seconds_count [1-9]/);
}, 40_000);

test('one that waits is alive and ready at an address that nobody has, and leads there when its turn comes', async () => {
  const [first, second] = [await freePort(), await freePort()];
  const leader = start(first);
  await until(async () => (await ask(first, '/readyz')) === '200 ok', 20_000);
  start(second);
  await until(async () => (await ask(second, '/readyz')) === '200 ok', 20_000);
  expect(await ask(second, '/livez')).toBe('200 ok');
  expect(await ask(second, '/readyz?verbose')).toContain('[+]leader ok: waiting: another checkpointer leads on this node\n');
  expect(await ask(second, '/metrics')).toContain('pod_checkpointer_leader 0\n');
  await end(leader.child);
  await until(async () => (await ask(second, '/metrics')).includes('pod_checkpointer_leader 1\n'), 30_000);
  expect(await ask(second, '/livez')).toBe('200 ok');
}, 60_000);

test('of two with one address the leader has it, and the next leader after it', async () => {
  const port = await freePort();
  const leader = start(port);
  await until(async () => (await ask(port, '/readyz')) === '200 ok', 20_000);
  const waiter = start(port);
  await until(() => waiter.said().includes('another checkpointer leads'), 20_000);
  expect(await ask(port, '/metrics')).toContain('pod_checkpointer_leader 1\n');
  await end(leader.child);
  await until(async () => (await ask(port, '/metrics')).includes('pod_checkpointer_leader 1\n'), 30_000);
  expect(waiter.child.exitCode).toBeNull();
}, 60_000);
