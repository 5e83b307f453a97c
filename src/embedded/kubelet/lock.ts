/**
 * The kubelet's `--lock-file` (cmd/kubelet/app/server.go): an exclusive flock(2), waited for at the start. With `--exit-on-lock-contention` a kubelet
 * exits with status 0 as soon as anyone opens the file. Node has no inotify event for that; here it exits as soon as anyone waits for the lock, which
 * is what contending on purpose does.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Node has no flock(2): util-linux' flock takes the lock on a descriptor that it inherits, and the lock stays with that open file until this process
 * ends. @throws when the lock cannot be taken.
 */
export async function takeLock(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const descriptor = openSync(path, 'a', 0o600);
  const child = spawn('flock', ['-x', '3'], { stdio: ['ignore', 'ignore', 'inherit', descriptor] });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code !== 0) {
    closeSync(descriptor);
    throw new Error(`${path}: flock ended with ${code}`);
  }
}

/** Whether /proc/locks shows somebody waiting for a lock on this inode: `7: -> FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`. */
export function hasWaiter(locks: string, inode: bigint): boolean {
  return locks.split('\n').some((line) => / -> FLOCK /.test(line) && line.includes(`:${inode} `));
}

const POLL_MS = 50;

/** Calls back once when somebody waits for the lock. */
export function onContention(path: string, contended: () => void): void {
  const { ino } = statSync(path, { bigint: true });
  const timer = setInterval(() => {
    if (!hasWaiter(readFileSync('/proc/locks', 'utf8'), ino)) return;
    clearInterval(timer);
    contended();
  }, POLL_MS);
}
