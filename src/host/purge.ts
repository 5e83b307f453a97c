/**
 * What `uninstall-host --purge-store` deletes: the store, with every copy and the Secrets in them. Nothing brings them back, so
 *
 *  1. only a directory that is a store goes, and no link is followed to one;
 *  2. none goes while a manifest of ours lies in the kubelet's directory: its pod mounts files of the store, and starts from them after a reboot;
 *  3. what says that it is a store goes last: a deletion that was cut short can be done again.
 */
import { lstat, realpath, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { checkFormat } from '../checkpoint/store/read.ts';
import { withTransaction } from '../lock/transaction.ts';
import { journalPath } from '../pivot/journal.ts';
import { isErrno, kindOf, listDirectory, removeTree, syncDirectory } from '../platform/durable.ts';
import { readManifests } from '../recovery/manifests.ts';
import { expectInside, ForeignFileError } from './install.ts';

export interface StorePlaces {
  /** Where the host's file system is mounted. */
  readonly root: string;
  /** Both are the host's. */
  readonly checkpointDir: string;
  readonly podManifestPath: string;
}

export interface FoundStore {
  /** As it is reached from here. */
  readonly path: string;
  /** A pivot left the manifests in it that `unpivot` puts back. */
  readonly pivoted: boolean;
}

/** Copies are in use; nothing was deleted. */
export class StoreInUseError extends Error {
  override readonly name = 'StoreInUseError';
}

/** The store that would be deleted; undefined where there is none. Throws ForeignFileError for what is no store, and StoreInUseError. */
export async function findStore(places: StorePlaces): Promise<FoundStore | undefined> {
  const { root, checkpointDir } = places;
  await expectInside(root, checkpointDir);
  const above = await realpath(join(root, dirname(checkpointDir))).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (above === undefined) return undefined;
  const store = join(above, basename(checkpointDir));
  const kind = await kindOf(store);
  if (kind === 'absent') return undefined;
  if (kind !== 'directory')
    throw new ForeignFileError(`${checkpointDir} is not a directory: expected the store itself, not a link to it; give its own path`);
  if ((await checkFormat(store)) === 'none')
    throw new ForeignFileError(`${checkpointDir} is not a store of the checkpointer: expected the --checkpoint-dir of its daemon`);
  await expectUnused(places);
  return { path: store, pivoted: (await kindOf(journalPath(store))) !== 'absent' };
}

/** Deletes it while no command changes it. Throws as findStore does, and where the disk does not let it. */
export async function purgeStore(places: StorePlaces, { path: store }: FoundStore): Promise<void> {
  await withTransaction(store, async ({ check }) => {
    await expectUnused(places);
    const names = (await listDirectory(store)).filter((name) => !name.startsWith(LOCK));
    for (const name of names.sort((a, b) => rank(a) - rank(b))) {
      await check();
      await removeTree(join(store, name));
    }
  });
  // What killed processes left of its lock. Anything else somebody put there meanwhile: that is an error, and stays.
  for (const name of await listDirectory(store)) if (name.startsWith(LOCK)) await removeTree(join(store, name));
  const { dev } = await lstat(dirname(store));
  // A file system of its own cannot be removed, only emptied.
  if ((await lstat(store)).dev === dev) await rmdir(store);
  await syncDirectory(dirname(store));
}

/** lock/transaction.ts */
const LOCK = '.lock-';

/** By these two a store is known (checkFormat). */
const rank = (name: string): number => (name === 'format' ? 2 : name === 'workloads' ? 1 : 0);

async function expectUnused({ root, podManifestPath }: StorePlaces): Promise<void> {
  const manifests = await readManifests(join(root, podManifestPath)).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return [];
    throw error;
  });
  if (manifests.length === 0) return;
  const files = manifests.map(({ file }) => join(podManifestPath, file)).join(', ');
  throw new StoreInUseError(
    `the store is in use: ${files} would start from it; delete the DaemonSet and wait until these are gone, or remove them by hand, the checkpointer's own first`,
  );
}
