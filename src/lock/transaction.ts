/**
 * Store transactions: one change of the store at a time, whoever makes it, so that a command typed by a person and the daemon never interleave.
 *
 * The lock is the directory `.lock-<boot id>` in the store, its mtime renewed every RENEW_MS (proper-lockfile), with the file `owner` in it that says who
 * holds it (holder.ts). It comes into being with that file, by a rename, so there is never a lock of nobody. The boot id is in the name so that a lock that
 * a power cut left behind counts for nothing: after a boot the store is needed at once, and the clock may have jumped.
 *
 * A lock is taken over
 *
 *  - at once, when its holder is known to be dead: a process of our PID namespace that is not there any more, or, for whoever leads, a former leader;
 *  - STALE_MS after it was last renewed, also when the clock was set back, when that cannot be known (another PID namespace) or its holder stands still;
 *  - never, while its holder is a process that we see running: a slow disk makes renewals slow, too.
 *
 * A holder that lost its lock finds out before it commits anything: `check` compares what lies there with its own mark.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { lock } from 'proper-lockfile';
import { isErrno } from '../platform/durable.ts';
import { readBootId } from '../sources/boot.ts';
import { type Found, findLock, lockFileSystem, type Owner, ownMark, removeLock, standing } from './holder.ts';

/** A lock that was not renewed for this long (milliseconds) is taken over, unless its holder is seen running. */
const STALE_MS = 10_000;
const RENEW_MS = 2_000;
/** Longer than a dead holder keeps the lock. */
const WAIT_MS = 15_000;
/** Between two attempts, in milliseconds. */
const ATTEMPTS = { first: 10, limit: 100 } as const;
/** Taking a free lock takes longer than this (milliseconds) only on a disk that hangs. */
const SLOW_MS = 250;
const PREFIX = '.lock-';
/** When a lock is stale is decided here and never by proper-lockfile, which knows nothing of holders. */
const NEVER_MS = 100 * 365 * 86_400_000;

export interface TransactionOptions {
  /** This boot; the machine's own where not given. */
  readonly bootId?: string;
  /** How long to wait for another's change, in milliseconds. */
  readonly waitMs?: number;
  /** What the holder of the leader lock calls that lock; whoever gives it must hold it (see leaderMark). */
  readonly leader?: string;
}

/** The transaction as the change sees it. */
export interface Held {
  /** Aborted when the loss of the lock was noticed by itself. */
  readonly lost: AbortSignal;
  /** Throws when the lock is not ours any more. Asked right before whatever commits a change. */
  check(): Promise<void>;
}

/** Another process changes the store; nothing was done. */
export class StoreBusyError extends Error {
  override readonly name = 'StoreBusyError';
}

/**
 * Runs `change` while nobody else changes the store. Nothing is written and no timer runs before or after it.
 * Throws StoreBusyError if the lock cannot be had in time, another Error if it cannot be had at all, or if it was lost while `change` ran (the process
 * stood still for STALE_MS, or somebody removed the lock): then somebody else may have changed the store at the same time.
 */
export async function withTransaction<T>(
  storeDir: string,
  change: (held: Held) => Promise<T>,
  options: TransactionOptions = {},
): Promise<T> {
  const name = PREFIX + (options.bootId ?? (await readBootId()));
  const path = join(storeDir, name);
  const lost = new AbortController();
  const owner = await ownMark(options.leader);
  const release = await acquire(storeDir, path, owner, lost, options.waitMs ?? WAIT_MS);
  const check = async () => {
    lost.signal.throwIfAborted();
    const found = await findLock(path);
    if (found.state !== 'held' || found.owner?.token !== owner.token)
      throw new Error(
        `lost the store's lock ${path} during a change: another process took it over, or somebody removed it; nothing was changed`,
      );
  };
  try {
    await removeOfEarlierBoots(storeDir, name);
    return await change({ lost: lost.signal, check });
  } finally {
    if (!lost.signal.aborted) await release();
    lost.signal.throwIfAborted();
  }
}

async function acquire(storeDir: string, path: string, owner: Owner, lost: AbortController, waitMs: number): Promise<() => Promise<void>> {
  const deadline = performance.now() + waitMs;
  let seen: { readonly mtime: bigint; readonly since: number } | undefined;
  for (let wait: number = ATTEMPTS.first; ; wait = Math.min(wait * 2, ATTEMPTS.limit)) {
    try {
      const taking = lock(storeDir, {
        lockfilePath: path,
        realpath: false,
        stale: NEVER_MS,
        update: RENEW_MS,
        fs: lockFileSystem(owner),
        onCompromised: (cause) => lost.abort(new Error(`lost the store's lock ${path} during a change (${cause.message})`, { cause })),
      });
      const release = await within(taking, Math.max(0, deadline - performance.now()) + SLOW_MS);
      if (release !== undefined) return release;
      // A disk that hangs: the lock is given back when it has been taken after all.
      void taking.then((late) => late()).catch(() => undefined);
      throw new StoreBusyError(`the store's lock ${path} could not be taken in time: the disk is slow`);
    } catch (error) {
      if (error instanceof StoreBusyError) throw error;
      if (!isErrno(error, 'ELOCKED')) throw explain(error, storeDir, path);
    }
    const found = await findLock(path);
    if (found.state === 'foreign')
      throw new Error(`the store's lock ${path} is ${found.detail}: expected a directory that the checkpointer made; move it away`);
    if (found.state === 'held') {
      // A clock that was set back since makes a dead holder's lock look new for as long: that it is not renewed shows on our own clock, too.
      if (seen?.mtime !== found.mtimeNs) seen = { mtime: found.mtimeNs, since: performance.now() };
      const still = Math.max(performance.now() - seen.since, Date.now() - Number(found.mtimeNs / 1_000_000n));
      if (await mayTakeOver(found, owner, still)) {
        await removeLock(path, found);
        continue;
      }
    } else seen = undefined;
    if (performance.now() >= deadline)
      throw new StoreBusyError(`the store ${storeDir} is being changed by another process, which holds ${path}${pidOf(found)}: try again`);
    await sleep(wait);
  }
}

async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const over = new AbortController();
  try {
    return await Promise.race([promise, sleep(ms, undefined, { signal: over.signal, ref: false })]);
  } finally {
    over.abort();
  }
}

/** `still`: milliseconds since the lock was last renewed. */
async function mayTakeOver({ owner: holder }: Extract<Found, { state: 'held' }>, own: Owner, still: number): Promise<boolean> {
  if (holder === undefined) return still > STALE_MS;
  // Two do not hold one leader lock: the one that is free for us was freed by the kernel when its holder ended.
  const ended = own.leader !== undefined && holder.leader === own.leader && !(holder.pid === own.pid && holder.started === own.started);
  if (ended) return true;
  switch (await standing(holder, own)) {
    case 'dead':
      return true;
    case 'running':
      return false;
    case 'stopped':
    case 'unknown':
      return still > STALE_MS;
  }
}

function pidOf(found: Found): string {
  return found.state === 'held' && found.owner !== undefined ? ` (pid ${found.owner.pid} there)` : '';
}

function explain(error: unknown, storeDir: string, path: string): Error {
  if (isErrno(error, 'ENOENT')) return new Error(`the store ${storeDir} does not exist: expected a directory; check --checkpoint-dir`);
  if (isErrno(error, 'ENOTDIR')) return new Error(`the store ${storeDir} is not a directory; check --checkpoint-dir`);
  return new Error(`the store's lock ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
}

async function removeOfEarlierBoots(storeDir: string, ours: string): Promise<void> {
  for (const name of await readdir(storeDir)) {
    if (name.startsWith(PREFIX) && name !== ours && !name.startsWith(`${ours}.`))
      await rm(join(storeDir, name), { recursive: true, force: true });
  }
}
