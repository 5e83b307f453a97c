/** Whether there is room for a generation, asked before anything is written: a save must not take the last blocks that an activation needs. */
import { statfs } from 'node:fs/promises';
import { StoreError } from './errors.ts';

/** What a save leaves free, in bytes and inodes: pointers, counters, manifests and the file system's own growth. */
const RESERVE = { bytes: 1024 * 1024, inodes: 32 } as const;

export interface Demand {
  /** Sizes in bytes. */
  readonly files: readonly number[];
  readonly directories: number;
}

export interface FileSystemSpace {
  readonly bsize: number;
  readonly bavail: number;
  /** 0 on file systems that do not count inodes. */
  readonly files: number;
  readonly ffree: number;
}

/** What is missing, in words; undefined where there is room. Pure. */
export function shortage(demand: Demand, space: FileSystemSpace): string | undefined {
  const blocks = demand.files.reduce((sum, size) => sum + Math.ceil(size / space.bsize), demand.directories);
  const need = blocks * space.bsize + RESERVE.bytes;
  const free = space.bavail * space.bsize;
  if (free < need) return `${free} bytes are free, ${need} are needed`;
  const inodes = demand.files.length + demand.directories + RESERVE.inodes;
  if (space.files > 0 && space.ffree < inodes) return `${space.ffree} inodes are free, ${inodes} are needed`;
  return undefined;
}

/** Throws StoreError with `StoreFull` when there is no room. */
export async function expectSpace(root: string, demand: Demand): Promise<void> {
  const missing = shortage(demand, await statfs(root));
  if (missing !== undefined) throw new StoreError('StoreFull', `the store ${root} is as it was, nothing was saved: ${missing}`);
}
