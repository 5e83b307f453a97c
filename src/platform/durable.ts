/**
 * Files that survive a power cut. The order is the promise: the bytes of a file are on disk (fsync) before the rename that makes it visible, and the
 * rename is on disk (fsync of the directory) before the call returns. A reader sees the old content or the new, never a mixture.
 * A failed fsync is never retried on the same file: Linux may have dropped the dirty pages already and report success the second time
 * (https://wiki.postgresql.org/wiki/Fsync_Errors). The caller starts over with a new file.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { timedSync } from './fsync-times.ts';

export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
}

/** Makes a new file with exactly these bytes, mode and owner, and fsyncs it. Fails with EEXIST on anything already there, links included. */
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

/** Replaces (or makes) a file: temporary file beside it, fsync, rename, fsync of the directory. The temporary name begins with a dot. */
export async function replaceDurable(path: string, bytes: Uint8Array, mode = 0o600): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.tmp`);
  await rm(temporary, { recursive: true, force: true });
  try {
    await createDurable(temporary, bytes, mode);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Removes a file and makes the removal durable. A file that is already gone is no error. */
export async function removeDurable(path: string): Promise<void> {
  await rm(path, { force: true });
  await syncDirectory(dirname(path));
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    await timedSync(directory);
  } finally {
    await directory.close();
  }
}

/** Makes a directory (not its parents) where there is none yet and makes it durable. Anything else in its place, a link too, is an error. */
export async function ensureDirectory(path: string, mode = 0o700): Promise<void> {
  try {
    await mkdir(path, { mode });
    await syncDirectory(dirname(path));
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error;
    const stat = await lstat(path);
    if (!stat.isDirectory())
      throw new Error(`${path} is not a directory: expected a directory (not a link) that only root can write to; move it away`);
  }
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

/**
 * Runs tasks with at most `width` at a time. After the first failure no further one begins; those that run are waited for, so that nothing still writes
 * when the caller cleans up. Throws the first failure.
 */
export async function runAll(width: number, tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const waiting = tasks.values();
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (const task of waiting) {
      if (failure !== undefined) return;
      await task().catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, tasks.length) }, worker));
  if (failure !== undefined) throw failure.error;
}

export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

export function isErrno(error: unknown, ...codes: string[]): boolean {
  const errno = errnoOf(error);
  return errno !== undefined && codes.includes(errno);
}
