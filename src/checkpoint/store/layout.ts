/** The directories of the store: made where they are missing, and cleared of whatever else lies in their place. */
import { chmod, lstat, rename } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { ensureDirectory, kindOf, listDirectory, readRegular, replaceDurable, syncDirectory } from '../../platform/durable.ts';
import type { Workload } from '../workload.ts';
import { asStoreError } from './errors.ts';
import { encodeCounter, encodeFormatLine, FORMAT, MANIFEST_LIMIT } from './format.ts';
import { activationsPath, formatPath, generationsPath, quarantinePath, retiredPath, workloadPath, workloadsPath } from './paths.ts';
import { checkFormat } from './read.ts';

/**
 * Makes the store where there is none. The directory's parent must exist: a typing error must not make a store anywhere.
 * Throws FormatError, having touched nothing, on a store of a later version; StoreError for what the file system answers.
 */
export async function prepareStore(root: string): Promise<void> {
  try {
    const format = await checkFormat(root);
    // Its line is written when the directories are durable, and so says that they are: on a slow disk no start waits for what is there already.
    const known = format === 'ours' ? 'known' : 'maybeNot';
    await ensureDirectory(root, known);
    await keepOthersOut(root);
    for (const path of [quarantinePath(root), workloadsPath(root), retiredPath(root)]) await ensureDirectory(path, known);
    if (format === 'ours') return;
    await clear(root, formatPath(root), 'nothing');
    await replaceDurable(formatPath(root), Buffer.from(encodeFormatLine(FORMAT)));
  } catch (error) {
    throw asStoreError(error, root);
  }
}

/** Secrets lie below, with the modes that their pods want: only this directory keeps everybody else away from them. */
async function keepOthersOut(root: string): Promise<void> {
  const { uid, mode } = await lstat(root);
  const own = process.geteuid?.();
  if (own !== undefined && uid !== own)
    throw new Error(`${root} belongs to uid ${uid}: expected ${own}, who runs this; change its owner (chown) or move it away`);
  if ((mode & 0o7777) !== 0o700) await chmod(root, 0o700);
}

/** The workload's directory, made where it is missing, with everything in it that is not one of its generations. */
export async function ensureWorkload(root: string, workload: Workload): Promise<string> {
  const workloadDir = workloadPath(root, workload);
  await expectDirectory(workloadsPath(root));
  const { namespace, group, kind, name } = workload;
  const text = Buffer.from(`${JSON.stringify({ namespace, group, kind, name }, undefined, 2)}\n`);
  const path = join(workloadDir, 'workload.json');
  await clear(root, workloadDir, 'directory');
  const there = await readRegular(path, MANIFEST_LIMIT).catch(() => undefined);
  const written = there?.equals(text) === true;
  for (const directory of [workloadDir, generationsPath(workloadDir)]) {
    await clear(root, directory, 'directory');
    // It is written when both are durable, and so says that they are.
    await ensureDirectory(directory, written ? 'known' : 'maybeNot');
  }
  if (!written) {
    await clear(root, path, 'file');
    await replaceDurable(path, text);
  }
  // Before the first generation: one without it has lost it (see readActivations).
  const counter = activationsPath(workloadDir);
  if ((await kindOf(counter)) === 'absent' && (await listDirectory(generationsPath(workloadDir))).length === 0)
    await replaceDurable(counter, Buffer.from(encodeCounter(0)));
  return workloadDir;
}

/** Throws unless it is a directory itself: nothing is moved through a link. */
export async function expectDirectory(path: string): Promise<void> {
  if ((await kindOf(path)) !== 'directory')
    throw new Error(`${path} is not a directory: expected one that the checkpointer made; move what is there away and start it again`);
}

/** Moves what lies in a place of ours and is of another kind than it should be to the quarantine. Nothing is deleted, and no link is followed. */
export async function clear(root: string, path: string, expected: 'file' | 'directory' | 'nothing'): Promise<void> {
  const kind = await kindOf(path);
  if (kind === 'absent' || kind === expected) return;
  await expectDirectory(quarantinePath(root));
  await rename(path, await freeEntry(quarantinePath(root), basename(path), Date.now()));
  await syncDirectory(quarantinePath(root));
}

/** `<directory>/<name>.<ms>`, with the next free number where that is taken: clocks are set back. */
export async function freeEntry(directory: string, name: string, ms: number): Promise<string> {
  for (let number = ms; ; number++) {
    const path = join(directory, `${name}.${number}`);
    if ((await kindOf(path)) === 'absent') return path;
  }
}

/** Whether anything was ever stored here, as far as one look tells. */
export async function hasCopies(root: string): Promise<boolean> {
  return (await listDirectory(workloadsPath(root)).catch(() => [])).some((name) => !name.startsWith('.'));
}
