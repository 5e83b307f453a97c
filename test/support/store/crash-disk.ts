/**
 * A disk whose power can be cut: a file system in a file, whose file can be copied at any instant while it is written to.
 *
 * The file lies on an XFS of its own, because a reflink copy (FICLONE) holds every write back while it is taken, so the copy is what the disk held at one
 * instant: an ordinary copy takes milliseconds, in which a later block could get in without the earlier one that the journal put before it. What the file
 * system has not yet given to its disk is not in the copy. Mounted, the copy replays its journal, as after power-on.
 */
import { execFile, spawnSync } from 'node:child_process';
import { constants, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { PROGRAM_PATH } from '../packages.ts';

const run = promisify(execFile);
const env = { ...process.env, PATH: PROGRAM_PATH };

/** Sparse; 300 MiB is the least that mkfs.xfs takes. */
const SIZE = 320 * 1024 * 1024;
const CARRIER_SIZE = 4 * 1024 * 1024 * 1024;

export type FileSystem = 'ext4' | 'xfs';

const MAKE: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=1,lazy_journal_init=1'],
  xfs: ['mkfs.xfs', '-q', '-f'],
};
/** The copy has the UUID of the original, which XFS refuses to mount twice. */
const MOUNT_OPTIONS: Readonly<Record<FileSystem, string>> = { ext4: 'loop', xfs: 'loop,nouuid' };

/** In memory where there is room: nothing here needs to survive anything, and cuts do not wait for the machine's own disk. */
const PLACE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** Why there can be no such disk on this machine; undefined where there can. Tries it. */
export function missingForCrashDisks(): string | undefined {
  if (process.geteuid?.() !== 0) return 'not root';
  if (!existsSync('/dev/loop-control')) return 'no loop devices (/dev/loop-control)';
  const dir = mkdtempSync(join(PLACE, 'crash-disk-'));
  try {
    const [image, at] = [join(dir, 'image'), join(dir, 'at')];
    mkdirSync(at);
    for (const [command, ...args] of [
      ['truncate', '-s', String(SIZE), image],
      [...MAKE.xfs, image],
      ['mount', '-o', 'loop', image, at],
      ['umount', at],
      [...MAKE.ext4, image],
      ['mount', '-o', 'loop', image, at],
      ['umount', at],
    ] as const) {
      const { status, error, stderr } = spawnSync(command ?? '', args, { env, encoding: 'utf8', timeout: 20_000 });
      if (status !== 0) return `${command} does not work here: ${error?.message ?? stderr.trim().split('\n').at(-1)}`;
    }
    return undefined;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export interface CrashDisk {
  /** Where the file system is mounted. */
  readonly path: string;
  /** Cuts the power of a twin: calls `inspect` with the place where what was on the disk at this instant is mounted, its journal replayed. */
  cut<T>(inspect: (path: string) => Promise<T>): Promise<T>;
  remove(): Promise<void>;
}

export async function createCrashDisk(fileSystem: FileSystem): Promise<CrashDisk> {
  const dir = await mkdtemp(join(PLACE, 'crash-disk-'));
  const [carrier, carried, path, twin] = [join(dir, 'carrier.img'), join(dir, 'carried'), join(dir, 'disk'), join(dir, 'twin')];
  const mounted: string[] = [];
  const mount = async (image: string, at: string, options: string) => {
    await run('mount', ['-t', at === carried ? 'xfs' : fileSystem, '-o', options, image, at], { env });
    mounted.push(at);
  };
  const unmount = async (at: string) => {
    await run('umount', [at], { env });
    mounted.splice(mounted.indexOf(at), 1);
  };
  const remove = async () => {
    for (const at of mounted.toReversed()) await run('umount', [at], { env }).catch(() => run('umount', ['-l', at], { env }));
    await rm(dir, { recursive: true, force: true });
  };
  const sparse = async (image: string, size: number) => {
    await writeFile(image, '');
    await truncate(image, size);
  };
  const make = (kind: FileSystem, image: string) => run(MAKE[kind][0] ?? '', [...MAKE[kind].slice(1), image], { env });
  try {
    for (const at of [carried, path, twin]) await mkdir(at);
    await sparse(carrier, CARRIER_SIZE);
    await make('xfs', carrier);
    await mount(carrier, carried, 'loop');
    const image = join(carried, 'disk.img');
    await sparse(image, SIZE);
    await make(fileSystem, image);
    await mount(image, path, 'loop');
    let number = 0;
    return {
      path,
      remove,
      async cut(inspect) {
        const copy = join(carried, `cut-${++number}.img`);
        await copyFile(image, copy, constants.COPYFILE_FICLONE_FORCE);
        await mount(copy, twin, MOUNT_OPTIONS[fileSystem]);
        try {
          return await inspect(twin);
        } finally {
          await unmount(twin);
          await rm(copy);
        }
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}
