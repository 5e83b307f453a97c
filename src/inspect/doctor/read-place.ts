/** Where this process runs and what it has there: on the host or in a container, which directories, which tools. Reads only. */
import { access, constants, readFile, realpath, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { identity } from '../host-root.ts';
import { type Mount, mountOf } from './mounts.ts';

export interface PlaceFacts {
  /** `blind`: a container that does not see the host. */
  readonly where: 'host' | 'container' | 'blind';
  readonly uid: number;
  /** Path of flock(1). */
  readonly flock: string | undefined;
  /** Undefined where SELinux is not enabled. */
  readonly selinux: { readonly enforcing: boolean; readonly context: string } | undefined;
}

export interface DirectoryFacts {
  readonly path: string;
  readonly found: { readonly directory: boolean; readonly uid: number; readonly mode: number } | undefined;
  readonly mount: Mount | undefined;
  /** Whether the same path on the host is the same directory; undefined where the host is not seen. */
  readonly sameAsHost: boolean | undefined;
}

export async function readPlace(hostRoot: string | undefined): Promise<PlaceFacts> {
  return {
    where: hostRoot === undefined ? 'blind' : (await identity(hostRoot)) === (await identity('/')) ? 'host' : 'container',
    uid: process.geteuid?.() ?? -1,
    flock: await onPath('flock'),
    selinux: await readSelinux(),
  };
}

export async function readDirectoryFacts(path: string, hostRoot: string | undefined): Promise<DirectoryFacts> {
  const [found, real, mountinfo, own, theirs] = await Promise.all([
    stat(path).catch(() => undefined),
    realpath(path).catch(() => path),
    readFile('/proc/self/mountinfo', 'utf8').catch(() => ''),
    identity(path),
    hostRoot === undefined ? undefined : identity(join(hostRoot, path)),
  ]);
  return {
    path,
    found: found === undefined ? undefined : { directory: found.isDirectory(), uid: found.uid, mode: found.mode & 0o7777 },
    mount: mountOf(mountinfo, real),
    sameAsHost: hostRoot === undefined ? undefined : own === theirs,
  };
}

async function onPath(program: string): Promise<string | undefined> {
  for (const directory of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(directory, program);
    if (
      directory !== '' &&
      (await access(path, constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      return path;
  }
  return undefined;
}

async function readSelinux(): Promise<PlaceFacts['selinux']> {
  const enforce = await readFile('/sys/fs/selinux/enforce', 'utf8').catch(() => undefined);
  if (enforce === undefined) return undefined;
  const context = (await readFile('/proc/self/attr/current', 'utf8').catch(() => '')).replace(/[\0\s]+$/, '');
  return { enforcing: enforce.trim() === '1', context };
}
