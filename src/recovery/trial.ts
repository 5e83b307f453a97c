/**
 * Rule 4, trial: a parent that was given its copy's place has to come up before a deadline, and stay up. One that does not is replaced by the copy again and
 * gets another chance later; one that crashes with another spec than the copy's is marked failing and gets none until it changes.
 */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import type { Action, GenerationNumber, Millis } from '../checkpoint/model.ts';
import { specOfParent } from '../checkpoint/parents.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { activateAction, candidate } from './candidate.ts';
import { CRASHES } from './crashes.ts';
import { condemn } from './rollback.ts';

const MAX_TRIAL_BACKOFF: Millis = 30 * 60_000;
/** A parent that goes down that soon after its hand-back did not pass its trial after all. The kubelet, too, takes a container for sound after 10 min. */
const PROBATION: Millis = 10 * 60_000;
/** A world that does not change sees at most this many activations of a workload in `PROBATION`. */
const ACTIVATIONS = 3;

/** Undefined where no trial runs. */
export function trial(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory } = given;
  const { now, api } = observation;
  if (memory.trial === undefined || workload.parent.state === 'absent') return undefined;
  // A parent without a sandbox, and without an API server to give it one, did not fail: it was taken away. Rule 2 applies.
  if (api.state === 'unreachable' && !workload.parentPods.some((pod) => pod.sandboxReady)) return undefined;
  if (memory.up !== undefined) {
    const due = Math.max(memory.up.since, memory.trial.since) + policy.stableFor;
    if (now < due) return { reason: 'Trial', message: `the parent is up; the trial is passed in ${seconds(due - now)}`, wakeAt: due };
    return { reason: 'Protected', message: 'the parent came up and stayed up', memory: pass(given) };
  }
  const generation = candidate(workload.stored, memory.crashedCopies);
  const crashed = (memory.crashes?.count ?? 0) >= CRASHES;
  if ((now < memory.trial.deadline && !crashed) || generation === undefined) {
    return {
      reason: 'Trial',
      message: `the parent has ${seconds(memory.trial.deadline - now)} to come up`,
      wakeAt: memory.trial.deadline,
      flux: true,
    };
  }
  const how = crashed ? `crashed ${memory.crashes?.count ?? 0} times` : 'did not come up';
  // Remembered until a manifest is there: an activation that fails is tried again. It counts as one failure all the same.
  const after = memory.trial.failed === true ? memory : afterFailure(given, generation, how);
  const next =
    after.failing === undefined
      ? `the next trial begins in ${seconds((after.failedTrials?.retryAt ?? now) - now)} at the earliest`
      : 'there is no other trial before its spec changes';
  return {
    reason: 'TrialFailed',
    message: `the parent ${how}: activating generation ${generation}; ${next}`,
    actions: [activateAction(given, generation)],
    memory: { ...after, trial: { ...memory.trial, failed: true } },
    flux: true,
  };
}

/** The parent holds its place. Failures before are forgiven only after the probation. */
export function pass({ observation: { now }, workload, memory }: Case): WorkloadMemory {
  const { trial: _passed, ...rest } = memory;
  const uid = memory.up?.uid ?? (workload.parent.state === 'present' ? workload.parent.pod.uid : undefined);
  return uid === undefined ? rest : { ...rest, passed: { uid, since: now } };
}

/** Rule 2 activates in the place of a parent that was handed back a short while ago: another kind of failed trial. */
export function bringBack(
  given: Case,
  generation: GenerationNumber,
): { readonly actions: readonly Action[]; readonly memory?: WorkloadMemory } {
  const { observation, memory, workload } = given;
  const actions = [activateAction(given, generation)];
  const { passed } = memory;
  if (passed === undefined || observation.now - passed.since >= PROBATION) return { actions };
  // Deleted, or replaced by another: it did not fail.
  const uid = workload.parent.state === 'present' ? workload.parent.pod.uid : memory.lastParent?.uid;
  if (uid !== passed.uid || memory.leaving === uid || memory.crashes?.uid !== uid || memory.crashes.count === 0) return { actions };
  const { passed: _failed, ...after } = afterFailure(given, generation, 'crashed soon after its hand-back');
  return { actions, memory: after };
}

function afterFailure(given: Case, instead: GenerationNumber, how: string): WorkloadMemory {
  const { observation, policy, workload, memory } = given;
  const { now } = observation;
  const count = (memory.failedTrials?.count ?? 0) + 1;
  const digest = specOfParent(workload, memory);
  const backoff = now + Math.min(policy.trialDeadline * 2 ** (count - 1), MAX_TRIAL_BACKOFF);
  const failedTrials = { count, retryAt: Math.max(backoff, notBefore(memory, now)), ...(digest === undefined ? {} : { digest }) };
  const crashes = memory.crashes?.count ?? 0;
  // Crashed as often as it takes, or crashed in one trial after another.
  const condemned = crashes >= CRASHES || (crashes > 0 && count >= CRASHES);
  const failing = condemned
    ? condemn(given, instead, `its containers ${how} when it was given the place of generation ${instead}`)
    : undefined;
  return { ...memory, failedTrials, ...(failing === undefined ? {} : { failing }) };
}

/** An activation for another reason counts as well: a trial that could fail, and so be one more, waits until it may. */
export function postponed(memory: WorkloadMemory, now: Millis): WorkloadMemory {
  const retryAt = notBefore(memory, now);
  if (retryAt <= (memory.failedTrials?.retryAt ?? now)) return memory;
  return { ...memory, failedTrials: { count: 0, ...memory.failedTrials, retryAt } };
}

/** When one more activation is none too many. */
export function mayActivateAt({ activations = [] }: WorkloadMemory, now: Millis): Millis {
  const oldest = activations.slice(-ACTIVATIONS)[0];
  return oldest === undefined || activations.length < ACTIVATIONS ? now : oldest + PROBATION;
}

/** The activation that is to follow is one of the three. */
function notBefore({ activations = [] }: WorkloadMemory, now: Millis): Millis {
  const oldest = [...activations, now].slice(-ACTIVATIONS)[0];
  return oldest === undefined || activations.length + 1 < ACTIVATIONS ? now : oldest + PROBATION;
}
