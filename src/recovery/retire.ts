/** Rule 6, retire: a workload whose parent is really gone is moved out of use. An empty answer is no proof; only a confirmed absence is. */
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { isWantedHere, orphan, ownerOf } from './orphan.ts';
import { activeTraits, makeRoom } from './yield.ts';

/** Undefined where the API server did not answer, or has the parent. */
export function retire(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory, leaving } = given;
  const { now } = observation;
  if (observation.api.state !== 'ok' || workload.parent.state !== 'absent' || workload.stored === undefined) return undefined;
  const wanted = orphan(given);
  if (wanted !== undefined) return wanted;
  const since = memory.absentSince ?? now;
  const due = since + policy.checkpointGracePeriod;
  if (now < due && !leaving) {
    return {
      reason: 'ParentAbsent',
      message: `the API server has no such pod on this node; the copy is retired in ${seconds(due - now)} if that is confirmed`,
      wakeAt: due,
    };
  }
  if (!isConfirmedGone(given)) return confirm(given);
  // Of what is not known it is not said that it does not.
  const serving = workload.active.length > 0 && activeTraits(workload)?.servesApi !== false;
  // A timer must not end the only API server: its own answer is all that there is to say that its pod is gone.
  if (serving && !isReplaced(given))
    return {
      reason: 'KeptServingApi',
      message:
        'the parent is gone, but the copy serves the API and nothing shows that another API server does: delete its manifest to end it',
    };
  if (workload.active.length > 0)
    return {
      reason: 'Retiring',
      message: 'the parent is gone: the copy leaves',
      actions: makeRoom(workload),
      ...(serving && { memory: { ...memory, retiredOnce: true as const } }),
      flux: true,
    };
  if (workload.copyPods.some((pod) => pod.running > 0))
    return { reason: 'Retiring', message: 'the parent is gone: waiting for its copy to end', flux: true };
  return {
    reason: 'Retiring',
    message: 'the parent is gone: its generations are moved out of use',
    actions: [{ kind: 'retire', workload: workload.workload, replaced: hasAnotherPlace(given) }],
  };
}

/**
 * The owner itself is gone, or it wants no pod here and another API server is Ready. Whom nobody may ask says neither. That its owner is gone is no news of
 * one that was brought back for want of another: only another API server takes its place.
 */
function isReplaced(given: Case): boolean {
  const owner = ownerOf(given.observation, given.workload);
  if (owner.state === 'gone') return given.memory.retiredOnce !== true;
  return hasAnotherPlace(given);
}

/** Moved to other nodes: a node that is no master any more does not become one again each time that the API server is away. */
function hasAnotherPlace({ observation, workload }: Case): boolean {
  const owner = ownerOf(observation, workload);
  return owner.state === 'present' && !isWantedHere(owner) && owner.pods.state === 'ok' && owner.pods.ready.length > 0;
}

/** The pod that has to be gone: the parent as it was last seen, or, after a start of the daemon, as it was when it was saved. */
function lastParent({ workload, memory }: Pick<Case, 'workload' | 'memory'>): { readonly name: string; readonly uid: string } | undefined {
  const newest = workload.stored?.newest;
  return memory.lastParent ?? (newest === undefined ? undefined : workload.stored?.generations.get(newest)?.parent);
}

export function isConfirmedGone(given: Pick<Case, 'observation' | 'workload' | 'memory'>): boolean {
  const { observation, workload } = given;
  const pod = lastParent(given);
  return (
    workload.parent.state === 'absent' && (workload.parent.unmarked || (pod !== undefined && observation.absences.get(pod.uid) === 'gone'))
  );
}

function confirm(given: Case): Verdict {
  const { observation, policy, workload, memory } = given;
  const { now } = observation;
  const pod = lastParent(given);
  const answer = pod === undefined ? undefined : observation.absences.get(pod.uid);
  const retryAt = memory.askedAt === undefined ? now : memory.askedAt + policy.checkpointGracePeriod;
  const message =
    answer === undefined
      ? 'asking the API server whether the pod is really gone'
      : `the API server does not list the pod and does not confirm that it is gone either (${answer})`;
  if (pod === undefined || now < retryAt)
    return { reason: 'AbsenceUnconfirmed', message, ...(pod === undefined ? {} : { wakeAt: retryAt }) };
  return {
    reason: 'AbsenceUnconfirmed',
    message,
    actions: [{ kind: 'confirmAbsence', workload: workload.workload, pod }],
    memory: { ...memory, askedAt: now },
  };
}
