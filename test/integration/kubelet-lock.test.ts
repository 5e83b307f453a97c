import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deviceOf, locksOn, mountOf, readKubeletLock, watchKubeletLock } from '../../src/lock/kubelet.ts';
import { createKubeletLockSource } from '../../src/sources/kubelet-lock.ts';
import { checkpointer } from '../support/host/host.ts';
import { watchOpens } from '../support/host/inotify.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
let dir: string;
let path: string;
let children: ChildProcess[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'kubelet-lock-'));
  path = join(dir, 'kubelet.lock');
  children = [];
});
afterEach(async () => {
  for (const child of children) {
    child.kill('SIGKILL');
    child.stdin?.destroy();
  }
  await rm(dir, { recursive: true });
});

/** This machine's first PID namespace is not that of every test machine. */
const read = () => readKubeletLock({ path, samePidNamespace: true });
const command = (...argv: string[]) => checkpointer('kubelet-lock', ...argv, `--kubelet-lock-file=${path}`);
const seeing = (...argv: string[]) => command(...argv, '--same-pid-namespace');

/** A process that takes the lock as a kubelet does and keeps it, being the one that /proc/locks names: perl has flock(2). */
async function kubelet(): Promise<ChildProcess> {
  const script = 'open(my $f, "+>>", $ARGV[0]) or die; flock($f, 2) or die; $| = 1; print "held\\n"; <STDIN>;';
  const child = spawn('perl', ['-e', script, path], { stdio: ['pipe', 'pipe', 'inherit'] });
  children.push(child);
  return child;
}
async function holding(): Promise<ChildProcess> {
  const child = await kubelet();
  await once(child.stdout ?? child, 'data');
  return child;
}

describe('the state of the kubelet lock', () => {
  test('is free without a file, free with one that nobody holds, held with its holder and who waits', async () => {
    expect(await read()).toEqual({ state: 'free', missing: true });
    await writeFile(path, '');
    expect(await read()).toEqual({ state: 'free', missing: false });
    const holder = await holding();
    const waiter = await kubelet();
    const lock = await until(async () => {
      const now = await read();
      return now.state === 'held' && now.waiters.length === 1 ? now : undefined;
    });
    expect(lock).toMatchObject({ holder: { pid: holder.pid }, waiters: [{ pid: waiter.pid }] });
    expect(lock.holder.command).toContain('perl');
    holder.kill('SIGKILL');
    await until(async () => {
      const now = await read();
      return now.state === 'held' && now.holder.pid === waiter.pid;
    });
    waiter.kill('SIGKILL');
    await until(async () => (await read()).state === 'free');
  });

  test('is held at every look while a hundred other locks come and go: the kernel gives their list in pieces', async () => {
    await holding();
    const script =
      'my @f = map { open(my $f, "+>>", "$ARGV[0].$_") or die; $f } 1..150; $| = 1; ' +
      'for (;;) { flock($_, 2) for @f; print "taken\\n" unless $n++; flock($_, 8) for @f }';
    const others = spawn('perl', ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(others);
    await once(others.stdout ?? others, 'data');
    const states = new Set<string>();
    for (let i = 0; i < 400; i++) states.add((await read()).state);
    expect([...states]).toEqual(['held']);
  });

  test('is unknown for a directory in its place, and where the directory of the file is missing', async () => {
    await mkdir(path);
    expect(await read()).toMatchObject({ state: 'unknown', detail: expect.stringContaining('not a regular file') });
    expect(await readKubeletLock({ path: join(dir, 'missing', 'lock'), samePidNamespace: true })).toMatchObject({ state: 'unknown' });
  });

  test('only locks of flock(2) on this very file count', async () => {
    const locks = [
      '1: OFDLCK ADVISORY  WRITE -1 fe:00:7 0 EOF',
      '2: POSIX  ADVISORY  WRITE 11 fe:00:7 0 EOF',
      '3: FLOCK  ADVISORY  WRITE 12 fe:01:7 0 EOF',
      '4: FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF',
      '5: FLOCK  ADVISORY  WRITE 14 fe:00:7 0 EOF',
      '5: -> FLOCK  ADVISORY  WRITE 15 fe:00:7 0 EOF',
      '5:  -> FLOCK  ADVISORY  WRITE 16 fe:00:7 0 EOF',
    ].join('\n');
    expect(locksOn(locks, 'fe:00', 7n)).toEqual({ holder: 14, waiters: [15, 16] });
  });

  test.each([
    [0xfe00n, 'fe:00'],
    [0x1cn, '00:1c'],
    // Major 259, minor 300: the bits beyond the first twelve and eight lie above each other.
    [0x11032cn, '103:12c'],
  ])('device %d is printed as the kernel prints it', (dev, text) => {
    expect(deviceOf(dev)).toBe(text);
  });
});

test('the mount of a path is the deepest and latest one above it', () => {
  const mounts = [
    '27 1 254:0 / / rw,relatime - ext4 /dev/vda rw',
    '28 27 0:25 / /run rw shared:1 master:2 - tmpfs tmpfs rw',
    '29 28 0:26 / /run/a\\040b rw - tmpfs tmpfs rw',
    '30 27 0:300 /x /run rw - btrfs /dev/vdb rw',
  ].join('\n');
  expect(mountOf(mounts, '/etc/file')).toMatchObject({ device: 'fe:00', type: 'ext4' });
  expect(mountOf(mounts, '/running')).toMatchObject({ device: 'fe:00' });
  expect(mountOf(mounts, '/run/a b/file')).toMatchObject({ device: '00:1a' });
  expect(mountOf(mounts, '/run/lock/file')).toMatchObject({ device: '00:12c', type: 'btrfs' });
});

describe('what is missing is not taken for a lock that is free', () => {
  test('where /proc shows no locks', async () => {
    await writeFile(path, '');
    const proc = join(dir, 'proc');
    expect(await readKubeletLock({ path, proc, samePidNamespace: true })).toMatchObject({ state: 'unknown' });
    await mkdir(join(proc, 'self'), { recursive: true });
    await writeFile(join(proc, 'locks'), '');
    expect(await readKubeletLock({ path, proc, samePidNamespace: true })).toMatchObject({ state: 'unknown' });
    await writeFile(join(proc, 'self/mountinfo'), await readFile('/proc/self/mountinfo'));
    // It does not say which PID namespace that is.
    expect(await readKubeletLock({ path, proc })).toMatchObject({ state: 'unknown' });
    expect(await readKubeletLock({ path, proc, samePidNamespace: true })).toEqual({ state: 'free', missing: false });
  });

  test('and a holder that is gone, or shown as 0, still holds it', async () => {
    await writeFile(path, '');
    const { dev, ino } = await stat(path, { bigint: true });
    const proc = join(dir, 'proc');
    await mkdir(join(proc, 'self'), { recursive: true });
    await writeFile(join(proc, 'self/mountinfo'), await readFile('/proc/self/mountinfo'));
    for (const pid of [0, -1, 4_000_000]) {
      await writeFile(join(proc, 'locks'), `1: FLOCK  ADVISORY  WRITE ${pid} ${deviceOf(dev)}:${ino} 0 EOF\n`);
      expect(await readKubeletLock({ path, proc, samePidNamespace: true })).toMatchObject({
        state: 'held',
        holder: { pid, command: undefined },
        waiters: [],
      });
    }
  });
});

describe('a lock file that is removed under its holder', () => {
  test('is still held, also when there is another file of its name, until its holder is gone', async () => {
    const look = watchKubeletLock({ path, samePidNamespace: true });
    const holder = await holding();
    expect(await look()).toMatchObject({ state: 'held', holder: { pid: holder.pid } });
    await rm(path);
    expect(await look()).toMatchObject({ state: 'held', holder: { pid: holder.pid } });
    await writeFile(path, '');
    expect(await look()).toMatchObject({ state: 'held', holder: { pid: holder.pid } });
    const next = await holding();
    expect(await look()).toMatchObject({ state: 'held', holder: { pid: next.pid } });
    for (const child of [holder, next]) child.kill('SIGKILL');
    await until(async () => (await look()).state === 'free');
  });
});

describe.skipIf(skipLoudly('the kubelet lock on overlayfs', missingForOverlay()))('on overlayfs', () => {
  /** What `kubelet-lock status` says of a lock that is held there. */
  const status = (lower: string, options: string) => {
    const script = `set -e; mount -t tmpfs tmpfs "$1"; cd "$1"; mkdir l u w m; mount -t overlay -o "lowerdir=${'$'}5,upperdir=u,workdir=w${'$'}6" overlay m
      flock -x -o m/kubelet.lock "$2" "$3" kubelet-lock status --same-pid-namespace "--kubelet-lock-file=$4"`;
    const there = join(dir, 'm/kubelet.lock');
    return spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', dir, process.execPath, CLI, there, lower, options], {
      encoding: 'utf8',
    });
  };

  test('of one file system a lock that is held is seen', () => {
    const { stdout, status: code } = status('l', '');
    expect([code, stdout]).toEqual([0, expect.stringContaining('held')]);
  });

  test('of two file systems, whose numbers are not those of /proc/locks, a lock that is held is not called free', () => {
    const { stdout, status: code } = status('/usr/share', ',xino=off');
    expect([code, stdout]).toEqual([4, expect.stringMatching(/unknown: .*\(overlay\) gives files other device numbers/)]);
  });

  test('of two file systems with numbers in common, a lock that is held is seen', () => {
    const { stdout, status: code } = status('/usr/share', ',xino=on');
    expect([code, stdout]).toEqual([0, expect.stringContaining('held')]);
  });
});

const namespaces = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0;

describe.skipIf(skipLoudly('PID namespaces', namespaces ? undefined : 'unshare --pid needs root and util-linux'))(
  'in a PID namespace',
  () => {
    const inside = () =>
      spawnSync(
        'unshare',
        ['--pid', '--fork', '--mount-proc', process.execPath, CLI, 'kubelet-lock', 'status', `--kubelet-lock-file=${path}`],
        { encoding: 'utf8' },
      );

    test('a lock that is held outside is not shown, so that one that looks free is unknown; the message says what is needed', async () => {
      await holding();
      const { status, stdout } = inside();
      expect(status).toBe(4);
      expect(stdout).toContain('hostPID: true');
    });
  },
);

describe('nothing of ours opens the file', () => {
  test('not the status, not the wait, not the source of the daemon, not the guard; contend does', async () => {
    await holding();
    const watched = await watchOpens(path);
    expect((await seeing('status')).code).toBe(0);
    expect((await seeing('wait', '--timeout=300ms')).code).toBe(124);
    await createKubeletLockSource(path).read();
    const guard = spawn(process.execPath, [CLI, 'kubelet-guard', `--kubelet-lock-file=${path}`, '--same-pid-namespace', '--', 'true'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(guard);
    let log = '';
    guard.stderr.on('data', (chunk: Buffer) => {
      log += chunk.toString();
    });
    await until(() => log.includes('held by pid'), 10_000);
    expect(watched.touched()).toBe(false);
    expect((await command('contend', '--timeout=300ms')).code).toBe(124);
    await until(() => watched.touched());
    watched.stop();
  });
});

describe('the command', () => {
  test('status: 0 held, 3 free; and as JSON', async () => {
    await writeFile(path, '');
    expect(await seeing('status')).toMatchObject({ code: 3, out: expect.stringContaining('free') });
    const { pid } = await holding();
    const { code, out } = await seeing('status', '-o', 'json');
    expect([code, JSON.parse(out)]).toEqual([
      0,
      expect.objectContaining({ version: 1, state: 'held', holder: expect.objectContaining({ pid }) }),
    ]);
  });

  test('wait: until it is free', async () => {
    const holder = await holding();
    const waiting = seeing('wait', '--timeout=20s');
    holder.kill('SIGKILL');
    expect((await waiting).code).toBe(0);
  });

  test('wait: until it is held', async () => {
    const waiting = seeing('wait', '--for=held', '--timeout=20s');
    await holding();
    expect((await waiting).code).toBe(0);
  });

  test('contend: takes it when its holder leaves, holds it for as long as asked, and gives it up', async () => {
    const holder = await holding();
    const contending = command('contend', '--hold=1500ms', '--timeout=20s');
    await until(async () => {
      const lock = await read();
      return lock.state === 'held' && lock.waiters.length > 0;
    }, 10_000);
    holder.kill('SIGKILL');
    await until(async () => {
      const lock = await read();
      return lock.state === 'held' && lock.holder.pid !== holder.pid;
    });
    const { code, out } = await contending;
    expect([code, out]).toEqual([0, `holding ${path}\ngave up ${path}\n`]);
    expect(await read()).toEqual({ state: 'free', missing: false });
  });

  const contending = () => {
    const child = spawn(process.execPath, [CLI, 'kubelet-lock', 'contend', `--kubelet-lock-file=${path}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    children.push(child);
    return child;
  };

  test.each(['SIGTERM', 'SIGINT'] as const)('contend: %s gives it up, and ends with 0', async (signal) => {
    const child = contending();
    await once(child.stdout, 'data');
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect((await stat(path)).isFile()).toBe(true);
    expect((await read()).state).toBe('free');
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('contend: %s while it waits ends it with %d, because it never held the lock', async (signal, code) => {
    await holding();
    const child = contending();
    // "is held: waiting".
    await once(child.stderr, 'data');
    child.kill(signal);
    expect(await once(child, 'exit')).toEqual([code, null]);
    expect((await read()).state).toBe('held');
  });

  test.each(['--hold=600h', '--timeout=9999h'])('contend: %s is longer than any timer, and refused', async (flag) => {
    expect(await command('contend', flag)).toMatchObject({ code: 2, err: expect.stringContaining('at most 596h') });
  });
});

function missingForOverlay(): string | undefined {
  const script =
    'mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir u w m && mount -t overlay -o lowerdir=/usr/share,upperdir=u,workdir=w,xino=on overlay m';
  return spawnSync('unshare', ['--mount', 'sh', '-c', script]).status === 0 ? undefined : 'no overlay can be mounted; needs root';
}
