/**
 * Files that survive a power cut. The order is the promise: the bytes of a file are on disk (fsync) before the rename that makes it visible, and the
 * rename is on disk (fsync of the directory) before the call returns. A reader sees the old content or the new, never a mixture.
 * A failed fsync is never retried on the same file: Linux may have dropped the dirty pages already and report success the second time
 * (https://wiki.postgresql.org/wiki/Fsync_Errors). The caller starts over with a new file.
 *
 * Temporary names are unique: two writers of one file (a process that lost its lock, an activation that did not wait for it) never write into each
 * other's, and whoever renames last wins as a whole. What a killed one left is removed by the next writer of the same file, a minute later at the earliest.
 *
 * A disk that hangs must not take every thread of Node's pool (4), or nothing could be observed any more: see lanes.ts for how many may wait for it.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { timedSync } from './fsync-times.ts';
import { inLane, type Lane } from './lanes.ts';

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes a new file with exactly these bytes, mode and owner, and fsyncs it. Fails with EEXIST on anything already there, links included.
 * To be called in a lane: whoever writes many files knows how many at a time.
 */
export async function createDurable(path: string, bytes: Uint8Array, mode: number, owner?: FileOwner): Promise<void> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, 0o600);
  try {
    await writeAll(file, bytes);
    if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    // After chown, which clears set-id bits, and past the umask.
    await file.chmod(mode);
    await timedSync(file);
  } finally {
    await file.close();
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    // A write may be short (a signal, a nearly full disk): the rest follows.
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, written);
    if (bytesWritten === 0) throw Object.assign(new Error('write returned 0: no space left on device'), { code: 'ENOSPC' });
    written += bytesWritten;
  }
}

/** Throws when a change must not be committed: its lock was lost, say. Asked right before the rename that commits it, which then does not happen. */
export type Confirm = () => Promise<void>;

export interface ReplaceOptions {
  /** Permission bits; 0o600 where not given. */
  readonly mode?: number;
  /** `urgent`: it ends an outage, and does not wait behind saves. */
  readonly lane?: Lane;
  readonly confirm?: Confirm;
}

/** Replaces (or makes) a file: temporary file beside it, fsync, rename, fsync of the directory. The temporary name begins with a dot. */
export function replaceDurable(path: string, bytes: Uint8Array, options: ReplaceOptions | number = {}): Promise<void> {
  const { mode = 0o600, lane = 'background', confirm } = typeof options === 'number' ? { mode: options } : options;
  return inLane(lane, async () => {
    await removeAbandoned(path).catch(() => undefined);
    const temporary = join(dirname(path), `${temporaryPrefix(path)}${process.pid}-${randomBytes(6).toString('hex')}.tmp`);
    try {
      await createDurable(temporary, bytes, mode);
      await confirm?.();
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw error;
    }
    await sync(dirname(path));
  });
}

/** The names of manifests can be nearly as long as a file's name may be (255 bytes). */
const temporaryPrefix = (path: string): string => `.${basename(path).slice(0, 200)}.`;

/** A writer that is slower than this (milliseconds) finds its temporary file gone, and fails. */
const ABANDONED = 60_000;

/**
 * What killed writers left, of this file or of another whose name begins with the same word: no manifest has the name of an earlier one. By the clock,
 * which may be wrong: too early only makes another writer fail, too late leaves a small file.
 */
async function removeAbandoned(path: string): Promise<void> {
  const prefix = `.${basename(path).split('.')[0]}.`;
  for (const name of await listDirectory(dirname(path))) {
    if (!name.startsWith(prefix) || !/\.[0-9]+-[0-9a-f]{12}\.tmp$/.test(name)) continue;
    const temporary = join(dirname(path), name);
    const { mtimeMs } = await lstat(temporary);
    if (Math.abs(Date.now() - mtimeMs) > ABANDONED) await rm(temporary, { recursive: true, force: true });
  }
}

/** Removes a file and makes the removal durable. A file that is already gone is no error. */
export function removeDurable(path: string, lane: Lane = 'background'): Promise<void> {
  return inLane(lane, async () => {
    await rm(path, { force: true });
    await sync(dirname(path));
  });
}

/** Renames within a file system, and makes it durable in both directories. */
export function renameDurable(from: string, to: string, confirm?: Confirm): Promise<void> {
  return inLane('background', async () => {
    await confirm?.();
    await rename(from, to);
    for (const directory of new Set([dirname(to), dirname(from)])) await sync(directory);
  });
}

/** Deletes whatever is there, with everything in it; durable only once its directory is fsynced. */
export function removeTree(path: string): Promise<void> {
  return inLane('background', () => rm(path, { recursive: true, force: true }));
}

export function syncDirectory(path: string): Promise<void> {
  return inLane('background', () => sync(path));
}

async function sync(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await timedSync(directory);
  } finally {
    await directory.close();
  }
}

/**
 * Makes a directory (not its parents) where there is none yet and makes it durable, also where it was there already: who made it may have been killed
 * before that. `known` durable ones that are there are left as they are. Anything else in its place, a link too, is an error.
 */
export async function ensureDirectory(path: string, known: 'maybeNot' | 'known' = 'maybeNot'): Promise<void> {
  try {
    await inLane('background', () => mkdir(path, { mode: 0o700 }));
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
    const stat = await lstat(path);
    if (!stat.isDirectory())
      throw new Error(`${path} is not a directory: expected a directory (not a link) that only root can write to; move it away`);
    if (known === 'known') return;
  }
  await syncDirectory(dirname(path));
}

/** Reads a regular file of at most `limit` bytes, never through a link in its last component. Undefined where there is none. */
export async function readRegular(path: string, limit: number): Promise<Buffer | undefined> {
  let file: FileHandle;
  try {
    // O_NONBLOCK: opening a FIFO that somebody put there must not hang.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error(`${path} is not a regular file`);
    if (stat.size > limit) throw new Error(`${path} has ${stat.size} bytes: at most ${limit} are expected there`);
    return await file.readFile();
  } finally {
    await file.close();
  }
}

/** Names in a directory; empty where there is none. */
export async function listDirectory(path: string): Promise<string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  }
}

/** What lies at a path, itself: a link is `other`, whatever it leads to. */
export async function kindOf(path: string): Promise<'absent' | 'file' | 'directory' | 'other'> {
  try {
    const stat = await lstat(path);
    return stat.isFile() ? 'file' : stat.isDirectory() ? 'directory' : 'other';
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return 'absent';
    throw error;
  }
}

/** errno(3) of Linux, where libuv has no name: Node's code is then `Unknown system error -122`. */
const UNNAMED: Readonly<Record<number, string>> = { 67: 'ENOLINK', 74: 'EBADMSG', 116: 'ESTALE', 117: 'EUCLEAN', 122: 'EDQUOT' };

export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error && 'code' in error && typeof error.code === 'string')) return undefined;
  const number = /^Unknown system error -([0-9]+)$/.exec(error.code)?.[1];
  return UNNAMED[Number(number)] ?? error.code;
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && codes.includes(errno);
}
