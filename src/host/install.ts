/**
 * What `install-host` puts on a host and `uninstall-host` takes away: an executable, units, and the links that start them at the next boot. A plan is made
 * from what is there, shown, and carried out; each change is complete or not there at all. `root` is where the host's file system is mounted.
 */
import {
  chmod,
  copyFile,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
} from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { isErrno, removeDurable, replaceDurable, syncDirectory } from '../platform/durable.ts';
import { type HostUnit, UNIT_MARK, UNIT_NAMES } from './units.ts';

const UNIT_DIR = '/etc/systemd/system';
/** Ending of a copy that is not complete yet. */
const UNFINISHED = '.new';
/** Of two files that are compared, bytes. */
const CHUNK = 1 << 20;

export type Change =
  | { readonly kind: 'write'; readonly path: string; readonly text: string; readonly replaces: boolean }
  | { readonly kind: 'copy'; readonly path: string; readonly from: string; readonly replaces: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'removeDirectory'; readonly path: string }
  /** Nothing is done: it is not ours. */
  | { readonly kind: 'leave'; readonly path: string; readonly why: string };

/** Something in our place that is not ours; it is neither overwritten nor removed. */
export class ForeignFileError extends Error {
  override readonly name = 'ForeignFileError';
}

/** Empty where everything is in place already. Paths are the host's. Throws ForeignFileError. */
export async function planInstall(
  root: string,
  wanted: { readonly executable: string; readonly from: string; readonly units: readonly HostUnit[] },
): Promise<Change[]> {
  const changes: Change[] = [];
  const { executable, from, units } = wanted;
  for (const path of [executable, UNIT_DIR]) await expectInside(root, path);
  const there = await kindOf(join(root, executable));
  if (there !== 'none' && there !== 'file') throw new ForeignFileError(`${executable} is not a regular file: move it away`);
  if (there === 'none' || !(await sameFile(join(root, executable), from)))
    changes.push({ kind: 'copy', path: executable, from, replaces: there === 'file' });
  const before = await executablesOf(root);
  for (const { name, text, wantedBy } of units) {
    const path = unitPath(name);
    const found = await findUnit(root, name);
    if (found.state === 'masked') {
      changes.push({ kind: 'leave', path, why: 'it is masked' });
      continue;
    }
    if (found.state === 'foreign') throw new ForeignFileError(`${path} was not written by checkpointer install-host: move it away`);
    if (found.state !== 'ours' || found.text !== text) changes.push({ kind: 'write', path, text, replaces: found.state === 'ours' });
    const link = join(UNIT_DIR, `${wantedBy}.wants`, name);
    const target = await linkTarget(root, link);
    if (target !== undefined && target !== path) throw new ForeignFileError(`${link} leads to ${target}, expected ${path}: remove it`);
    if (target === undefined) changes.push({ kind: 'link', path: link, target: path });
    // Of an earlier installation, with another unit of the kubelet.
    for (const other of await linksTo(root, name)) if (other !== link) changes.push(...linkRemoval(other));
  }
  // A unit of an earlier installation that is not wanted any more.
  const names = units.map(({ name }) => name);
  for (const name of UNIT_NAMES) if (!names.includes(name)) changes.push(...(await unitRemoval(root, name)).filter(isChange));
  for (const other of before) if (other !== executable) changes.push(...(await executableRemoval(root, other)));
  return changes;
}

/** Everything of ours, in whatever state it is. A directory goes when that leaves it empty; what is somebody else's is left, and that is said. */
export async function planUninstall(root: string, executable: string): Promise<Change[]> {
  const changes: Change[] = [];
  for (const path of [executable, UNIT_DIR]) await expectInside(root, path);
  for (const name of UNIT_NAMES) changes.push(...(await unitRemoval(root, name)));
  for (const path of new Set([...(await executablesOf(root)), executable])) changes.push(...(await executableRemoval(root, path)));
  return changes;
}

/** With the links that lead to it, which may be left from any installation, and what of ours belongs to it. */
async function unitRemoval(root: string, name: string): Promise<Change[]> {
  const path = unitPath(name);
  const found = await findUnit(root, name);
  if (found.state === 'foreign' || found.state === 'masked')
    return [{ kind: 'leave', path, why: found.state === 'masked' ? 'it is masked' : 'it was not written by checkpointer install-host' }];
  const changes = (await linksTo(root, name)).flatMap(linkRemoval);
  const dropIns = `${path}.d`;
  for (const file of await list(join(root, dropIns)))
    if (await isOurs(join(root, dropIns, file))) changes.push({ kind: 'remove', path: join(dropIns, file) });
  if (changes.some((change) => dirname(change.path) === dropIns)) changes.push({ kind: 'removeDirectory', path: dropIns });
  const unfinished = (await list(join(root, UNIT_DIR))).filter((file) => file.startsWith(`.${name}.`) && file.endsWith('.tmp'));
  for (const file of [path, ...unfinished.sort().map((file) => join(UNIT_DIR, file))])
    if ((await kindOf(join(root, file))) === 'file') changes.push({ kind: 'remove', path: file });
  return changes;
}

/** An executable, what a cut left of its copying, and its directories. */
async function executableRemoval(root: string, executable: string): Promise<Change[]> {
  const changes: Change[] = [];
  for (const path of [executable, `${executable}${UNFINISHED}`])
    if ((await kindOf(join(root, path))) === 'file') changes.push({ kind: 'remove', path });
  if (changes.length > 0)
    for (const directory of [dirname(executable), dirname(dirname(executable))])
      if (/pod-checkpointer/.test(directory)) changes.push({ kind: 'removeDirectory', path: directory });
  return changes;
}

/** Which programs the units of ours that are there start. */
async function executablesOf(root: string): Promise<string[]> {
  const units = await Promise.all(UNIT_NAMES.map((name) => findUnit(root, name)));
  const paths = units.flatMap((unit) => (unit.state === 'ours' ? (/^ExecStart=(\/\S+)/m.exec(unit.text)?.[1] ?? []) : []));
  return [...new Set(paths)];
}

/** Links in the directories of any unit's dependencies, as `systemctl enable` makes them, too, that lead to the unit of this name. */
async function linksTo(root: string, name: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of (await list(join(root, UNIT_DIR))).sort()) {
    if (!/\.(wants|requires|upholds)$/.test(entry)) continue;
    const link = join(UNIT_DIR, entry, name);
    if ((await kindOf(join(root, link))) === 'link' && (await linkTarget(root, link)) === unitPath(name)) found.push(link);
  }
  return found;
}

const linkRemoval = (link: string): Change[] => [
  { kind: 'remove', path: link },
  { kind: 'removeDirectory', path: dirname(link) },
];

export const isChange = (change: Change): boolean => change.kind !== 'leave';

export async function carryOut(root: string, change: Change): Promise<void> {
  if (change.kind === 'leave') return;
  const directory = join(root, dirname(change.path));
  if (change.kind === 'write' || change.kind === 'copy' || change.kind === 'link') await mkdir(directory, { recursive: true });
  // A host may have a link there, /opt -> var/opt say, and to make a change durable no link is followed.
  const path = join(await realpath(directory), basename(change.path));
  switch (change.kind) {
    case 'write':
      await replaceDurable(path, Buffer.from(change.text), 0o644);
      return;
    case 'copy':
      await copyDurable(change.from, path);
      return;
    case 'link':
      await symlink(change.target, path);
      await syncDirectory(dirname(path));
      return;
    case 'remove':
      await removeDurable(path);
      return;
    case 'removeDirectory':
      try {
        await rmdir(path);
        await syncDirectory(dirname(path));
      } catch (error) {
        if (!isErrno(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT')) throw error;
      }
      return;
  }
}

/** By way of a temporary file: a program that runs cannot be overwritten, and a copy that a cut interrupted must not have the name. */
async function copyDurable(from: string, to: string): Promise<void> {
  const temporary = `${to}${UNFINISHED}`;
  try {
    await copyFile(from, temporary);
    await chmod(temporary, 0o755);
    const file = await open(temporary, 'r+');
    try {
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, to);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(to));
}

/** For people: one line. */
export function describeChange(change: Change): string {
  switch (change.kind) {
    case 'write':
    case 'copy':
      return `${change.replaces ? 'replace' : 'create '} ${change.path}`;
    case 'link':
      return `link    ${change.path} -> ${change.target}`;
    case 'remove':
      return `remove  ${change.path}`;
    case 'removeDirectory':
      return `remove  ${change.path}/ if that leaves it empty`;
    case 'leave':
      return `leave   ${change.path}: ${change.why}`;
  }
}

const unitPath = (name: string) => join(UNIT_DIR, name);
type FoundUnit = { readonly state: 'none' | 'foreign' | 'masked' } | { readonly state: 'ours'; readonly text: string };

async function findUnit(root: string, name: string): Promise<FoundUnit> {
  const path = join(root, unitPath(name));
  const kind = await kindOf(path);
  if (kind === 'none') return { state: 'none' };
  if (kind === 'link') return { state: (await readlink(path)) === '/dev/null' ? 'masked' : 'foreign' };
  const text = kind === 'file' ? await readFile(path, 'utf8') : '';
  // An empty file masks a unit, too.
  if (kind === 'file' && text === '') return { state: 'masked' };
  return text.startsWith(UNIT_MARK) ? { state: 'ours', text } : { state: 'foreign' };
}

async function isOurs(path: string): Promise<boolean> {
  return (await kindOf(path)) === 'file' && (await readFile(path, 'utf8')).startsWith(UNIT_MARK);
}

/** Where a link leads, as a path of the host; a relative one is `systemctl`'s of other versions. */
async function linkTarget(root: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(root, path));
  if (kind === 'none') return undefined;
  if (kind !== 'link') throw new ForeignFileError(`${path} is not a symbolic link: move it away`);
  return resolve(dirname(path), await readlink(join(root, path)));
}

async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return [];
    throw error;
  }
}

/**
 * Nothing on the way to it leads out of the host's root: from a container an absolute link of the host (/opt -> /var/opt, say) leads to the container's own
 * files. Throws ForeignFileError.
 */
export async function expectInside(root: string, path: string): Promise<void> {
  const own = await realpath(root);
  for (let part = path; part !== '/'; part = dirname(part)) {
    const there = await kindOf(join(root, part));
    if (there === 'none') continue;
    const real = await realpath(join(root, part)).catch(() => undefined);
    if (real !== undefined && !/^\.\.(\/|$)/.test(relative(own, real))) return;
    throw new ForeignFileError(
      `${path}: a symbolic link on the way to it leads out of ${root}; run this on the host itself, or name another path`,
    );
  }
}

async function kindOf(path: string): Promise<'none' | 'file' | 'link' | 'other'> {
  const found = await lstat(path).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (found === undefined) return 'none';
  return found.isFile() ? 'file' : found.isSymbolicLink() ? 'link' : 'other';
}

async function sameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = [await stat(one), await stat(other)];
  if (a.dev === b.dev && a.ino === b.ino) return true;
  return a.size === b.size && (a.mode & 0o777) === 0o755 && (await sameBytes(one, other, a.size));
}

/** Byte by byte, and not by a digest: it is done at every boot, beside an API server that starts, and hashing 2 x 105 MiB takes three times the CPU. */
async function sameBytes(one: string, other: string, size: number): Promise<boolean> {
  await using a = await open(one);
  await using b = await open(other);
  const chunks = [Buffer.allocUnsafe(CHUNK), Buffer.allocUnsafe(CHUNK)] as const;
  for (let at = 0; at < size; at += CHUNK) {
    const [x, y] = await Promise.all([readChunk(a, chunks[0], at), readChunk(b, chunks[1], at)]);
    if (!x.equals(y)) return false;
  }
  return true;
}

/** Shorter at the end of the file only. */
async function readChunk(file: FileHandle, chunk: Buffer, at: number): Promise<Buffer> {
  let filled = 0;
  while (filled < chunk.length) {
    const { bytesRead } = await file.read(chunk, filled, chunk.length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return chunk.subarray(0, filled);
}
