/**
 * Rule 2, orphaned owners. A single master cannot roll its own scheduler (nobody binds the new pod) or its own controller manager (nobody creates it). The
 * owner still wants a pod here and has no Ready one anywhere: the copy bridges that, then yields. A workload that its owner wants here is never retired.
 */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import type { Millis, Observation, WorkloadObservation } from '../checkpoint/model.ts';
import type { OwnerState } from '../checkpoint/owner-wants.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { workloadKey } from '../checkpoint/workload.ts';
import { activateAction, provenCandidate } from './candidate.ts';

const UNKNOWN: OwnerState = { state: 'unknown', detail: 'nobody may read it' };

export function ownerOf({ owners }: Observation, { workload }: WorkloadObservation): OwnerState {
  return owners?.get(workloadKey(workload)) ?? UNKNOWN;
}

export const isWantedHere = (owner: OwnerState): boolean => owner.state === 'present' && owner.wantsPodHere && !owner.deleting;

/**
 * Without an answer about the owner there is only time. A pod of a DaemonSet does not move to another node, so nothing runs twice; an API server is left
 * out: the answer that its pod is gone came from another one.
 */
function byTime(owner: OwnerState, { workload, stored }: WorkloadObservation): boolean {
  const servesApi = [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi);
  return owner.state === 'unknown' && workload.kind === 'DaemonSet' && !servesApi;
}

export function rememberOrphan(memory: WorkloadMemory, workload: WorkloadObservation, observation: Observation): Millis | undefined {
  const { api, now } = observation;
  if (api.state !== 'ok' || workload.parent.state !== 'absent' || workload.parent.unmarked) return undefined;
  const owner = ownerOf(observation, workload);
  const nobodyReady = owner.state === 'present' && owner.pods.state === 'ok' && owner.pods.ready.length === 0;
  return (isWantedHere(owner) && nobodyReady) || byTime(owner, workload) ? (memory.orphanSince ?? now) : undefined;
}

/** Undefined where the API server did not answer or has the parent, and where nobody wants the workload here. */
export function orphan(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory, leaving } = given;
  const { now } = observation;
  if (observation.api.state !== 'ok' || workload.parent.state !== 'absent' || workload.parent.unmarked || leaving) return undefined;
  if (workload.stored === undefined) return undefined;
  const owner = ownerOf(observation, workload);
  const wanted = isWantedHere(owner);
  if (!wanted && (memory.orphanSince === undefined || now >= (memory.absentSince ?? now) + policy.checkpointGracePeriod)) return undefined;
  const kind = workload.workload.kind;
  const who = wanted ? `the ${kind} wants a pod here` : `the pod is gone, and nobody may read whether its ${kind} is`;
  if (workload.active.length > 0) return { reason: 'Orphaned', message: `${who}: the copy runs until there is one`, flux: true };
  if (memory.orphanSince === undefined) {
    const detail = owner.state === 'present' && owner.pods.state === 'unknown' ? ` (its pods: ${owner.pods.detail})` : '';
    return { reason: 'ParentAwaited', message: `${who}, and a pod of it is Ready or may be${detail}`, flux: false };
  }
  const generation = provenCandidate(workload.stored, memory.crashedCopies);
  if (generation === undefined) return wanted ? { reason: 'ParentAwaited', message: `${who}, and no copy of it is proven` } : undefined;
  // While the API server itself is being brought back nobody else creates or binds pods: what waited for it is needed now.
  const waited = wanted && given.apiServer === 'copy' && workload.stored.generations.get(generation)?.traits.asksApi === true;
  const due = memory.orphanSince + (waited ? 0 : policy.orphanAfter);
  if (memory.parentDownSince === undefined)
    return { reason: 'ParentAwaited', message: `${who} and has none; the containers of an earlier one still run here` };
  if (now < due)
    return {
      reason: 'ParentAwaited',
      message: `${who} and has none; generation ${generation} is activated in ${seconds(due - now)}`,
      wakeAt: due,
    };
  return {
    reason: 'Orphaned',
    message: `${who} and has had none for ${seconds(now - memory.orphanSince)}: activating generation ${generation}`,
    actions: [activateAction(given, generation)],
    flux: true,
  };
}
