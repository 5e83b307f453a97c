/** Whether a systemd unit of ours starts at the next boot, read from the links that systemd follows. systemd itself is not asked. */
import { lstat, readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isErrno } from '../platform/durable.ts';
import type { UnitState } from './facts.ts';

const UNIT_DIR = '/etc/systemd/system';

export async function readUnit(root: string | undefined, name: string): Promise<UnitState> {
  if (root === undefined) return { state: 'unknown', detail: "the host's /etc/systemd/system cannot be seen from here" };
  const path = join(root, UNIT_DIR, name);
  try {
    const found = await lstat(path);
    if (found.isSymbolicLink() && (await readlink(path)) === '/dev/null') return { state: 'not armed', detail: `${name} is masked` };
    const text = await readFile(path, 'utf8');
    const executable = /^ExecStart=[-@:+!]*(\S+)/m.exec(text)?.[1];
    if (executable !== undefined && (await stat(join(root, executable)).catch(() => undefined)) === undefined)
      return { state: 'not armed', detail: `${name} would run ${executable}, which does not exist` };
    const by = await wantedBy(join(root, UNIT_DIR), name);
    return by === undefined ? { state: 'not armed', detail: `${name} is installed and not enabled` } : { state: 'armed', by };
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return { state: 'not armed', detail: `${name} is not installed` };
    return { state: 'unknown', detail: `${path}: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** The unit that brings it along: `kubelet.service`. */
async function wantedBy(directory: string, name: string): Promise<string | undefined> {
  for (const entry of (await readdir(directory)).sort()) {
    const by = /^(.+)\.(?:wants|requires)$/.exec(entry)?.[1];
    if (by !== undefined && (await lstat(join(directory, entry, name)).catch(() => undefined)) !== undefined) return by;
  }
  return undefined;
}
