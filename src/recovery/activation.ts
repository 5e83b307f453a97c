/**
 * Rule 2, activate: a parent that does not run here is replaced by its proven copy, at once on a cold boot, else after a while.
 *
 * The API server goes first: a controller manager or scheduler can do nothing before it answers, and once it does the kubelet starts their parents by itself.
 * Copies of them would only take CPU from it while it starts, and would have to make room for their parents afterwards. So they are activated where it does not
 * come back in time.
 */
import type { WorkloadObservation } from '../checkpoint/model.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { candidate, provenCandidate } from './candidate.ts';
import { bringBack } from './trial.ts';

/** Undefined where the rule does not apply: a parent container runs, a copy is active already, or the API server says that no pod belongs here. */
export function activate(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory, apiUnreachableSince } = given;
  const { api, now } = observation;
  const downSince = memory.parentDownSince;
  if (workload.active.length > 0 || downSince === undefined) return undefined;
  if (workload.parent.state === 'absent') return undefined;
  if (api.state === 'unknown')
    return { reason: 'ApiUnknown', message: 'the parent does not run; the API server has not answered yet', flux: true };

  const choose = api.state === 'unreachable' ? candidate : provenCandidate;
  const generation = choose(workload.stored, memory.crashedCopies);
  const down = `the parent has not run for ${seconds(now - downSince)}`;
  if (generation === undefined) {
    return api.state === 'ok'
      ? undefined
      : { reason: 'NothingToActivate', message: `${down} and no copy is stored that could take its place`, flux: true };
  }

  const waits = given.apiServer !== 'none' && workload.stored?.generations.get(generation)?.traits.asksApi === true;
  const coldBoot = observation.settledBootId !== observation.bootId;
  if (api.state === 'unreachable') {
    // Both must have lasted: one lost answer while a container restarts is no outage.
    const soon = coldBoot ? now : Math.max(downSince, apiUnreachableSince ?? now) + policy.activateAfter;
    const due = waits ? Math.max(soon, (apiUnreachableSince ?? now) + policy.apiServerFirst) : soon;
    const why = coldBoot ? 'the node has booted and the API server does not answer' : `${down} and the API server does not answer`;
    if (now >= due)
      return {
        reason: 'Activating',
        message: `${why}: activating generation ${generation}`,
        ...bringBack(given, generation),
        flux: true,
      };
    if (now >= soon)
      return {
        reason: 'ApiServerFirst',
        message: `${why}: the API server is brought back first; generation ${generation} is activated ${Number.isFinite(due) ? `in ${seconds(due - now)}, if it does not answer until then` : 'by the daemon, if it does not come back'}`,
        wakeAt: due,
        flux: true,
      };
    return {
      reason: 'ParentDown',
      message: `${why}; generation ${generation} is activated in ${seconds(due - now)}`,
      wakeAt: due,
      flux: true,
    };
  }
  // The API server answers (to others, if not to us): the kubelet can bring the parent by itself and gets the time to.
  // One that nobody wanted here for long was not down, it has just come; one that is made anew every few seconds is down all the while.
  const { came } = memory;
  // Who is denied does not get the pod from there, and what waited may be the controller manager that signs the kubelet's next certificate.
  const downFor = waits && api.state === 'denied' ? Math.min(policy.downFor, policy.apiServerFirst || policy.downFor) : policy.downFor;
  const due = (came !== undefined && came.absentFor >= policy.downFor ? Math.max(downSince, came.since) : downSince) + downFor;
  if (now >= due)
    return {
      reason: 'Activating',
      message: `${down}: activating generation ${generation}`,
      ...bringBack(given, generation),
      flux: true,
    };
  return {
    reason: 'ParentDown',
    message: `${down}; generation ${generation} is activated in ${seconds(due - now)}`,
    wakeAt: due,
    flux: true,
  };
}

/** Its pod may be gone, or not be known: what counts is whether a copy of one is there, or could be. */
export function apiServerOf(workloads: Iterable<WorkloadObservation>): Case['apiServer'] {
  const serving = [...workloads].filter(({ stored }) => [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi));
  if (serving.length === 0) return 'none';
  return serving.some(({ active }) => active.length > 0) ? 'copy' : 'here';
}
