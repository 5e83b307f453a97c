/**
 * Between two kubelets: while nobody holds the kubelet's lock, or it has just changed hands, nothing is yielded or retired. A copy that is taken away then
 * is replaced by nobody: its parent is started by the kubelet that is not there yet. Activating goes on, a manifest waits for whoever comes.
 */
import type { KubeletMemory } from '../checkpoint/memory.ts';
import type { ActionKind, KubeletState, Millis, Observation } from '../checkpoint/model.ts';
import { seconds, type Verdict } from '../checkpoint/verdict.ts';

/** A kubelet that has taken the lock needs about this long to find the containers and the API server. */
export const HAND_OVER: Millis = 3_000;

/** What is remembered of the lock. The first holder that is ever seen may have had it for long; any later change counts from when it was seen. */
export function rememberKubelet(before: KubeletMemory | undefined, kubelet: KubeletState, now: Millis): KubeletMemory | undefined {
  if (kubelet.state === 'unknown') return before;
  const seen = kubelet.state === 'free' ? undefined : [kubelet.pid, ...kubelet.waiting].join(' ');
  if (before === undefined) return { seen, since: undefined };
  if (before.seen === seen) return before;
  // After a boot the lock is free until the first kubelet comes: that is no change of hands.
  return { seen, since: before.seen === undefined && before.since === undefined ? undefined : now };
}

export interface Away {
  readonly message: string;
  readonly wakeAt?: Millis;
}

/** Undefined while a kubelet holds the lock undisputed, or where that cannot be told: then it is as if there were no lock. */
export function kubeletAway({ kubelet, now }: Observation, memory: KubeletMemory | undefined): Away | undefined {
  if (kubelet.state === 'unknown') return undefined;
  if (kubelet.state === 'free') return { message: 'no kubelet holds its lock: nothing is taken away until one does' };
  if (memory?.since === undefined || now >= memory.since + HAND_OVER) return undefined;
  const wakeAt = memory.since + HAND_OVER;
  return { message: `the kubelet's lock changes hands: nothing is taken away for ${seconds(wakeAt - now)}`, wakeAt };
}

const TAKES_AWAY: ReadonlySet<ActionKind> = new Set(['deactivate', 'makeRoom', 'retire', 'leave']);

/** The verdict, or its postponement if it takes something away. What a rule would have remembered of it did not happen. */
export function unlessAway(verdict: Verdict | undefined, away: Away | undefined): Verdict | undefined {
  if (verdict === undefined || away === undefined) return verdict;
  if (verdict.actions?.some(({ kind }) => TAKES_AWAY.has(kind)) !== true) return verdict;
  return { reason: 'KubeletAway', ...away, flux: true };
}
