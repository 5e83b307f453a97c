/** Where the host's file system is seen from here, and what lies there. Opens nothing for writing. */
import { lstat, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../platform/durable.ts';
import type { HostPathState } from './facts.ts';

/** Inode number of the machine's first PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO). */
const FIRST_PID_NAMESPACE = 0xeffffffcn;

/**
 * `/` on the host itself, `/proc/1/root` in a container that shares the host's PID namespace; undefined where the host is not seen. A process 1 that is
 * not the host's first one, in a namespace of its own, counts as the node's where systemd runs: a node can be a container.
 */
export async function findHostRoot(proc = '/proc'): Promise<string | undefined> {
  const its = `${proc}/1/root`;
  const [own, theirs, first] = await Promise.all([identity('/'), identity(`${its}/`), isFirstPidNamespace(proc)]);
  if (theirs === undefined) return undefined;
  if (own === theirs) return first || (await stat('/run/systemd/system').catch(() => undefined)) !== undefined ? '/' : undefined;
  return first ? its : undefined;
}

async function isFirstPidNamespace(proc: string): Promise<boolean> {
  return (await stat(`${proc}/self/ns/pid`, { bigint: true }).catch(() => undefined))?.ino === FIRST_PID_NAMESPACE;
}

/** Device and inode: equal for two names of one thing. */
export async function identity(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? undefined : `${found.dev} ${found.ino}`;
}

/** What lies at a path of the host. A link on the way to it leads astray where the host's root is not ours: then nothing is known. */
export async function hostPathState(root: string | undefined, path: string): Promise<HostPathState> {
  if (root === undefined) return 'unknown';
  try {
    const found = await stat(join(root, path));
    if (found.isDirectory()) return 'directory';
    if (found.isFile()) return 'file';
    if (found.isSocket()) return 'socket';
    if (found.isCharacterDevice()) return 'character device';
    return found.isBlockDevice() ? 'block device' : 'other';
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) return 'unknown';
    return root !== '/' && (await crossesLink(root, path)) ? 'unknown' : 'missing';
  }
}

async function crossesLink(root: string, path: string): Promise<boolean> {
  const parts = path.split('/').filter((part) => part !== '');
  for (let i = 1; i <= parts.length; i++) {
    const found = await lstat(join(root, ...parts.slice(0, i))).catch(() => undefined);
    if (found === undefined) return false;
    if (found.isSymbolicLink()) return true;
  }
  return false;
}
