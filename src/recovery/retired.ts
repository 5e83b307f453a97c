/**
 * What becomes of retired workloads. They are kept for `--retain`, because an API server that says that a pod is gone can be the last thing that it says:
 * who deletes the API server's own DaemonSet has confirmed an absence that takes everything with it.
 *
 * So they come back when the API server is unreachable and nothing can bring it up: the workload that served it was retired and nothing has taken its
 * place, neither in the store nor as somebody else's static pod, which may have the port for itself and just be starting. The others come back with it,
 * except those that are there again. Where the API server goes away for another reason nothing comes back: what somebody deleted must not run again at every
 * restart of the API server.
 *
 * One whose owner had moved to other nodes stays away, whatever becomes of the API server: this node is no master any more.
 *
 * One that served the API and came back stays, whatever its owner is: retired for the same reason again it would go and come back for ever.
 *
 * They are deleted only on the word of an API server that answers, so that a clock that is wrong after a boot deletes nothing that is needed.
 */
import type { Action, Millis, Observation, Policy, Retired } from '../checkpoint/model.ts';
import { type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';

export interface Retirements {
  readonly actions: readonly Action[];
  readonly wakeAt: Millis | undefined;
  /** Those that serve the API and are brought back. */
  readonly revived: readonly WorkloadKey[];
}

const NONE: Retirements = { actions: [], wakeAt: undefined, revived: [] };

export function retirements(observation: Observation, policy: Policy, apiUnreachableSince: Millis | undefined): Retirements {
  const { api, retired, now, staticApiServer } = observation;
  if (retired === undefined || retired.length === 0) return NONE;
  if (api.state === 'ok') return discard(retired, policy);
  if (api.state !== 'unreachable' || staticApiServer !== undefined) return NONE;
  const needed = replaceable(observation, retired);
  if (!needed.some(({ servesApi }) => servesApi)) return NONE;
  const coldBoot = observation.settledBootId !== observation.bootId;
  const due = coldBoot ? now : (apiUnreachableSince ?? now) + policy.activateAfter;
  if (now < due) return { ...NONE, wakeAt: due };
  return {
    actions: needed.map(({ workload, entry }) => ({ kind: 'revive', workload, entry })),
    wakeAt: undefined,
    revived: needed.filter(({ servesApi }) => servesApi).map(({ workload }) => workloadKey(workload)),
  };
}

/** The last retirement of each workload that has not been replaced: no workload of its name, and no other API server, is in the store. */
function replaceable({ workloads }: Observation, retired: readonly Retired[]): Retired[] {
  const apiServed = [...workloads.values()].some(({ stored }) =>
    [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi),
  );
  const latest = new Map<WorkloadKey, Retired>();
  for (const one of retired.toSorted((a, b) => b.age - a.age)) {
    const key = workloadKey(one.workload);
    if (workloads.has(key) || (one.servesApi && apiServed) || one.replaced) continue;
    latest.set(key, one);
  }
  return [...latest.values()];
}

function discard(retired: readonly Retired[], { retain }: Policy): Retirements {
  if (retain === undefined) return NONE;
  const expired = retired.filter(({ age }) => age >= retain);
  return { ...NONE, actions: expired.map(({ workload, entry }) => ({ kind: 'discard', workload, entry })) };
}
