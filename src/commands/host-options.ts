/** Flags of the commands that are run on the host itself. */
import type { Option } from 'commander';
import { flag } from './options.ts';

export const DEFAULT_KUBECONFIG = '/etc/kubernetes/kubelet.conf';
export const DEFAULT_LOCK_FILE = '/run/lock/pod-checkpointer.lock';
export const DEFAULT_KUBELET_LOCK_FILE = '/run/lock/kubelet.lock';
export const DEFAULT_RUNTIME_ENDPOINT = 'unix:///run/containerd/containerd.sock';

export const lockFileFlag = (): Option =>
  flag('--lock-file <file>', 'leader lock of the checkpointers on this node').default(DEFAULT_LOCK_FILE);

export const kubeletLockFileFlag = (): Option =>
  flag('--kubelet-lock-file <file>', "the kubelet's own --lock-file, which is never opened; while nobody holds it no copy is taken away");

export const bootIdFileFlag = (): Option =>
  flag('--boot-id-file <file>', 'where the boot id is read').default('/proc/sys/kernel/random/boot_id').hideHelp();
