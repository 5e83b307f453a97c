/**
 * The leader lock: `flock(2)`, exclusive, on one file of the node. DaemonSet pod, static copy and host unit may all run; one works, the others wait.
 *
 * Node has no flock(2). `flock -x 3` (util-linux, or busybox's) takes it on a descriptor that it inherits and ends; the lock belongs to the open file
 * description, which is still ours, so the kernel frees it when this process dies, however it dies.
 *
 * A process that is killed while it waits leaves its `flock -x 3` waiting alone. That one holds nothing, gets the lock when its turn comes, and ends at
 * once, which frees it: it delays nobody. In a container it dies with the container's first process, under systemd with its unit.
 *
 * In /proc/locks the lock stands under the pid of the ended `flock`, if it is shown at all: who leads has to be written down elsewhere.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, type FSWatcher, fstatSync, openSync, type Stats, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrno } from '../platform/durable.ts';

export interface LeaderLockOptions {
  /** `/run/lock/pod-checkpointer.lock`; made with mode 0600 where it does not exist, its directory is not. */
  readonly path: string;
  /** Ends the wait: the promise is rejected with the signal's reason. */
  readonly signal: AbortSignal;
  /** Called once, if another process holds the lock. */
  readonly onWaiting: () => void;
}

export interface LeaderLock {
  readonly path: string;
  /** False once the file was removed or replaced: whoever comes next locks another one, and then two lead. */
  isCurrent(): boolean;
  /** Lets the next one lead. A second call does nothing. */
  release(): void;
}

/** Waits until this process leads. Throws an Error that names the file and what to do if the lock cannot be taken at all. */
export async function acquireLeaderLock({ path, signal, onWaiting }: LeaderLockOptions): Promise<LeaderLock> {
  let waited = false;
  for (;;) {
    signal.throwIfAborted();
    // A number, not a FileHandle: the collector closes a forgotten handle, and the lock would go with it.
    const descriptor = open(path);
    try {
      if (!(await tryLock(descriptor, path, signal))) {
        if (!waited) onWaiting();
        waited = true;
        await waitForLock(descriptor, path, signal);
      }
      signal.throwIfAborted();
      const locked = fstatSync(descriptor);
      if (isStill(locked, path)) {
        let held = true;
        const release = (): void => {
          if (held) closeSync(descriptor);
          held = false;
        };
        return { path, release, isCurrent: () => held && isStill(locked, path) };
      }
      // The file was removed or replaced while we waited: whoever comes next locks the new one, and so must we.
      closeSync(descriptor);
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }
}

/** Leads if nobody else does; undefined if another process holds the lock. Never waits. Throws as acquireLeaderLock does. */
export async function tryLeaderLock(path: string): Promise<LeaderLock | undefined> {
  const gaveUp = new AbortController();
  try {
    return await acquireLeaderLock({ path, signal: gaveUp.signal, onWaiting: () => gaveUp.abort() });
  } catch (error) {
    if (gaveUp.signal.aborted) return undefined;
    throw error;
  }
}

export interface LockWatch {
  close(): void;
}

/** Between two looks at the lock file, in milliseconds: what inotify does not tell of is another directory or mount in the place of the file's own. */
const LOOK = { told: 5_000, untold: 1_000 } as const;

/**
 * Calls `onLost`, once, when the lock file was removed or replaced. The kernel tells of it at once: IN_ATTRIB when a file loses a name, which does not need
 * its last descriptor to be closed as IN_DELETE_SELF does, and IN_MOVE_SELF (inotify(7)). Where it cannot be asked, the file is looked at every second.
 */
export function watchLock(lock: LeaderLock, onLost: () => void, look: { told: number; untold: number } = LOOK): LockWatch {
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  function close(): void {
    closed = true;
    clearInterval(timer);
    watcher?.close();
  }
  function check(): void {
    if (closed || lock.isCurrent()) return;
    close();
    onLost();
  }
  function lookEvery(ms: number): void {
    clearInterval(timer);
    if (!closed) timer = setInterval(check, ms);
  }
  try {
    watcher = watch(lock.path, { persistent: false }, check);
    watcher.on('error', () => lookEvery(look.untold));
    lookEvery(look.told);
  } catch {
    // No more watches (ENOSPC), or the file went just now (ENOENT), which the first look shows.
    lookEvery(look.untold);
  }
  // What was replaced before it was watched.
  setImmediate(check);
  return { close };
}

/** Between two looks at whether somebody leads, in milliseconds. */
const GIVE_WAY_LOOK = 500;

/**
 * Lets whoever comes lead: returns when somebody leads, at once where somebody does already, or after `ms` milliseconds without. Only then is the lock to be
 * waited for. Never holds it for longer than a look. Throws as acquireLeaderLock does; a signal that is aborted ends it without an error.
 */
export async function giveWay(path: string, ms: number, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + ms;
  while (!signal.aborted) {
    const lock = await tryLeaderLock(path);
    if (lock === undefined) return;
    lock.release();
    const left = deadline - performance.now();
    if (left <= 0) return;
    await sleep(Math.min(left, GIVE_WAY_LOOK), undefined, { signal }).catch(() => undefined);
  }
}

function open(path: string): number {
  try {
    // libuv adds O_CLOEXEC. O_NOFOLLOW: /run/lock is writable by everybody.
    return openSync(path, constants.O_CREAT | constants.O_RDWR | constants.O_NOFOLLOW, 0o600);
  } catch (error) {
    if (isErrno(error, 'ENOENT'))
      throw new Error(`lock file ${path}: its directory ${dirname(path)} does not exist; make it, or name another --lock-file`);
    if (isErrno(error, 'ELOOP')) throw new Error(`lock file ${path} is a symbolic link: expected a regular file; remove it`);
    if (isErrno(error, 'EISDIR'))
      throw new Error(`lock file ${path} is a directory: expected a regular file; move it away, or name another one`);
    if (isErrno(error, 'EACCES', 'EPERM'))
      throw new Error(`lock file ${path}: no permission to open it; run as root, and remove the file if another user made it`);
    throw new Error(`lock file ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** False if another process holds it. */
async function tryLock(descriptor: number, path: string, signal: AbortSignal): Promise<boolean> {
  const { code, message } = await runFlock(['-x', '-n', '3'], descriptor, path, signal);
  if (code === 0) return true;
  if (code === 1) return false;
  throw new Error(`lock file ${path}: flock(1) ended with ${code}: ${message}`);
}

async function waitForLock(descriptor: number, path: string, signal: AbortSignal): Promise<void> {
  const { code, message } = await runFlock(['-x', '3'], descriptor, path, signal);
  if (code !== 0) throw new Error(`lock file ${path}: flock(1) ended with ${code}: ${message}`);
}

async function runFlock(
  args: readonly string[],
  descriptor: number,
  path: string,
  signal: AbortSignal,
): Promise<{ code: number | string; message: string }> {
  const child = spawn('flock', args, { stdio: ['ignore', 'ignore', 'pipe', descriptor] });
  const kill = (): boolean => child.kill('SIGKILL');
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  try {
    const message = child.stderr === null ? '' : text(child.stderr);
    const [code, endedBy] = await once(child, 'close');
    signal.throwIfAborted();
    return { code: code ?? endedBy, message: (await message).trim() };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw new Error(`lock file ${path}: no flock(1) on PATH; install util-linux`);
    throw error;
  } finally {
    signal.removeEventListener('abort', kill);
  }
}

/** Asked every few seconds for months: an open file stays the one it is, so only the name is looked up again. */
function isStill(locked: Stats, path: string): boolean {
  const named = statSync(path, { throwIfNoEntry: false });
  return named !== undefined && named.dev === locked.dev && named.ino === locked.ino;
}
