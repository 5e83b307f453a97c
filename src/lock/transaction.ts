/**
 * Store transactions: one change of the store at a time, whoever makes it, so that a command typed by a person and the daemon never interleave.
 *
 * The lock is the directory `.lock-<boot id>` in the store (proper-lockfile: mkdir is atomic, its mtime is renewed every RENEW_MS). The boot id is in
 * the name so that a lock that a power cut left behind counts for nothing: after a boot the store is needed at once, and the clock may have jumped.
 * A holder that died without a reboot loses the lock STALE_MS after it last renewed it, also when the clock was set back since.
 */
import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lock } from 'proper-lockfile';
import { isErrno } from '../platform/durable.ts';
import { readBootId } from '../sources/boot.ts';

/** A lock that was not renewed for this long (milliseconds) is taken over. */
const STALE_MS = 10_000;
const RENEW_MS = 2_000;
/** Longer than a dead holder keeps the lock. */
const WAIT_MS = 15_000;
/** Between two attempts, in milliseconds. */
const ATTEMPTS = { first: 10, limit: 100 } as const;
const PREFIX = '.lock-';

export interface TransactionOptions {
  /** This boot; the machine's own where not given. */
  readonly bootId?: string;
  /** How long to wait for another's change, in milliseconds. */
  readonly waitMs?: number;
}

/**
 * Runs `change` while nobody else changes the store. Nothing is written and no timer runs before or after it.
 * Throws an Error if the lock cannot be had, or if it was lost while `change` ran (the process stood still for STALE_MS, or somebody removed the
 * lock): then somebody else may have changed the store at the same time, and what `change` did is to be checked. The signal says so while it runs.
 */
export async function withTransaction<T>(
  storeDir: string,
  change: (lost: AbortSignal) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const name = PREFIX + (options.bootId ?? (await readBootId()));
  const lost = new AbortController();
  const release = await acquire(storeDir, name, lost, options.waitMs ?? WAIT_MS);
  try {
    await removeOfEarlierBoots(storeDir, name);
    return await change(lost.signal);
  } finally {
    if (!lost.signal.aborted) await release();
    lost.signal.throwIfAborted();
  }
}

async function acquire(storeDir: string, name: string, lost: AbortController, waitMs: number): Promise<() => Promise<void>> {
  const path = join(storeDir, name);
  const deadline = performance.now() + waitMs;
  let seen: { readonly mtime: bigint; readonly since: number } | undefined;
  for (let wait: number = ATTEMPTS.first; ; wait = Math.min(wait * 2, ATTEMPTS.limit)) {
    try {
      return await lock(storeDir, {
        lockfilePath: path,
        realpath: false,
        stale: STALE_MS,
        update: RENEW_MS,
        onCompromised: (cause) => lost.abort(new Error(`lost the store's lock ${path} during a change (${cause.message})`, { cause })),
      });
    } catch (error) {
      if (!isErrno(error, 'ELOCKED') || performance.now() >= deadline) throw explain(error, storeDir, path);
    }
    // A clock that was set back since makes a dead holder's lock look new for as long: that it is not renewed shows on our own clock, too.
    const mtime = await mtimeOf(path);
    if (mtime === undefined || seen?.mtime !== mtime) seen = mtime === undefined ? undefined : { mtime, since: performance.now() };
    else if (performance.now() - seen.since > STALE_MS) await rm(path, { recursive: true, force: true });
    await sleep(wait);
  }
}

async function mtimeOf(path: string): Promise<bigint | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found?.mtimeNs;
}

function explain(error: unknown, storeDir: string, path: string): Error {
  if (isErrno(error, 'ELOCKED'))
    return new Error(`the store ${storeDir} is being changed by another process, which holds ${path}: try again`);
  if (isErrno(error, 'ENOENT')) return new Error(`the store ${storeDir} does not exist: expected a directory; check --checkpoint-dir`);
  if (isErrno(error, 'ENOTDIR')) return new Error(`the store ${storeDir} is not a directory; check --checkpoint-dir`);
  return new Error(`the store's lock ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

async function removeOfEarlierBoots(storeDir: string, ours: string): Promise<void> {
  for (const name of await readdir(storeDir)) {
    if (name.startsWith(PREFIX) && name !== ours) await rm(join(storeDir, name), { recursive: true, force: true });
  }
}
