/** Reading single files and directories of the store. */
import { errnoOf, isErrno, kindOf, listDirectory, readRegular } from '../../platform/durable.ts';
import type { ListDirectory, ReadFile } from '../../platform/remembered.ts';
import { DamagedError } from './errors.ts';

/** How the store's small files and directories are read; for looking again and again, by what remembers them. */
export interface Files {
  readonly read: ReadFile;
  readonly list: ListDirectory;
}

export const FROM_DISK: Files = {
  read: readRegular,
  list: async (path) => ((await kindOf(path)) === 'directory' ? (await listDirectory(path)).sort() : []),
};

/** Errors that say nothing about what lies on the disk. */
export const NOT_OF_THE_DISK = ['EMFILE', 'ENFILE', 'ENOMEM'];

export async function tolerant(path: string, limit: number, read: ReadFile = readRegular): Promise<Buffer | 'absent' | 'unreadable'> {
  try {
    return (await read(path, limit)) ?? 'absent';
  } catch (error) {
    if (isErrno(error, ...NOT_OF_THE_DISK)) throw error;
    return isErrno(error, 'ENOTDIR') ? 'absent' : 'unreadable';
  }
}

/** Bytes of a file that must be there; anything else is damage. `name` stands for it in the message. */
export async function damagedIfUnreadable(path: string, limit: number, name: string): Promise<Buffer> {
  let bytes: Buffer | undefined;
  try {
    bytes = await readRegular(path, limit);
  } catch (error) {
    if (isErrno(error, ...NOT_OF_THE_DISK)) throw error;
    throw new DamagedError(`${name} cannot be read: ${errnoOf(error) ?? (error instanceof Error ? error.message : String(error))}`);
  }
  if (bytes === undefined) throw new DamagedError(`${name} is missing`);
  return bytes;
}
