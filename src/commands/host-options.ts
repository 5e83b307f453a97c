/** Flags of the commands that are run on the host itself. */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Option } from 'commander';
import { parseDuration } from '../platform/duration.ts';
import { InputError } from './input-error.ts';
import { durationFlag, flag, parsedBy } from './options.ts';

export const DEFAULT_KUBECONFIG = '/etc/kubernetes/kubelet.conf';
export const DEFAULT_LOCK_FILE = '/run/lock/pod-checkpointer.lock';
export const DEFAULT_KUBELET_LOCK_FILE = '/run/lock/kubelet.lock';
export const DEFAULT_RUNTIME_ENDPOINT = 'unix:///run/containerd/containerd.sock';

export const lockFileFlag = (): Option =>
  flag('--lock-file <file>', 'leader lock of the checkpointers on this node').default(DEFAULT_LOCK_FILE);

export const kubeletLockFileFlag = (): Option =>
  flag('--kubelet-lock-file <file>', "the kubelet's own --lock-file, which is never opened; while nobody holds it no copy is taken away");

/**
 * The leader lock is opened and held, and a kubelet with --exit-on-lock-contention leaves when its lock is: with one file for both no kubelet would ever
 * run. Opens neither. Throws InputError.
 */
export async function expectTwoLocks(lockFile: string, kubeletLockFile: string): Promise<void> {
  const [one, other] = await Promise.all([lockFile, kubeletLockFile].map((path) => stat(path, { bigint: true }).catch(() => undefined)));
  const same = one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino;
  if (same || resolve(lockFile) === resolve(kubeletLockFile))
    throw new InputError(
      `--kubelet-lock-file ${kubeletLockFile} is the file of --lock-file, the checkpointers' own: expected the kubelet's --lock-file, another one`,
    );
}

export const bootIdFileFlag = (): Option =>
  flag('--boot-id-file <file>', 'where the boot id is read').default('/proc/sys/kernel/random/boot_id').hideHelp();

/** setTimeout fires at once for more than this, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** For a duration that is waited for in one piece. */
export function timerFlag(flags: string, description: string, byDefault: string): Option {
  const parse = (text: string): number => {
    const ms = parseDuration(text);
    if (ms > LONGEST_TIMER) throw new Error(`"${text}" is too long: at most 596h (24 days) can be waited for`);
    return ms;
  };
  return durationFlag(flags, description, byDefault).argParser(parsedBy(parse));
}
