import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readKubeletLock } from '../../src/lock/kubelet.ts';
import { until } from '../support/until.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const KUBELET = fileURLToPath(new URL('../support/host/kubelet.sh', import.meta.url));
const FREE_FOR = 700;

let dir: string;
let path: string;
let guard: ChildProcess | undefined;
let log: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'guard-'));
  path = join(dir, 'kubelet.lock');
  log = '';
});
afterEach(async () => {
  guard?.kill('SIGKILL');
  const holder = await holderPid();
  if (holder !== undefined) process.kill(holder, 'SIGKILL');
  await rm(dir, { recursive: true });
});

function startGuard(...command: string[]): ChildProcess {
  const flags = [`--kubelet-lock-file=${path}`, '--same-pid-namespace', `--free-for=${FREE_FOR}ms`, '--start-timeout=3s'];
  const child = spawn(process.execPath, [CLI, 'kubelet-guard', ...flags, '--', ...command], { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString();
  });
  guard = child;
  return child;
}

async function holderPid(): Promise<number | undefined> {
  const lock = await readKubeletLock({ path, samePidNamespace: true });
  return lock.state === 'held' ? lock.holder.pid : undefined;
}

/** As systemctl does it: starts a kubelet that goes on by itself, writes down that it did, and ends. */
const starting = () => ['sh', '-c', `date +%s%N >> ${join(dir, 'starts')}; setsid ${KUBELET} ${path} >/dev/null 2>&1 &`];
const starts = async () => (await readFile(join(dir, 'starts'), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '').length;

describe('kubelet-guard', () => {
  test('starts a kubelet when the lock has been free for a while, and again when that one leaves with status 0', async () => {
    startGuard(...starting());
    await until(() => log.includes('guarding'), 10_000);
    const begun = performance.now();
    const first = await until(holderPid, 10_000);
    expect(performance.now() - begun).toBeGreaterThan(FREE_FOR - 100);
    await until(() => log.includes('a kubelet holds the lock'));
    process.kill(first, 'SIGTERM');
    const second = await until(async () => {
      const holder = await holderPid();
      return holder !== undefined && holder !== first ? holder : undefined;
    }, 10_000);
    expect(second).not.toBe(first);
    expect(await starts()).toBe(2);
  });

  test('does not start one while another holds the lock, nor in the short time in which it changes hands', async () => {
    const pod = spawn(KUBELET, [path], { stdio: 'ignore' });
    await until(holderPid);
    startGuard(...starting());
    await until(() => log.includes('held by pid'), 10_000);
    const next = spawn(KUBELET, [path], { stdio: 'ignore' });
    await until(async () => {
      const lock = await readKubeletLock({ path, samePidNamespace: true });
      return lock.state === 'held' && lock.waiters.length > 0;
    });
    pod.kill('SIGTERM');
    await until(async () => (await holderPid()) === next.pid);
    // Long enough for the guard to have started one if it had counted the pause.
    await new Promise((resolve) => setTimeout(resolve, FREE_FOR * 1.5));
    expect(await starts()).toBe(0);
  });

  test('does not start one while it cannot tell whether the lock is held: a second kubelet would throw out the first', async () => {
    path = join(dir, 'missing/kubelet.lock');
    startGuard(...starting());
    await until(() => log.includes('unknown: '), 10_000);
    await new Promise((resolve) => setTimeout(resolve, FREE_FOR * 1.5));
    expect(await starts()).toBe(0);
  });

  test('takes a command that is the kubelet itself, and leaves it running when it ends', async () => {
    const child = startGuard(KUBELET, path);
    const kubelet = await until(holderPid, 10_000);
    await until(() => log.includes('a kubelet holds the lock'));
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(await holderPid()).toBe(kubelet);
  });

  test('says what went wrong and waits longer each time when the command brings no kubelet', async () => {
    await writeFile(path, '');
    startGuard('sh', '-c', `echo started >> ${join(dir, 'starts')}; exit 3`);
    await until(() => log.includes('sh ended with 3'), 10_000);
    await until(async () => (await starts()) === 2, 10_000);
    const waited = [...log.matchAll(/"freeForMs":(\d+),"msg":"no kubelet/g)].map(([, ms]) => Number(ms));
    expect(waited).toHaveLength(2);
    expect(waited[1]).toBeGreaterThanOrEqual(2 * FREE_FOR);
  });

  test('a command that cannot be run is an error in the log, not the end of the guard', async () => {
    const child = startGuard(join(dir, 'missing'));
    await until(() => log.includes('ENOENT'), 10_000);
    expect(child.exitCode).toBeNull();
  });
});
