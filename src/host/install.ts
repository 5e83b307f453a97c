/**
 * What `install-host` puts on a host and `uninstall-host` takes away: an executable, units, and the links that start them at the next boot. A plan is made
 * from what is there, shown, and carried out; each change is complete or not there at all. `root` is where the host's file system is mounted.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, copyFile, lstat, mkdir, open, readFile, readlink, rename, rm, rmdir, stat, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isErrno, removeDurable, replaceDurable, syncDirectory } from '../platform/durable.ts';
import { type HostUnit, UNIT_MARK, UNIT_NAMES } from './units.ts';

const UNIT_DIR = '/etc/systemd/system';

export type Change =
  | { readonly kind: 'write'; readonly path: string; readonly text: string; readonly replaces: boolean }
  | { readonly kind: 'copy'; readonly path: string; readonly from: string; readonly replaces: boolean }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'removeDirectory'; readonly path: string };

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
  const there = await kindOf(join(root, executable));
  if (there !== 'none' && there !== 'file') throw new ForeignFileError(`${executable} is not a regular file: move it away`);
  if (there === 'none' || !(await sameFile(join(root, executable), from)))
    changes.push({ kind: 'copy', path: executable, from, replaces: there === 'file' });
  for (const { name, text, wantedBy } of units) {
    const path = unitPath(name);
    const found = await ownUnit(root, path);
    if (found !== text) changes.push({ kind: 'write', path, text, replaces: found !== undefined });
    const link = wantsPath(wantedBy, name);
    const target = await linkTarget(root, link);
    if (target !== undefined && target !== path) throw new ForeignFileError(`${link} leads to ${target}, expected ${path}: remove it`);
    if (target === undefined) changes.push({ kind: 'link', path: link, target: path });
  }
  // A unit of an earlier installation that is not wanted any more.
  const names = units.map(({ name }) => name);
  for (const name of UNIT_NAMES) if (!names.includes(name)) changes.push(...(await unitRemoval(root, name)));
  return changes;
}

/** Everything of ours, in whatever state it is. A directory goes when that leaves it empty. */
export async function planUninstall(root: string, executable: string): Promise<Change[]> {
  const changes: Change[] = [];
  for (const name of UNIT_NAMES) changes.push(...(await unitRemoval(root, name)));
  if ((await kindOf(join(root, executable))) === 'file') {
    changes.push({ kind: 'remove', path: executable });
    for (const directory of [dirname(executable), dirname(dirname(executable))])
      if (/pod-checkpointer/.test(directory)) changes.push({ kind: 'removeDirectory', path: directory });
  }
  return changes;
}

async function unitRemoval(root: string, name: string): Promise<Change[]> {
  const path = unitPath(name);
  if ((await ownUnit(root, path)) === undefined) return [];
  const changes: Change[] = [];
  for (const directory of await wantsDirectories(root, path)) {
    const link = join(directory, name);
    if ((await linkTarget(root, link)) !== path) continue;
    changes.push({ kind: 'remove', path: link }, { kind: 'removeDirectory', path: directory });
  }
  return [...changes, { kind: 'remove', path }];
}

/** Where the unit says that it is wanted; the kubelet's unit may have another name. */
async function wantsDirectories(root: string, path: string): Promise<string[]> {
  const text = await readFile(join(root, path), 'utf8');
  return [...text.matchAll(/^WantedBy=(\S+)$/gm)].map(([, by]) => join(UNIT_DIR, `${by}.wants`));
}

export async function carryOut(root: string, change: Change): Promise<void> {
  const path = join(root, change.path);
  switch (change.kind) {
    case 'write':
      await mkdir(dirname(path), { recursive: true });
      await replaceDurable(path, Buffer.from(change.text), 0o644);
      return;
    case 'copy':
      await mkdir(dirname(path), { recursive: true });
      await copyDurable(change.from, path);
      return;
    case 'link':
      await mkdir(dirname(path), { recursive: true });
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
  const temporary = `${to}.new`;
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
  }
}

const unitPath = (name: string) => join(UNIT_DIR, name);
const wantsPath = (by: string, name: string) => join(UNIT_DIR, `${by}.wants`, name);

/** The text of a unit of ours; undefined where there is none. */
async function ownUnit(root: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(root, path));
  if (kind === 'none') return undefined;
  const text = kind === 'file' ? await readFile(join(root, path), 'utf8') : '';
  if (!text.startsWith(UNIT_MARK)) throw new ForeignFileError(`${path} was not written by checkpointer install-host: move it away`);
  return text;
}

async function linkTarget(root: string, path: string): Promise<string | undefined> {
  const kind = await kindOf(join(root, path));
  if (kind === 'none') return undefined;
  if (kind !== 'link') throw new ForeignFileError(`${path} is not a symbolic link: move it away`);
  return readlink(join(root, path));
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
  return a.size === b.size && (a.mode & 0o777) === 0o755 && (await digestOf(one)) === (await digestOf(other));
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
