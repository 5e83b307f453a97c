/** A power cut may tear the kubeconfig. What brings the node back needs no API server, and so no kubeconfig. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CriServer } from '../support/cri/server.ts';
import { type Host, testHost } from '../support/host/host.ts';
import { until } from '../support/until.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

let host: Host;
let runtime: CriServer;
let child: ChildProcess | undefined;
beforeEach(async () => {
  host = await testHost();
  runtime = new CriServer(join(host.dir, 'cri.sock'));
  await runtime.start();
});
afterEach(async () => {
  if (child?.exitCode === null) {
    child.kill('SIGKILL');
    await once(child, 'close');
  }
  await runtime.stop();
  await host[Symbol.asyncDispose]();
});

function daemon(): { readonly log: () => string; readonly ended: Promise<unknown> } {
  const flags = [...host.flags(), '--node-name=n', '--metrics-address=0', `--container-runtime-endpoint=unix://${runtime.socket}`];
  child = spawn(process.execPath, [CLI, 'run', ...flags], { stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  child.stderr?.on('data', (data) => {
    log += data;
  });
  return { log: () => log, ended: once(child, 'close') };
}

describe('a daemon whose kubeconfig cannot be used', () => {
  it.each([
    ['is empty', ''],
    ['is gone', undefined],
  ])('brings back what is stored: it %s', async (_, content) => {
    await host.save('kube-apiserver');
    if (content !== undefined) await writeFile(join(host.dir, 'kubelet.conf'), content);
    const { log } = daemon();
    await until(async () => (await host.active()).length === 1, 20_000);
    expect(log()).toContain('goes on without an API server');
  });

  it('is one clear line and exit code 2 on a node where nothing is stored', async () => {
    await writeFile(join(host.dir, 'kubelet.conf'), '');
    const { log, ended } = daemon();
    await ended;
    expect(child?.exitCode).toBe(2);
    expect(log().trim().split('\n')).toHaveLength(1);
    expect(log()).toContain('kubelet.conf');
  });
});
