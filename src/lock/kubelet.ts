/**
 * The kubelet's own `--lock-file`, read only. A kubelet holds an exclusive flock(2) on it and, with `--exit-on-lock-contention`, exits as soon as anybody
 * opens the file (inotify IN_OPEN). So nothing here opens it: its inode comes from stat(2), who holds it from /proc/locks. Contending on purpose is
 * `checkpointer kubelet-lock contend`, and nothing else.
 *
 * A file that is removed under its kubelet does not make that one exit: it asks for IN_DELETE_SELF, which does not come while it has the file open itself.
 * So whoever looks again and again remembers which file was held, and a missing or another one is not free while that one is.
 *
 * /proc/locks shows only holders that the reader's PID namespace can see (fs/locks.c, locks_show). In a pod without `hostPID: true` a held lock looks
 * like a free one, and therefore counts as unknown.
 *
 * It names a file by the device of its mounted file system, as mountinfo does. On overlayfs with layers of several file systems, and on btrfs, stat(2) gives
 * another one for the same file; a held lock is then not to be found, and looks free, too. So it counts as unknown there.
 *
 * The kernel gives a page of /proc/locks at a time, and looks for the place to go on by counting (fs/seq_file.c): where locks above it went meanwhile, a
 * held one is passed over. So a lock that is not in a list of more than a page is looked for again before it counts as free.
 */
import { readFile, realpath, stat } from 'node:fs/promises';
import { isErrno } from '../platform/durable.ts';

export interface LockHolder {
  /** Of the process that called flock(2); it may have ended and left the lock with one that inherited the descriptor. */
  readonly pid: number;
  /** Its command line; undefined where the process has ended or cannot be seen. */
  readonly command: string | undefined;
}

export type KubeletLock =
  | { readonly state: 'held'; readonly holder: LockHolder; readonly waiters: readonly LockHolder[]; readonly file: FileOfLock }
  /** Nobody holds it; `missing`: there is no such file, because no kubelet has made it in this boot, or somebody removed it. */
  | { readonly state: 'free'; readonly missing: boolean }
  | { readonly state: 'unknown'; readonly detail: string };

/** A file as /proc/locks names it. */
export interface FileOfLock {
  readonly device: string;
  readonly inode: bigint;
}

export interface ReadOptions {
  readonly path: string;
  /** The kubelet runs in this PID namespace although it is not the machine's first one: a node that is itself a container. */
  readonly samePidNamespace?: boolean;
  /** Where /proc is; in tests. */
  readonly proc?: string;
  /** The file that was held at an earlier look. */
  readonly before?: FileOfLock;
}

/** For looking again and again: remembers which file was held. */
export function watchKubeletLock(options: ReadOptions): () => Promise<KubeletLock> {
  let before: FileOfLock | undefined;
  return async () => {
    const lock = await readKubeletLock({ ...options, ...(before && { before }) });
    if (lock.state === 'held') before = lock.file;
    return lock;
  };
}

/** Inode number of the machine's first PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO). */
const FIRST_PID_NAMESPACE = 0xeffffffcn;

/** Never throws for what it finds: what cannot be read is `unknown`, with the reason. Does not open the file. */
export async function readKubeletLock({ path, samePidNamespace = false, proc = '/proc', before }: ReadOptions): Promise<KubeletLock> {
  const unknown = (detail: string): KubeletLock => ({ state: 'unknown', detail: `${path}: ${detail}` });
  try {
    const file = await stat(path, { bigint: true }).catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    });
    const removed = before === undefined ? undefined : await heldOn(before, proc);
    if (file === undefined) {
      if (removed !== undefined) return removed;
      if (await parentIsThere(path)) return { state: 'free', missing: true };
      return unknown('neither the file nor its directory is there');
    }
    if (!file.isFile()) return unknown('not a regular file');
    const device = deviceOf(file.dev);
    const mounted = mountOf(await readFile(`${proc}/self/mountinfo`, 'utf8'), await realpath(path));
    if (mounted?.device !== device)
      return unknown(
        `its file system (${mounted?.type ?? 'not in mountinfo'}) gives files other device numbers than /proc/locks shows; put the kubelet's --lock-file on a tmpfs, such as /run/lock`,
      );
    const held = await heldOn({ device, inode: BigInt.asUintN(64, file.ino) }, proc);
    if (held !== undefined) return held;
    if (removed !== undefined) return removed;
    if (await seesEveryHolder(proc, samePidNamespace)) return { state: 'free', missing: false };
  } catch (error) {
    return unknown(error instanceof Error ? error.message : String(error));
  }
  return unknown('a kubelet outside this PID namespace would not be shown in /proc/locks; run on the host, or in a pod with hostPID: true');
}

/** Less than what the kernel gives of /proc/locks at once, in bytes: pages have 4096 or more, and no line is cut. */
const ONE_READ = 3_800;
/** With a hundred locks that come and go as fast as they can, a list in twenty lacks a line that was there all the time. */
const LISTS = 6;

async function heldOn(file: FileOfLock, proc: string): Promise<KubeletLock | undefined> {
  let found = locksOn('', file.device, file.inode);
  for (let lists = 0; lists < LISTS && found.holder === undefined; lists++) {
    const locks = await readFile(`${proc}/locks`, 'utf8');
    found = locksOn(locks, file.device, file.inode);
    if (locks.length < ONE_READ) break;
  }
  const { holder, waiters } = found;
  if (holder === undefined) return undefined;
  return {
    state: 'held',
    holder: await describe(holder, proc),
    waiters: await Promise.all(waiters.map((pid) => describe(pid, proc))),
    file,
  };
}

async function seesEveryHolder(proc: string, samePidNamespace: boolean): Promise<boolean> {
  return samePidNamespace || (await stat(`${proc}/self/ns/pid`, { bigint: true })).ino === FIRST_PID_NAMESPACE;
}

async function parentIsThere(path: string): Promise<boolean> {
  const parent = await stat(path.slice(0, path.lastIndexOf('/') + 1) || '.').catch(() => undefined);
  return parent?.isDirectory() === true;
}

/**
 * Whose locks of the kind flock(2) are on this file. A line of /proc/locks, and one of who waits for the lock above it:
 *
 *     8: FLOCK  ADVISORY  WRITE 8590 00:1c:13 0 EOF
 *     8: -> FLOCK  ADVISORY  WRITE 9351 00:1c:13 0 EOF
 */
export function locksOn(locks: string, device: string, inode: bigint): { holder: number | undefined; waiters: number[] } {
  let holder: number | undefined;
  const waiters: number[] = [];
  for (const line of locks.split('\n')) {
    const match = /^\d+: *(-> )?FLOCK +\S+ +\S+ +(-?\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /.exec(line);
    if (match === null || match[3] !== device || BigInt(match[4] ?? 0) !== inode) continue;
    if (match[1] === undefined) holder = Number(match[2]);
    else waiters.push(Number(match[2]));
  }
  return { holder, waiters };
}

/**
 * The mount that a path without symbolic links lies on: of several the deepest, of these the one mounted last. A line of mountinfo (proc_pid_mountinfo(5)):
 *
 *     66 63 0:40 / /mnt/same\040name rw,relatime - overlay overlay rw,lowerdir=/l
 */
export function mountOf(mountinfo: string, path: string): { readonly device: string; readonly type: string } | undefined {
  let found: { readonly point: string; readonly device: string; readonly type: string } | undefined;
  for (const line of mountinfo.split('\n')) {
    const [, major, minor, escaped, type] = /^\d+ \d+ (\d+):(\d+) \S+ (\S+) .*? - (\S+) /.exec(line) ?? [];
    if (escaped === undefined || type === undefined) continue;
    const point = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    const below = point === '/' || path === point || path.startsWith(`${point}/`);
    if (below && point.length >= (found?.point.length ?? 0))
      found = { point, device: printed(BigInt(major ?? 0), BigInt(minor ?? 0)), type };
  }
  return found;
}

/** As /proc/locks prints a device: `%02x:%02x` of major and minor (Linux' new encoding of dev_t, as stat(2) gives it). */
export function deviceOf(dev: bigint): string {
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & ~0xfffn);
  const minor = (dev & 0xffn) | ((dev >> 12n) & ~0xffn & 0xffffffffn);
  return printed(major, minor);
}

function printed(major: bigint, minor: bigint): string {
  return `${major.toString(16).padStart(2, '0')}:${minor.toString(16).padStart(2, '0')}`;
}

async function describe(pid: number, proc: string): Promise<LockHolder> {
  const command = await readFile(`${proc}/${pid}/cmdline`, 'utf8').catch(() => '');
  const words = command.split('\0').filter((word) => word !== '');
  return { pid, command: words.length === 0 ? undefined : words.join(' ') };
}
