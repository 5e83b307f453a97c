import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { acquireLeaderLock, type LeaderLock, watchLock } from '../../src/lock/leader.ts';
import { Program } from '../support/lines.ts';
import { until } from '../support/until.ts';

const CANDIDATE = join(import.meta.dirname, '../support/lock/candidate.ts');
const TAKEOVERS = 20;

let directory: string;
let path: string;
let programs: Program[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'leader-'));
  path = join(directory, 'pod-checkpointer.lock');
  programs = [];
});

afterEach(async () => {
  await Promise.all(programs.map((program) => program.kill()));
  await rm(directory, { recursive: true });
});

function candidate(env?: NodeJS.ProcessEnv): Program {
  const program = new Program(CANDIDATE, [path], env);
  programs.push(program);
  return program;
}

const acquire = (signal = new AbortController().signal, onWaiting = (): void => undefined): Promise<LeaderLock> =>
  acquireLeaderLock({ path, signal, onWaiting });

/** Exit code of `flock -n <path> true`: 0 if the lock is free. */
const flockFromShell = (): number | null => spawnSync('flock', ['-n', path, 'true']).status;

/** Arguments of the children of a process. */
async function childrenOf(pid: number | undefined): Promise<string[]> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim();
  const pids = children === '' ? [] : children.split(' ');
  return await Promise.all(pids.map(async (child) => (await readFile(`/proc/${child}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim()));
}

describe('the leader lock', () => {
  test(`of two processes one leads; when it is killed the other takes over within 1 s, ${TAKEOVERS} times in a row`, {
    timeout: 60_000,
  }, async () => {
    let leader = candidate();
    await leader.says('leads');
    const times: number[] = [];
    for (let i = 0; i < TAKEOVERS; i++) {
      const next = candidate();
      await next.says('waiting');
      expect(next.lines).not.toContain('leads');
      const killedAt = performance.now();
      leader.child.kill('SIGKILL');
      await next.says('leads');
      times.push(performance.now() - killedAt);
      leader = next;
    }
    console.log(`takeover after SIGKILL, ${TAKEOVERS} times: at most ${Math.max(...times).toFixed(1)} ms`);
    expect(Math.max(...times)).toBeLessThan(1_000);
  });

  test('is given back by release, once', async () => {
    const lock = await acquire();
    expect(flockFromShell()).toBe(1);
    lock.release();
    lock.release();
    expect(flockFromShell()).toBe(0);
  });

  test('is a lock file of mode 0600, and stays with the process after flock(1) has ended', async () => {
    const lock = await acquire();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await childrenOf(process.pid)).not.toContainEqual(expect.stringContaining('flock'));
    expect(flockFromShell()).toBe(1);
    lock.release();
  });

  test('waits for a lock that a shell took with flock(1)', async () => {
    const shell = spawn('flock', ['-x', path, 'sh', '-c', 'echo locked; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(shell.stdout, 'data');
    let waiting = 0;
    const acquired = acquire(undefined, () => waiting++);
    await until(() => waiting === 1);
    shell.stdin.end('\n');
    (await acquired).release();
    expect(waiting).toBe(1);
  });

  test('an abort while waiting ends the wait and leaves no process behind', async () => {
    const lock = await acquire();
    const ended = new AbortController();
    const waits = new Promise<void>((resolve) => {
      acquire(ended.signal, resolve).catch(() => undefined);
    });
    await waits;
    await until(async () => (await childrenOf(process.pid)).includes('flock -x 3'));
    const second = acquire(ended.signal);
    ended.abort(new Error('told to end'));
    await expect(second).rejects.toThrow('told to end');
    await until(async () => !(await childrenOf(process.pid)).some((args) => args.startsWith('flock')));
    lock.release();
    expect(flockFromShell()).toBe(0);
  });

  test('SIGTERM to a waiting process ends it at once', async () => {
    const lock = await acquire();
    const waiter = candidate();
    await waiter.says('waiting');
    await waiter.kill('SIGTERM');
    expect(waiter.lines).toEqual(['waiting', 'gave up']);
    lock.release();
  });

  test('what a killed waiter leaves waiting delays nobody and ends with its turn', async () => {
    const lock = await acquire();
    const killed = candidate();
    await killed.says('waiting');
    await until(async () => (await childrenOf(killed.child.pid)).includes('flock -x 3'));
    const [orphan = ''] = (await readFile(`/proc/${killed.child.pid}/task/${killed.child.pid}/children`, 'utf8')).trim().split(' ');
    await killed.kill();
    const next = candidate();
    await next.says('waiting');
    const releasedAt = performance.now();
    lock.release();
    await next.says('leads');
    expect(performance.now() - releasedAt).toBeLessThan(1_000);
    await until(async () => !(await readFile(`/proc/${orphan}/cmdline`, 'utf8').catch(() => '')).startsWith('flock'));
  });

  test('a waiter locks the file that has the name, also when the one that it waited on was replaced', async () => {
    const old = await acquire();
    const waiter = candidate();
    await waiter.says('waiting');
    await rename(path, `${path}.old`);
    const current = await acquire();
    old.release();
    await until(async () => (await childrenOf(waiter.child.pid)).includes('flock -x 3'));
    expect(waiter.lines).toEqual(['waiting']);
    current.release();
    await waiter.says('leads');
  });

  test.each([
    ['a directory that does not exist', async () => join(directory, 'missing', 'lock'), /directory .*missing does not exist/],
    [
      'a directory in its place',
      async () => {
        await mkdir(join(directory, 'there'));
        return join(directory, 'there');
      },
      /is a directory/,
    ],
    [
      'a symbolic link in its place',
      async () => {
        await symlink('/etc/passwd', join(directory, 'link'));
        return join(directory, 'link');
      },
      /symbolic link/,
    ],
  ])('%s is an error that names it', async (_, make, message) => {
    const wrong = await make();
    const acquiring = acquireLeaderLock({ path: wrong, signal: new AbortController().signal, onWaiting: () => undefined });
    await expect(acquiring).rejects.toThrow(message);
    await expect(acquiring).rejects.toThrow(wrong);
  });

  test('a machine without flock(1) is told what to install', async () => {
    const program = candidate({ ...process.env, PATH: directory });
    await program.ended;
    expect(program.lines).toEqual([expect.stringContaining('install util-linux')]);
  });

  test('no descriptor of the lock file is left open by failures', async () => {
    const open = async (): Promise<number> => {
      const targets = await Promise.all((await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')));
      return targets.filter((target) => target === path).length;
    };
    const lock = await acquire();
    const ended = new AbortController();
    await expect(acquire(ended.signal, () => ended.abort())).rejects.toThrow();
    expect(await open()).toBe(1);
    lock.release();
    expect(await open()).toBe(0);
  });
});

describe('a leader notices that its lock file', () => {
  const NEVER = 3_600_000;

  test.each<[string, () => Promise<void>]>([
    ['was removed', () => rm(path)],
    [
      'was replaced',
      async () => {
        await writeFile(`${path}.other`, '');
        await rename(`${path}.other`, path);
      },
    ],
    ['was moved away', () => rename(path, `${path}.moved`)],
  ])('%s, without looking at it', async (_, change) => {
    const lock = await acquire();
    let lost = 0;
    const watching = watchLock(lock, () => lost++, { told: NEVER, untold: NEVER });
    await new Promise(setImmediate);
    await change();
    await until(() => lost === 1, 2_000);
    watching.close();
    lock.release();
  });

  test('lies in a directory that is another one now, by looking', async () => {
    const lock = await acquire();
    let lost = 0;
    const watching = watchLock(lock, () => lost++, { told: 20, untold: NEVER });
    await rename(directory, `${directory}.moved`);
    await mkdir(directory);
    await until(() => lost === 1, 2_000);
    watching.close();
    lock.release();
    await rm(`${directory}.moved`, { recursive: true });
  });

  test('was replaced before it began to watch', async () => {
    const lock = await acquire();
    await rm(path);
    let lost = 0;
    const watching = watchLock(lock, () => lost++, { told: NEVER, untold: NEVER });
    await until(() => lost === 1, 2_000);
    watching.close();
    lock.release();
  });

  test('is as it was, also while others try to lock it', async () => {
    const lock = await acquire();
    let lost = 0;
    const watching = watchLock(lock, () => lost++, { told: 20, untold: 20 });
    expect(flockFromShell()).toBe(1);
    await new Promise(setImmediate);
    expect(lost).toBe(0);
    watching.close();
    await rm(path);
    await new Promise(setImmediate);
    expect(lost).toBe(0);
    lock.release();
  });
});
