/**
 * Rule 3, roll back. A parent that keeps crashing with another spec than the proven one gives way to it, and its spec is marked failing: it is not yielded
 * to, proven or activated until it changes or a person clears the mark.
 */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import type { Action, Digest, GenerationNumber, WorkloadObservation } from '../checkpoint/model.ts';
import { specOfParent } from '../checkpoint/parents.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { activateAction, provenCandidate } from './candidate.ts';
import { CRASHES } from './crashes.ts';

export function isFailing({ stored }: WorkloadObservation, memory: WorkloadMemory, digest: Digest | undefined): boolean {
  return digest !== undefined && (memory.failing?.digest === digest || stored?.failing.has(digest) === true);
}

/** What marks the parent's spec failing, where another one takes its place; undefined where the same one does, or where it is not known what the parent is. */
export function condemn(given: Pick<Case, 'workload' | 'memory'>, instead: GenerationNumber, detail: string): WorkloadMemory['failing'] {
  const { workload, memory } = given;
  const digest = specOfParent(workload, memory);
  if (digest === undefined || workload.stored?.generations.get(instead)?.digest === digest) return undefined;
  return { digest, detail };
}

/** Undefined where a copy is active, or the parent does not keep crashing by itself, or with no other spec than the proven one. */
export function rollBack(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory } = given;
  const { now, api } = observation;
  const crashes = memory.crashes;
  if (workload.active.length > 0 || workload.parent.state === 'absent' || api.state === 'unknown') return undefined;
  if (crashes?.since === undefined || crashes.count < CRASHES || memory.up !== undefined) return undefined;
  const generation = provenCandidate(workload.stored, memory.crashedCopies);
  if (generation === undefined) return undefined;
  const failing = condemn(given, generation, `its containers crashed ${crashes.count} times on this node`);
  if (failing === undefined) return undefined;
  // While the API server answers, its user can see the crashes, too, and may be at it.
  const due = api.state === 'unreachable' ? now : crashes.since + policy.downFor;
  const what = `the parent crashes with a spec that is not the proven one`;
  if (now < due)
    return {
      reason: 'ParentDown',
      message: `${what}; generation ${generation} is activated in ${seconds(due - now)}`,
      wakeAt: due,
      flux: true,
    };
  return {
    reason: 'RolledBack',
    message: `${what}: activating generation ${generation}`,
    actions: [activateAction(given, generation)],
    memory: { ...memory, failing },
    flux: true,
  };
}

/** Whatever else is decided: a mark is made until it is on the disk, and a proven generation whose spec is marked gives way to the one proven before it. */
export function marks({ workload: { workload, stored }, memory }: Pick<Case, 'workload' | 'memory'>): Action[] {
  if (stored === undefined) return [];
  const actions: Action[] = [];
  const { failing } = memory;
  if (failing !== undefined && !stored.failing.has(failing.digest)) actions.push({ kind: 'markFailing', workload, ...failing });
  const [proven, previous] = [stored.proven, stored.previous].map((number) =>
    number === undefined ? undefined : stored.generations.get(number),
  );
  if (proven !== undefined && previous !== undefined && stored.failing.has(proven.digest) && !stored.failing.has(previous.digest))
    actions.push({ kind: 'demote', workload, generation: previous.number });
  return actions;
}
