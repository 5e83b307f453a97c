/**
 * Whether what is mounted here as the kubelet's directory is still that of the host. A directory that somebody removes and makes anew is another one, and a
 * mount, a container's hostPath or what systemd made writable for its unit, stays with the old one: manifests go where no kubelet reads, or nowhere at all.
 * Only a process that is started anew gets the new one mounted.
 */
import { access, constants, stat } from 'node:fs/promises';
import { isErrno } from '../platform/durable.ts';

/** Between two looks, in milliseconds. */
const CHECK_MS = 10_000;

export interface MountWatch {
  close(): void;
}

/**
 * Calls `onLost` once, with the reason, when manifests can no longer be put where the kubelet reads them until this process is started anew. A disk that is
 * read-only is no such reason: a new start would not help.
 */
export function watchMount(directory: string, onLost: (reason: string) => void, checkMs = CHECK_MS): MountWatch {
  let first: string | undefined;
  let closed = false;
  const check = async (): Promise<void> => {
    const found = await stat(directory, { bigint: true }).catch(() => undefined);
    // Gone for now: where the parent is mounted, the next one will be seen.
    if (found === undefined) return;
    const identity = `${found.dev}:${found.ino}:${found.birthtimeNs}`;
    first ??= identity;
    const removed = found.nlink === 0n;
    if (closed || !(removed || (identity !== first && (await isReadOnly(directory))))) return;
    close();
    onLost(
      removed
        ? `${directory} was removed on the host, and what is mounted here is what was there before`
        : `${directory} was made anew on the host, and cannot be written to from here`,
    );
  };
  const timer = setInterval(() => void check(), checkMs);
  timer.unref();
  function close(): void {
    closed = true;
    clearInterval(timer);
  }
  void check();
  return { close };
}

async function isReadOnly(directory: string): Promise<boolean> {
  try {
    await access(directory, constants.W_OK);
    return false;
  } catch (error) {
    return isErrno(error, 'EROFS');
  }
}
