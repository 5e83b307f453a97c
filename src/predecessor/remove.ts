/**
 * Removes what bootkube's pod-checkpointer left. Each file is looked at once more before it goes: only what it wrote is removed, no link is followed, and
 * whatever else lies there stays and is said. Manifests go before the files that they name, and a removal is durable before the next one begins.
 */
import { lstat, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { isErrno, kindOf, listDirectory, readRegular, removeDurable, syncDirectory } from '../platform/durable.ts';
import { CONFIG_MAPS, INACTIVE, type PredecessorManifest, parsePredecessorManifest, SECRETS } from './checkpoint.ts';

interface Pod {
  readonly namespace: string;
  readonly name: string;
}

/** One of its copies from the kubelet's directory. A file that is gone already is no error; any other than its own is one. */
export async function removeActive(podManifestPath: string, file: string): Promise<void> {
  const manifest = await manifestAt(podManifestPath, file);
  if (manifest !== undefined) await removeDurable(join(podManifestPath, file), 'urgent');
}

/**
 * All that it left of a pod in its own directories. Not while a manifest of it is active: its files are in use, and it leaves by other rules. Nor while a
 * manifest of somebody else's names its files: a checkpoint that a person gave another name, to have it run.
 */
export async function clearCheckpoint(podManifestPath: string, { namespace, name }: Pod): Promise<void> {
  const base = dirname(podManifestPath);
  const file = `${namespace}-${name}.json`;
  if ([namespace, name].some((part) => part === '' || part.includes('/') || part.startsWith('.')))
    throw new Error(`${JSON.stringify(`${namespace}/${name}`)}: expected the name of a pod`);
  if ((await manifestAt(podManifestPath, file)) !== undefined)
    throw new Error(`${join(podManifestPath, file)} is active: expected that it had left the kubelet's directory`);
  for (const directory of [SECRETS, CONFIG_MAPS]) await expectUnused(podManifestPath, join(base, directory, namespace, name));
  if ((await manifestAt(join(base, INACTIVE), file)) !== undefined) await removeDurable(join(base, INACTIVE, file));
  for (const directory of [SECRETS, CONFIG_MAPS]) await removeObjects(join(base, directory), namespace, name);
}

/** Directories that something came into in the meantime stay. */
export async function removeEmpty(directories: readonly string[]): Promise<void> {
  for (const directory of directories) {
    try {
      await rmdir(directory);
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) continue;
      throw error;
    }
    await syncDirectory(dirname(directory));
  }
}

async function manifestAt(directory: string, file: string): Promise<PredecessorManifest | undefined> {
  const path = join(directory, file);
  if (file.includes('/')) throw new Error(`${path}: expected the name of a file`);
  if ((await kindOf(directory)) !== 'directory') return undefined;
  const bytes = await readRegular(path, MANIFEST_LIMIT);
  if (bytes === undefined) return undefined;
  const manifest = parsePredecessorManifest(file, bytes);
  if (manifest === undefined)
    throw new Error(`${path} is not a manifest of bootkube's pod-checkpointer: look at it, and remove it by hand`);
  return manifest;
}

/** A file that the disk does not give may name them as well: that throws, too. */
async function expectUnused(podManifestPath: string, directory: string): Promise<void> {
  if ((await kindOf(directory)) === 'absent') return;
  for (const file of await listDirectory(podManifestPath)) {
    const path = join(podManifestPath, file);
    if (file.startsWith('.') || (await kindOf(path)) !== 'file') continue;
    const bytes = await readRegular(path, MANIFEST_LIMIT);
    if (bytes?.includes(`${directory}/`) === true)
      throw new Error(
        `${directory} is named in ${path}: expected that nothing uses it any more; when that static pod is not needed, remove it`,
      );
  }
}

/** `<directory>/<namespace>/<pod>/<object>/<key>`: directories down to the object, regular files in it, and nothing else. */
async function removeObjects(directory: string, namespace: string, name: string): Promise<void> {
  const pod = join(directory, namespace, name);
  for (const path of [directory, join(directory, namespace), pod]) {
    const kind = await kindOf(path);
    if (kind === 'absent') return;
    if (kind !== 'directory') throw notItsOwn(path, 'a directory');
  }
  const objects = (await listDirectory(pod)).map((object) => join(pod, object));
  // All of it first: nothing is removed by halves of what somebody else put something into.
  for (const object of objects) {
    if ((await kindOf(object)) !== 'directory') throw notItsOwn(object, 'a directory');
    for (const key of await listDirectory(object))
      if (!(await lstat(join(object, key))).isFile()) throw notItsOwn(join(object, key), 'a regular file');
  }
  for (const object of objects) {
    for (const key of await listDirectory(object)) await removeDurable(join(object, key));
    await removeEmpty([object]);
  }
  await removeEmpty([pod, join(directory, namespace)]);
}

const notItsOwn = (path: string, expected: string): Error =>
  new Error(`${path}: expected ${expected}, as bootkube's pod-checkpointer makes it: look at it, and remove it by hand`);
