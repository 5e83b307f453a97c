import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';
import { connect, nodeKubeconfig, pod, podWithSecret, startServer, startSource } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

const CHILD = fileURLToPath(new URL('../support/api/source-child.ts', import.meta.url));

async function startChild(url: string): Promise<{ child: ChildProcess; output: () => string }> {
  const dir = await mkdtemp(path.join(tmpdir(), 'api-stop-'));
  const file = path.join(dir, 'kubelet.conf');
  await writeFile(file, await nodeKubeconfig(url), { mode: 0o600 });
  const child = spawn(process.execPath, [CHILD, file], { stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (chunk) => {
    output += chunk;
  });
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await rm(dir, { recursive: true });
  });
  return { child, output: () => output };
}

/** Nothing in the child calls exit: it ends because no handle is left. */
async function terminate(child: ChildProcess): Promise<number> {
  const before = performance.now();
  child.kill('SIGTERM');
  const [code, signal] = await once(child, 'exit');
  expect({ code, signal }).toEqual({ code: 0, signal: null });
  return performance.now() - before;
}

test('a process with open watches ends by itself when its source stops', async () => {
  const server = await startServer();
  server.put(podWithSecret('apiserver', 'tls'));
  const { child } = await startChild(server.url);
  await until(() => server.watches.length === 2);
  expect(await terminate(child)).toBeLessThan(1_000);
});

test('a process ends by itself while it waits for an API server that is away', async () => {
  const server = await startServer();
  await server.stop();
  const { child, output } = await startChild(server.url);
  await until(() => output().includes('unreachable'));
  expect(await terminate(child)).toBeLessThan(1_000);
});

test('a process ends by itself while an API server does not answer', async () => {
  const server = await startServer();
  server.hook = () => true;
  const { child } = await startChild(server.url);
  await until(() => server.requests.length === 1);
  expect(await terminate(child)).toBeLessThan(1_000);
});

test('stop ends requests under way, and nothing wakes anybody after it', async () => {
  const server = await startServer();
  server.put(pod('etcd'));
  let wakes = 0;
  const { source, state } = startSource(await connect(server.url), {
    onChange: () => {
      wakes += 1;
    },
  });
  await until(() => state() === 'ok' && server.watches.length === 1);
  server.hook = (request) => request.verb === 'get';
  const asking = source.confirmAbsence('kube-system', 'etcd', 'other');
  await until(() => server.count('get') === 1);
  await source.stop();
  await asking;
  const before = wakes;
  server.put(pod('dns'));
  await until(() => server.watches.length === 0);
  expect(wakes).toBe(before);
});
