import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acquireLeaderLock, tryLeaderLock } from '../../src/lock/leader.ts';
import { readLeader } from '../../src/status.ts';
import { checkpointer as checkpointerCommand, testHost } from '../support/host/host.ts';
import { Program } from '../support/lines.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const CANDIDATE = join(import.meta.dirname, '../support/lock/candidate.ts');
/** Nothing listens at port 1. */
const KUBECONFIG = JSON.stringify({
  'current-context': 'c',
  contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
  clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:1' } }],
  users: [{ name: 'u', user: { token: 't' } }],
});
const isolated = (command: string, ...more: string[]) =>
  spawnSync('unshare', ['--mount', ...more, 'sh', '-c', command], { encoding: 'utf8', env: { ...process.env, NODE: process.execPath } });
const namespaces = isolated('true', '--pid', '--fork').status === 0 ? undefined : 'unshare --mount --pid needs root and util-linux';

let directory: string;
let path: string;
let ends: (() => Promise<unknown> | unknown)[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'leader-orders-'));
  path = join(directory, 'pod-checkpointer.lock');
  ends = [];
});
afterEach(async () => {
  await Promise.all(ends.map((end) => end()));
  await rm(directory, { recursive: true, force: true });
});

/** Somebody who wants the lock, whoever he is. */
interface Contender {
  waits(): Promise<void>;
  leads(): boolean;
  kill(): void;
}

function checkpointer(): Contender {
  const program = new Program(CANDIDATE, [path]);
  ends.push(() => program.kill());
  return {
    waits: () => until(() => program.lines.includes('waiting') || program.lines.includes('leads')).then(() => undefined),
    leads: () => program.lines.includes('leads') && program.child.signalCode === null,
    kill: () => void program.child.kill('SIGKILL'),
  };
}

/** flock(1) holding the lock for a shell, in a process group of its own, so that all of it can be killed. */
function shell(): Contender {
  const child: ChildProcess = spawn('flock', ['-x', path, 'sh', '-c', 'echo leads; sleep 600'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  const kill = () => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  ends.push(kill);
  const blocked = async () => (await readFile(`/proc/${child.pid}/wchan`, 'utf8').catch(() => '')).includes('lock') || output !== '';
  return {
    waits: () => until(async () => (await blocked()) || inLocks(child.pid)).then(() => undefined),
    leads: () => output.includes('leads') && child.signalCode === null,
    kill,
  };
}

async function inLocks(pid: number | undefined): Promise<boolean> {
  return new RegExp(`FLOCK +ADVISORY +WRITE ${pid} `).test(await readFile('/proc/locks', 'utf8'));
}

const KINDS = { checkpointer, shell } as const;
type Kind = keyof typeof KINDS;
const ORDERS: Kind[][] = [
  ['checkpointer', 'checkpointer', 'shell'],
  ['checkpointer', 'shell', 'checkpointer'],
  ['shell', 'checkpointer', 'checkpointer'],
];

describe('two checkpointers and flock(1)', () => {
  test.each(ORDERS)('%s, %s, %s: one leads at a time, and each in turn when the leader is killed', async (...order) => {
    const contenders: Contender[] = [];
    for (const kind of order) {
      const contender = KINDS[kind]();
      contenders.push(contender);
      await contender.waits();
    }
    let left = contenders;
    while (left.length > 0) {
      const current = left;
      const leader = await until(() => current.find((contender) => contender.leads()));
      expect(current.filter((contender) => contender.leads())).toHaveLength(1);
      leader.kill();
      left = current.filter((contender) => contender !== leader);
    }
  });
});

test('a lock that is held is not waited for by who only tries', async () => {
  const held = await tryLeaderLock(path);
  expect(await tryLeaderLock(path)).toBeUndefined();
  held?.release();
  (await tryLeaderLock(path))?.release();
});

test('the holder and the next one notice that the file was deleted and made again', async () => {
  const old = await acquireLeaderLock({ path, signal: new AbortController().signal, onWaiting: () => undefined });
  expect(old.isCurrent()).toBe(true);
  await rename(path, `${path}.old`);
  expect(old.isCurrent()).toBe(false);
  await writeFile(path, '');
  expect(old.isCurrent()).toBe(false);
  const current = await tryLeaderLock(path);
  expect(current?.isCurrent()).toBe(true);
  current?.release();
  old.release();
});

test('a daemon whose lock file is replaced ends, to be started again and wait for whoever leads by then', async () => {
  await using host = await testHost();
  await writeFile(join(host.dir, 'kubelet.conf'), KUBECONFIG);
  const daemon = checkpointerCommand('run', '--node-name=n1', ...host.flags(), `--container-runtime-endpoint=unix://${host.dir}/none.sock`);
  await until(() => readLeader(host.store), 10_000);
  await rename(host.lockFile, `${host.lockFile}.old`);
  await writeFile(host.lockFile, '');
  const { code, err } = await daemon;
  expect([code, err]).toEqual([1, expect.stringContaining('was removed or replaced: another checkpointer may lead now')]);
});

describe.skipIf(skipLoudly('lock files in namespaces and on full disks', namespaces))('elsewhere', () => {
  test('one in a container of its own and one on the host: one leads, the other takes over', async () => {
    const inside = spawn('unshare', ['--pid', '--fork', '--mount-proc', '--kill-child', process.execPath, CANDIDATE, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    inside.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    ends.push(() => inside.kill('SIGKILL'));
    await until(() => output.includes('leads'));
    const host = checkpointer();
    await host.waits();
    expect(host.leads()).toBe(false);
    inside.kill('SIGKILL');
    await until(() => host.leads());
  });

  const onTmpfs = (options: string, prepare: string) =>
    isolated(`mount -t tmpfs -o ${options} tmpfs ${directory} && ${prepare} && exec timeout -s TERM 3 "$NODE" ${CANDIDATE} ${path}`);

  test('a full disk is no obstacle for a lock file that is there', () => {
    const { stdout } = onTmpfs('size=4k', `touch ${path} && (head -c 8192 /dev/zero > ${directory}/fill || true)`);
    expect(stdout).toContain('leads');
  });

  test('a disk without room for a lock file is an error that names it', () => {
    const { stdout } = onTmpfs('nr_inodes=2', `touch ${directory}/fill`);
    expect(stdout).toContain(`failed: Error: lock file ${path}: ENOSPC`);
  });

  test('a read-only disk is an error that names it', () => {
    const { stdout } = onTmpfs('size=4k', `touch ${path} && mount -o remount,ro ${directory}`);
    expect(stdout).toContain(`failed: Error: lock file ${path}: EROFS`);
  });
});
