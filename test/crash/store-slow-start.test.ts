/** The whole daemon, started on a disk that takes its time for everything that it is asked to keep. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';
import { until } from '../support/until.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
/** Nothing listens at port 1. */
const KUBECONFIG = JSON.stringify({
  'current-context': 'c',
  contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
  clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:1' } }],
  users: [{ name: 'u', user: { token: 't' } }],
});

let dir: string;
let tracer: ChildProcess | undefined;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'slow-start-'));
  await mkdir(join(dir, 'manifests'));
  await writeFile(join(dir, 'kubelet.conf'), KUBECONFIG);
  await prepareStore(join(dir, 'store'));
  await saveGeneration(join(dir, 'store'), SCHEDULER, sampleCopy('one'), ABOUT);
});

afterEach(async () => {
  if (tracer?.pid !== undefined && tracer.exitCode === null && tracer.signalCode === null) {
    const closed = once(tracer, 'close');
    process.kill(-tracer.pid, 'SIGKILL');
    await closed;
  }
  tracer = undefined;
  await rm(dir, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const strace = findProgram('strace');

describe.skipIf(skipLoudly('a start on a slow disk', strace === undefined ? 'strace is not installed' : undefined))('a daemon', () => {
  test('that starts on a disk on which every fsync takes 20 s has decided something before the first of them is done, and is alive', {
    timeout: 60_000,
  }, async () => {
    const port = await freePort();
    const slow = ['-e', 'trace=fsync,fdatasync', '-e', 'inject=fsync,fdatasync:delay_enter=20000000'];
    const flags = [
      '--node-name=n1',
      `--kubeconfig=${join(dir, 'kubelet.conf')}`,
      `--pod-manifest-path=${join(dir, 'manifests')}`,
      `--checkpoint-dir=${join(dir, 'store')}`,
      `--lock-file=${join(dir, 'lock')}`,
      `--container-runtime-endpoint=unix://${join(dir, 'nothing.sock')}`,
      `--metrics-address=127.0.0.1:${port}`,
    ];
    const args = ['-f', '-qq', '-o', '/dev/null', ...slow, process.execPath, CLI, 'run', ...flags];
    // A group of its own, so that the daemon ends with what traces it.
    tracer = spawn(strace ?? '', args, { stdio: 'ignore', detached: true });
    const ask = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
    await until(async () => (await ask('/livez').catch(() => 0)) === 200, 20_000);
    const leading = performance.now();
    await until(async () => (await ask('/readyz')) === 200, 15_000);
    expect(performance.now() - leading).toBeLessThan(15_000);
    expect(await ask('/livez')).toBe(200);
  });
});
