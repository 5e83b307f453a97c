/**
 * Who holds the store's lock. The file `owner` in the lock's directory is one line of JSON: a random token, pid and start time of the holder, the PID
 * namespace in which these mean something, and which leader lock it held, if any.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, rmdirSync, rmSync, type Stats, stat } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, rmdir, stat as statOf, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno, kindOf, readRegular } from '../platform/durable.ts';
import { inLane } from '../platform/lanes.ts';

export interface Owner {
  readonly token: string;
  readonly pid: number;
  /** Clock ticks after the boot (proc_pid_stat(5), field 22): a pid is used again, not in the same moment. */
  readonly started: string;
  /** As /proc/self/ns/pid names it. */
  readonly pidNamespace: string;
  /** The leader lock that the holder held, by leaderMark. */
  readonly leader?: string;
}

export type Found =
  | { readonly state: 'free' }
  /** `owner` is undefined where its line cannot be read. */
  | { readonly state: 'held'; readonly owner: Owner | undefined; readonly mtimeNs: bigint }
  /** Nothing that the checkpointer made. */
  | { readonly state: 'foreign'; readonly detail: string };

const OWNER = 'owner';

/** Names a leader lock by its file, the same in every container that has it mounted. Only who holds that lock may call himself by it. */
export async function leaderMark(lockFile: string): Promise<string> {
  const { dev, ino } = await statOf(lockFile, { bigint: true });
  return `${dev}:${ino}`;
}

/** A mark for one transaction of this process. */
export async function ownMark(leader: string | undefined): Promise<Owner> {
  return {
    token: randomBytes(12).toString('hex'),
    pid: process.pid,
    started: (await readProcess(process.pid))?.started ?? '',
    pidNamespace: await readlink('/proc/self/ns/pid').catch(() => ''),
    ...(leader !== undefined && { leader }),
  };
}

/** What is known of a holder from where we are. Other namespaces' pids say nothing, unless they are ours by chance, and then too little. */
export async function standing(holder: Owner, own: Owner): Promise<'running' | 'stopped' | 'dead' | 'unknown'> {
  if (own.pidNamespace === '' || holder.pidNamespace !== own.pidNamespace) return 'unknown';
  const found = await readProcess(holder.pid);
  if (found === undefined || found.started !== holder.started || found.state === 'Z' || found.state === 'X') return 'dead';
  return found.state === 'T' || found.state === 't' ? 'stopped' : 'running';
}

/** proc_pid_stat(5): the command's name is in parentheses and may hold any character, so everything is counted from the last one. */
async function readProcess(pid: number): Promise<{ readonly state: string; readonly started: string } | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', started: fields[19] ?? '' };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ESRCH')) return undefined;
    throw error;
  }
}

export async function findLock(path: string): Promise<Found> {
  const kind = await kindOf(path);
  if (kind === 'absent') return { state: 'free' };
  if (kind === 'file') return { state: 'foreign', detail: 'a file' };
  if (kind === 'other') return { state: 'foreign', detail: 'neither a file nor a directory' };
  try {
    const names = await readdir(path);
    const strange = names.find((name) => name !== OWNER);
    if (strange !== undefined) return { state: 'foreign', detail: `a directory that holds ${JSON.stringify(strange)}` };
    const { mtimeNs } = await lstat(path, { bigint: true });
    const line = await readRegular(join(path, OWNER), 4096).catch(() => undefined);
    return { state: 'held', owner: line === undefined ? undefined : decodeOwner(line.toString()), mtimeNs };
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { state: 'free' };
    throw error;
  }
}

function decodeOwner(line: string): Owner | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return isOwner(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isOwner(value: unknown): value is Owner {
  if (typeof value !== 'object' || value === null) return false;
  const { token, pid, started, pidNamespace, leader } = value as { readonly [K in keyof Owner]?: unknown };
  return (
    typeof token === 'string' &&
    typeof pid === 'number' &&
    Number.isSafeInteger(pid) &&
    pid > 0 &&
    typeof started === 'string' &&
    typeof pidNamespace === 'string' &&
    (leader === undefined || typeof leader === 'string')
  );
}

/**
 * Removes the lock that was found. Out of its place first: should it be another one by now, because somebody else was quicker, it is put back, and if even
 * that comes too late its holder notices before it commits.
 */
export async function removeLock(path: string, found: Extract<Found, { state: 'held' }>): Promise<void> {
  const aside = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return;
    throw error;
  }
  const taken = await findLock(aside);
  if (taken.state === 'held' && taken.owner?.token !== found.owner?.token) await rename(aside, path).catch(() => undefined);
  await rm(aside, { recursive: true, force: true });
}

type Callback = (error: Error | null) => void;

/**
 * What proper-lockfile makes, renews and removes a lock with. A lock is made complete, beside its place, and renamed in; it is removed only while it is ours.
 * (A rename onto an empty directory succeeds: that is a lock whose holder is just about to remove it.)
 */
export function lockFileSystem(owner: Owner) {
  const line = `${JSON.stringify(owner)}\n`;
  let made = false;
  return {
    mkdir: (path: string, done: Callback) => settle(make(path, owner, line), done),
    rmdir: (path: string, done: Callback) => settle(removeOwn(path, owner), done),
    /** At the end of the process, when nothing else can run any more. */
    rmdirSync: (path: string) => {
      if (readFileSync(join(path, OWNER), 'utf8') !== line) return;
      rmSync(join(path, OWNER), { force: true });
      rmdirSync(path);
    },
    stat: (path: string, done: (error: Error | null, stats: Stats) => void) => stat(path, done),
    utimes: (path: string, atime: Date, mtime: Date, done: Callback) => {
      // The first is no renewal but a trial of how precise mtimes are, which the new directory's own shows as well: one write less for each change.
      if (made)
        settle(
          inLane('background', () => utimes(path, atime, mtime)),
          done,
        );
      else done(null);
      made = true;
    },
  };
}

function settle(promise: Promise<void>, done: Callback): void {
  promise.then(() => done(null), done);
}

async function make(path: string, owner: Owner, line: string): Promise<void> {
  // What is there already is not ours; asked first, so that waiting for a lock writes nothing.
  if ((await kindOf(path)) !== 'absent' && !(await isEmptyDirectory(path))) throw Object.assign(new Error('held'), { code: 'EEXIST' });
  const beside = `${path}.${owner.token}`;
  try {
    await inLane('urgent', async () => {
      await mkdir(beside, { mode: 0o700 });
      await writeFile(join(beside, OWNER), line, { flag: 'wx', mode: 0o600 });
      await rename(beside, path);
    });
  } catch (error) {
    await rm(beside, { recursive: true, force: true }).catch(() => undefined);
    if (isErrno(error, 'ENOTEMPTY', 'EEXIST') || (isErrno(error, 'ENOTDIR') && (await kindOf(path)) !== 'absent'))
      throw Object.assign(new Error('held'), { code: 'EEXIST' });
    throw error;
  }
}

async function isEmptyDirectory(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).length === 0;
  } catch (error) {
    if (isErrno(error, 'ENOTDIR')) return false;
    if (isErrno(error, 'ENOENT')) return true;
    throw error;
  }
}

async function removeOwn(path: string, owner: Owner): Promise<void> {
  const found = await findLock(path);
  if (found.state !== 'held' || found.owner?.token !== owner.token) return;
  await rm(join(path, OWNER), { force: true });
  // Somebody else's by now, or gone: both mean that it is not ours any more.
  await rmdir(path).catch((error: unknown) => {
    if (!isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
  });
}
