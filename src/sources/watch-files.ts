/**
 * Hints from the file system: somebody touched the manifest directory, the kubeconfig or the node's certificate. A hint wakes the loop, which reads again;
 * nothing relies on one.
 *
 * chokidar loses a directory that is removed and made anew, and watches nothing on some mounts. So each directory's identity is looked at regularly: one that
 * is another than the watched one is watched anew, and while a watch is broken the loop is woken by the clock instead.
 */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import type { Kubeconfig, Pem } from './api/kubeconfig.ts';

export interface FileWatch {
  close(): Promise<void>;
}

export interface WatchLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Between two looks at the identities, in milliseconds; also the pace of re-reading while a watch is broken. */
const CHECK_MS = 10_000;

/** The directories in which a change may mean another identity or another server: of the kubeconfig and of the files that it names. */
export function identityDirectories({ file, ca, login }: Kubeconfig): string[] {
  const named = (pem: Pem | undefined): string[] => (pem?.from === 'file' ? [pem.path] : []);
  const credentials =
    login.kind === 'certificate' ? [...named(login.certificate), ...named(login.key)] : login.kind === 'tokenFile' ? [login.path] : [];
  return [...new Set([file, ...named(ca), ...credentials].map((path) => dirname(path)))];
}

/** Calls `wake` when an entry of one of these directories changes, and when a directory is another one than before. */
export function watchFiles(directories: readonly string[], wake: () => void, log: WatchLog, checkMs = CHECK_MS): FileWatch {
  const watches = [...new Set(directories)].map((directory) => watchDirectory(directory, wake, log));
  const timer = setInterval(() => void Promise.all(watches.map((one) => one.check())), checkMs);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      await Promise.all(watches.map((one) => one.close()));
    },
  };
}

function watchDirectory(directory: string, wake: () => void, log: WatchLog) {
  let watcher: FSWatcher | undefined;
  /** Of the directory that is watched; undefined where none is. */
  let watched: string | undefined;
  let closed = false;
  let broken = false;

  const begin = (identity: string | undefined): void => {
    watched = identity;
    if (identity === undefined) return;
    const own = watch(directory, { ignoreInitial: true, depth: 0, followSymlinks: false });
    own.on('all', wake);
    own.on('error', (error) => {
      if (!broken) log.warn({ directory, error: String(error) }, 'cannot be watched: it is read regularly instead');
      broken = true;
    });
    watcher = own;
  };
  const starting = identityOf(directory).then((identity) => {
    if (!closed) begin(identity);
  });

  return {
    async check(): Promise<void> {
      await starting;
      const identity = await identityOf(directory);
      if (closed || (identity === watched && !broken)) return;
      if (identity === watched) {
        wake();
        return;
      }
      const [before, old] = [watched, watcher];
      watcher = undefined;
      broken = false;
      begin(identity);
      if (identity === undefined) log.warn({ directory }, 'a watched directory is gone');
      else
        log.info(
          { directory },
          before === undefined ? 'a directory to watch is there now' : 'a watched directory is another one: watched anew',
        );
      wake();
      await old?.close();
    },
    async close(): Promise<void> {
      closed = true;
      await starting;
      await watcher?.close();
    },
  };
}

async function identityOf(directory: string): Promise<string | undefined> {
  const found = await stat(directory, { bigint: true }).catch(() => undefined);
  return found?.isDirectory() === true ? `${found.dev} ${found.ino} ${found.birthtimeNs}` : undefined;
}
