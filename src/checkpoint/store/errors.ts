/** What can be wrong with the store, as values that a caller can act on. */
import { errnoOf } from '../../platform/durable.ts';

/** A generation that is not what its index or its pointer says. */
export class DamagedError extends Error {
  override readonly name = 'DamagedError';
}

/** The store was written by a version that this one does not know; nothing of it may be touched. */
export class FormatError extends Error {
  override readonly name = 'FormatError';
}

/** Why a change of the store failed. CamelCase and stable: reason codes and labels of metrics. In each case the store is as it was. */
export type StoreFailure =
  /** ENOSPC, EDQUOT, or too little free space to begin with. */
  | 'StoreFull'
  /** EROFS. */
  | 'StoreReadOnly'
  /** EIO, EUCLEAN, and what else a disk or its file system answers that fails. */
  | 'StoreFailing'
  /** EMFILE, ENFILE. */
  | 'TooManyOpenFiles'
  /** EACCES, EPERM. */
  | 'StoreDenied'
  /** What was to be stored is larger than what is read back. */
  | 'CopyTooLarge';

const FAILURES: Readonly<Record<string, StoreFailure>> = {
  ENOSPC: 'StoreFull',
  EDQUOT: 'StoreFull',
  EROFS: 'StoreReadOnly',
  EIO: 'StoreFailing',
  // What file systems answer for metadata that is not whole, and disks for what cannot be read, or when they are gone. No errno that sockets have, too.
  EUCLEAN: 'StoreFailing',
  EBADMSG: 'StoreFailing',
  EILSEQ: 'StoreFailing',
  ENODATA: 'StoreFailing',
  EREMOTEIO: 'StoreFailing',
  ENOLINK: 'StoreFailing',
  ENODEV: 'StoreFailing',
  ENXIO: 'StoreFailing',
  ESTALE: 'StoreFailing',
  EMFILE: 'TooManyOpenFiles',
  ENFILE: 'TooManyOpenFiles',
  EACCES: 'StoreDenied',
  EPERM: 'StoreDenied',
};

const ADVICE: Readonly<Record<StoreFailure, string>> = {
  StoreFull: 'free space on its file system',
  StoreReadOnly: 'its file system is mounted read-only: look for errors of the disk in the kernel log, then remount it',
  StoreFailing: 'look for errors of the disk in the kernel log',
  TooManyOpenFiles: 'raise the limit of open files (LimitNOFILE, fs.file-max)',
  StoreDenied: 'it must belong to root, and nothing may forbid root to write there (immutable files, SELinux, AppArmor)',
  CopyTooLarge: 'make the pod or what it mounts smaller',
};

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly failure: StoreFailure;

  constructor(failure: StoreFailure, message: string, options?: ErrorOptions) {
    super(`${message}; ${ADVICE[failure]}`, options);
    this.failure = failure;
  }
}

/** What a failed system call means for the store, undefined for an error that is none. */
export function storeFailure(error: unknown): StoreFailure | undefined {
  if (error instanceof StoreError) return error.failure;
  const errno = errnoOf(error);
  const failure = errno === undefined ? undefined : FAILURES[errno];
  // The lock of a transaction lies in the store, too: its error explains the file system's.
  return failure ?? (error instanceof Error && error.cause instanceof Error ? storeFailure(error.cause) : undefined);
}

/** The same error as a StoreError, if it is one of the file system's; any other error as it is. */
export function asStoreError(error: unknown, root: string): unknown {
  const failure = storeFailure(error);
  if (failure === undefined || error instanceof StoreError || !(error instanceof Error)) return error;
  const errno = errnoOf(error);
  const message = errno === undefined || error.message.includes(errno) ? error.message : `${errno}: ${error.message}`;
  return new StoreError(failure, `the store ${root} is as it was: ${message}`, { cause: error });
}
