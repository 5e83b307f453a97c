/** Hints from the file system: somebody touched the manifest directory or the kubeconfig. chokidar misses some (a directory made anew, some mounts); nothing relies on it. */
import { watch } from 'chokidar';

export interface FileWatch {
  close(): Promise<void>;
}

export function watchFiles(paths: readonly string[], wake: () => void, log: { warn(fields: object, message: string): void }): FileWatch {
  const watcher = watch([...paths], { ignoreInitial: true, depth: 0, followSymlinks: false });
  watcher.on('all', wake);
  watcher.on('error', (error) =>
    log.warn(
      { error: error instanceof Error ? error.message : String(error) },
      'files cannot be watched; they are read regularly all the same',
    ),
  );
  return { close: () => watcher.close() };
}
