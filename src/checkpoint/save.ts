/**
 * Rule 1, save: a parent whose copy changed is written as a new generation, and one that stayed Ready long enough is marked proven. Independent of all
 * other rules. A generation that only differs in what belongs to one pod (its tokens, its name) takes over the proof: it runs the same.
 */
import { quarantines } from '../recovery/damaged.ts';
import { isFailing } from '../recovery/rollback.ts';
import type { Copy } from './copy-types.ts';
import type { Action, GenerationNumber, StoredGeneration } from './model.ts';
import { provenOffline } from './prove.ts';
import type { Case, Verdict } from './verdict.ts';

/** What is to be written for a workload, and what to say of it while its parent runs. */
export function save({ observation, policy, workload, memory, leaving }: Case): Verdict {
  const stored = workload.stored;
  const offline = stored === undefined ? undefined : provenOffline(memory, policy.proveAfter);
  // What a runtime that does not answer still runs, nobody knows.
  const quarantine = observation.runtime.state === 'ok' ? quarantines(workload) : [];
  const kept = { actions: quarantine };
  if (observation.api.state !== 'ok' || workload.parent.state !== 'present' || workload.parent.pod.terminating || leaving) {
    if (offline !== undefined)
      return observation.now >= offline.due
        ? {
            reason: 'Protected',
            message: `generation ${offline.generation} is proven: it ran, and its own readiness probes were answered on this node`,
            actions: [...quarantine, { kind: 'prove', workload: workload.workload, generation: offline.generation }],
          }
        : { reason: 'Saved', message: `generation ${offline.generation} runs; it is not proven yet`, ...kept, wakeAt: offline.due };
    return stored?.proven === undefined
      ? { reason: 'Saved', message: 'a copy is stored; it is not proven', ...kept }
      : { reason: 'Protected', message: 'a proven copy is stored', ...kept };
  }
  const { name, uid, copy: outcome } = workload.parent.pod;
  const older = stored?.newest === undefined ? '' : `; generation ${stored.newest} of an earlier spec is kept`;
  if (outcome.kind === 'refused') {
    const reasons = outcome.refusals.map((refusal) => `${refusal.field}: ${refusal.message}`).join('; ');
    return { reason: 'Refused', message: `no copy can be made: ${reasons}${older}`, ...kept };
  }
  // A reason of its own: it does not end by itself as the others do, and somebody else can end it.
  if (outcome.kind === 'waiting' && outcome.denied !== undefined) {
    const others = outcome.objects.filter((object) => outcome.denied?.includes(object) !== true);
    const besides = others.length === 0 ? '' : `; waiting for ${others.join(', ')}`;
    return {
      reason: 'ObjectsDenied',
      message: `the API server denies the checkpointer ${outcome.denied.join(', ')}: grant its identity what is needed${besides}${older}`,
      ...kept,
    };
  }
  if (outcome.kind === 'waiting')
    return { reason: 'WaitingForObjects', message: `waiting for ${outcome.objects.join(', ')}${older}`, ...kept };

  const { copy } = outcome;
  const newest = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest);
  const proven = stored?.proven === undefined ? undefined : stored.generations.get(stored.proven);
  if (newest === undefined || !holds(newest, copy)) {
    const action: Action =
      proven !== undefined && holds(proven, copy)
        ? { kind: 'repoint', workload: workload.workload, generation: proven.number }
        : { kind: 'save', workload: workload.workload, copy, parent: { name, uid } };
    return {
      reason: 'Saving',
      message: 'the pod, or something that it mounts, changed: its copy is being written',
      actions: [...quarantine, action],
    };
  }
  if (newest.number === proven?.number)
    return {
      reason: 'Protected',
      message: `generation ${newest.number} is proven`,
      actions: [...quarantine, ...prune(workload, observation.runtime.state === 'ok')],
    };
  if (newest.digest === proven?.digest)
    return {
      reason: 'Protected',
      message: `generation ${newest.number} is as proven as generation ${proven.number}: only what belongs to the pod alone is newer`,
      actions: [...quarantine, { kind: 'renew', workload: workload.workload, generation: newest.number }],
    };
  if (isFailing(workload, memory, newest.digest))
    return {
      reason: 'FailingSpec',
      message: `generation ${newest.number} is stored; its spec is marked failing: change it, or run "checkpointer forgive" to have it tried again`,
      actions: [...quarantine, ...prune(workload, observation.runtime.state === 'ok')],
    };
  if (memory.ready?.digest === newest.digest) {
    const due = memory.ready.since + policy.proveAfter;
    if (observation.now >= due) {
      return {
        reason: 'Protected',
        message: `generation ${newest.number} is proven`,
        actions: [...quarantine, { kind: 'prove', workload: workload.workload, generation: newest.number }],
      };
    }
    return {
      reason: 'Saved',
      message: `generation ${newest.number} is stored and not proven yet`,
      actions: [...quarantine, ...prune(workload, observation.runtime.state === 'ok')],
      wakeAt: due,
    };
  }
  return {
    reason: 'Saved',
    message: `generation ${newest.number} is stored; it is proven once the pod has been Ready for a while`,
    actions: [...quarantine, ...prune(workload, observation.runtime.state === 'ok')],
  };
}

function holds(generation: StoredGeneration, copy: Copy): boolean {
  return generation.digest === copy.digest && generation.instance?.digest === copy.instance?.digest;
}

/** While none is proven, one of these may have been: its pointer can have been lost. */
export const KEPT_UNPROVEN = 3;
/** Kept of those that nothing is known to need, while that is not known for sure. */
export const KEPT_IN_DOUBT = 8;

/**
 * Retention: the proven generation, the one proven before it, the newest and those that run are kept. A runtime that did not answer may still run another
 * one, and a pointer that cannot be read may have protected one: then only what exceeds a bound is deleted, the oldest first.
 */
export function prune(
  { workload, stored, active, copyPods }: Case['workload'],
  runtimeKnown: boolean,
): Extract<Action, { kind: 'prune' }>[] {
  if (stored === undefined) return [];
  const latest = [...stored.generations.keys()].sort((a, b) => b - a);
  const used = new Set<GenerationNumber | undefined>([
    ...(stored.proven === undefined ? latest.slice(0, KEPT_UNPROVEN) : []),
    stored.newest,
    stored.proven,
    stored.previous,
    ...active.map((manifest) => manifest.generation),
    ...copyPods.map((pod) => pod.generation),
  ]);
  const certain = runtimeKnown && stored.damagedPointers.length === 0;
  const generations = latest
    .filter((number) => !used.has(number))
    .slice(certain ? 0 : KEPT_IN_DOUBT)
    .reverse();
  return generations.length === 0 ? [] : [{ kind: 'prune', workload, generations }];
}
