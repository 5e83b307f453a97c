/** Who holds the kubelet's lock, as a source of observations. Not configured is `unknown`: then nothing depends on it. */
import type { KubeletState } from '../checkpoint/model.ts';
import { readKubeletLock } from '../lock/kubelet.ts';

export interface KubeletLockSource {
  read(): Promise<KubeletState>;
}

export function createKubeletLockSource(path: string | undefined): KubeletLockSource {
  return {
    async read() {
      if (path === undefined) return { state: 'unknown', detail: 'no --kubelet-lock-file' };
      const lock = await readKubeletLock({ path });
      if (lock.state !== 'held') return lock.state === 'free' ? { state: 'free' } : lock;
      return { state: 'held', pid: lock.holder.pid, waiting: lock.waiters.map(({ pid }) => pid) };
    },
  };
}
