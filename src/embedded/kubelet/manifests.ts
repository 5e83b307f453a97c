/**
 * The static pod directory: watched by inotify, and re-read as a whole now and then (pkg/kubelet/config/file.go, file_linux.go).
 *
 *  1. Names that begin with a dot and subdirectories are ignored; every other file is parsed whatever its ending.
 *  2. A file that does not parse is reported. On its own event the pod that it held before stays; at the next full read that pod is gone.
 *  3. Two files with the same pod name: the last one read counts; when one of them goes, the pod is gone until the next full read.
 *  4. Pods are kept by their names, not by their files: when a file gets a pod of another name, that one comes, and the old one stays until the next
 *     full read. For as long both run.
 */
import { type FSWatcher, watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Log, messageOf } from '../log.ts';
import { fullName, type Pod } from './pod.ts';
import { parseManifest } from './static-pod.ts';

/** How long to wait before the directory is watched again when it is not there. */
const WATCH_RETRY_MS = 1000;

export interface ManifestSource {
  stop(): void;
}

export function watchManifests(options: {
  readonly directory: string;
  readonly nodeName: string;
  /** Milliseconds between two full reads. */
  readonly period: number;
  readonly log: Log;
  /** All static pods that there are; the first call comes after the first read. */
  readonly deliver: (pods: readonly Pod[]) => void;
}): ManifestSource {
  const { directory, nodeName, period, log, deliver } = options;
  /** By full name. */
  let pods = new Map<string, Pod>();
  /** Full name of the pod that a file held when it was read last. */
  const held = new Map<string, string>();
  let watcher: FSWatcher | undefined;
  let stopped = false;
  let queue: Promise<void> = Promise.resolve();

  const inTurn = (step: () => Promise<void>) => {
    queue = queue.then(() => (stopped ? undefined : step())).catch((error: unknown) => log(`static pods: ${messageOf(error)}`));
  };
  const publish = () => deliver([...pods.values()]);

  const readAll = async () => {
    const names = await readdir(directory).catch(() => undefined);
    if (names === undefined) log(`static pods: unable to read config path ${directory}: it does not exist`);
    const read = new Map<string, Pod>();
    for (const name of (names ?? []).filter((name) => !name.startsWith('.')).sort()) {
      const pod = await readOne(name);
      if (typeof pod === 'object') read.set(fullName(pod), pod);
    }
    pods = read;
    publish();
  };
  const readChanged = async (name: string) => {
    const pod = await readOne(name);
    if (typeof pod === 'object') pods.set(fullName(pod), pod);
    if (pod === 'missing') {
      pods.delete(held.get(name) ?? '');
      held.delete(name);
    }
    publish();
  };
  const readOne = async (name: string): Promise<Pod | 'missing' | 'no pod'> => {
    const file = join(directory, name);
    try {
      if (!(await stat(file)).isFile()) return 'no pod';
      const pod = parseManifest(await readFile(file, 'utf8'), file, nodeName);
      if (pods.get(fullName(pod))?.metadata.uid !== pod.metadata.uid)
        log(`static pod ${fullName(pod)} from ${file}, uid ${pod.metadata.uid}`);
      held.set(name, fullName(pod));
      return pod;
    } catch (error) {
      if (isMissing(error)) return 'missing';
      log(`could not process manifest file ${file}: ${messageOf(error)}`);
      return 'no pod';
    }
  };
  const startWatch = () => {
    if (stopped || watcher !== undefined) return;
    try {
      watcher = watch(directory, (_event, name) => {
        if (name === null) inTurn(readAll);
        else if (!name.startsWith('.')) inTurn(() => readChanged(name));
      });
      watcher.on('error', () => {
        watcher?.close();
        watcher = undefined;
      });
    } catch {
      watcher = undefined;
    }
  };

  startWatch();
  inTurn(readAll);
  const timers = [setInterval(() => inTurn(readAll), period), setInterval(startWatch, WATCH_RETRY_MS)];
  return {
    stop: () => {
      stopped = true;
      watcher?.close();
      for (const timer of timers) clearInterval(timer);
    },
  };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
