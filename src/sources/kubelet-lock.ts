/** Who holds the kubelet's lock, as a source of observations. Not configured is `unknown`: then nothing depends on it. */
import type { KubeletState } from '../checkpoint/model.ts';
import { watchKubeletLock } from '../lock/kubelet.ts';

export interface KubeletLockSource {
  read(): Promise<KubeletState>;
}

export function createKubeletLockSource(path: string | undefined): KubeletLockSource {
  const look = path === undefined ? undefined : watchKubeletLock({ path });
  return {
    async read() {
      if (look === undefined) return { state: 'unknown', detail: 'no --kubelet-lock-file' };
      const lock = await look();
      // No kubelet has held it since the boot: it may be one that takes no lock at all.
      if (lock.state === 'free' && lock.missing)
        return { state: 'unknown', detail: `${path} does not exist: no kubelet has taken that lock yet` };
      if (lock.state !== 'held') return lock.state === 'free' ? { state: 'free' } : lock;
      return { state: 'held', pid: lock.holder.pid, waiting: lock.waiters.map(({ pid }) => pid) };
    },
  };
}
