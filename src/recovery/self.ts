/**
 * Rule 7, self: the checkpointer's own copy is always active. It runs beside the DaemonSet's pod and waits for the leader lock; after a power cut it is
 * the one that the kubelet can start. When its DaemonSet is gone it leaves last.
 */
import type { Action, GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { digestOfParent } from '../checkpoint/parents.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { activateAction, candidate } from './candidate.ts';
import { retire } from './retire.ts';
import { isFailing } from './rollback.ts';

/** What is left of the other workloads: a copy that is active, a copy that is stored, or nothing. */
export type Others = 'active' | 'stored' | 'none';

export function self(given: Case, others: Others): Verdict | undefined {
  const { workload, leaving } = given;
  const othersActive = others === 'active';
  if (leaving) {
    if (others !== 'none')
      return { reason: 'Leaving', message: 'the DaemonSet of the checkpointer is gone; it leaves once no other copy is active or stored' };
    return {
      reason: 'Leaving',
      message: 'the DaemonSet of the checkpointer is gone: it leaves the node',
      actions: [{ kind: 'leave', workload: workload.workload, files: workload.active.map(({ file }) => file) }],
    };
  }
  const retiring = retire(given);
  if (retiring !== undefined && retiring.actions?.every((action) => action.kind === 'confirmAbsence') !== false) return retiring;

  const active = workload.active[0];
  // A generation that is not proven never takes the place of a running copy; without one it is better than nothing.
  const wanted =
    active === undefined ? candidate(workload.stored, given.memory.crashedCopies) : wantedBeside(active.generation, workload.stored);
  if (wanted === undefined || active?.generation === wanted)
    return active === undefined
      ? undefined
      : (stepDown(given, othersActive) ?? {
          reason: 'SelfActive',
          message: `generation ${active.generation} waits beside the DaemonSet's pod`,
        });
  const replaced: Action[] = workload.active.map(({ file }) => ({ kind: 'deactivate', workload: workload.workload, file }));
  return {
    reason: 'Activating',
    message: `activating generation ${wanted} of the checkpointer itself`,
    actions: [activateAction(given, wanted), ...replaced],
  };
}

/** Times that a spec of the checkpointer is given the lead without being proven by it. */
const LEADS = 3;

/**
 * A new version that waits shows nothing but that it can wait. The one that works gives it the lead and queues behind it: a new version that ends, crashes
 * or is ended by its liveness probe gives the lock back to it, and only one that has led for a while is proven and takes the place of the copy.
 */
function stepDown({ observation, policy, workload, memory }: Case, busy: boolean): Verdict | undefined {
  const { now, api, runsIn, steppedDown, kubelet } = observation;
  const parent = workload.parent.state === 'present' ? workload.parent.pod : undefined;
  if (api.state !== 'ok' || parent === undefined || parent.terminating || !parent.ready || kubelet.state === 'free') return undefined;
  if (runsIn === undefined || runsIn.pod === parent.uid || busy) return undefined;
  const digest = digestOfParent(workload);
  const proven = workload.stored?.proven === undefined ? undefined : workload.stored.generations.get(workload.stored.proven);
  if (digest === undefined || proven === undefined || digest === proven.digest) return undefined;
  if (isFailing(workload, memory, digest)) {
    const detail = workload.stored?.failing.get(digest)?.detail ?? memory.failing?.detail ?? '';
    return { reason: 'FailingSpec', message: `the new version of the checkpointer is marked failing (${detail}): this one goes on` };
  }
  const before = steppedDown?.digest === digest ? steppedDown : undefined;
  if (before !== undefined && before.count >= LEADS)
    return {
      reason: 'FailingSpec',
      message: `the new version of the checkpointer did not work when it led ${before.count} times: this one goes on`,
      memory: { ...memory, failing: { digest, detail: `it led ${before.count} times and was not proven` } },
    };
  const backoff = before === undefined ? 0 : before.at + policy.trialDeadline * 2 ** (before.count - 1);
  const due = Math.max(backoff, (memory.up?.uid === parent.uid ? memory.up.since : now) + policy.stableFor);
  if (now < due)
    return { reason: 'SteppingDown', message: `a new version of the checkpointer leads in ${seconds(due - now)}`, wakeAt: due };
  return {
    reason: 'SteppingDown',
    message: 'a new version of the checkpointer leads from now on',
    actions: [{ kind: 'stepDown', digest }],
  };
}

/** A newer token alone is no reason for another pod: the copy waits, and where it works it asks the API server with the node's identity. */
function wantedBeside(active: GenerationNumber, stored: StoredWorkload | undefined): GenerationNumber {
  const proven = stored?.proven;
  const same = proven !== undefined && stored?.generations.get(active)?.digest === stored?.generations.get(proven)?.digest;
  return proven === undefined || same ? active : proven;
}
