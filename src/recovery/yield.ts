/** Rule 4, yield: an active copy makes room for its parent, and comes back if the parent does not come up. */
import type { Action, WorkloadObservation } from '../checkpoint/model.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { activateAction, candidate } from './activation.ts';

const MAX_TRIAL_BACKOFF = 30 * 60_000;

/** Both the running copy and the parent must be able to share: one that does not ask for port sharing makes the other's start fail. */
function canOverlap(workload: WorkloadObservation): boolean {
  const generation = workload.active[0]?.generation;
  const copy = generation === undefined ? undefined : workload.stored?.generations.get(generation);
  const parent =
    workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'copy' ? workload.parent.pod.copy.copy : undefined;
  return copy?.traits.handBack === 'overlap' && parent?.traits.handBack === 'overlap';
}

function servesApi(workload: WorkloadObservation): boolean {
  const generation = workload.active[0]?.generation;
  return (generation === undefined ? undefined : workload.stored?.generations.get(generation))?.traits.servesApi === true;
}

function parentPresent(given: Pick<Case, 'observation' | 'workload'>): boolean {
  const { observation, workload } = given;
  return observation.api.state === 'ok' && workload.parent.state === 'present' && !workload.parent.pod.terminating;
}

/** A sandbox alone may still wait for Secrets that only the API server has; once a container was created the kubelet has all it needs. */
function parentCreated(workload: WorkloadObservation): boolean {
  const uid = workload.parent.state === 'present' ? workload.parent.pod.uid : undefined;
  return workload.parentPods.some((pod) => pod.uid === uid && pod.created > 0);
}

/**
 * Which workload may begin an exclusive yield now: one at a time, those that serve the API last, because the other parents need it to start. A parent
 * that has had `downFor` and still has no container does not hold up the API server any longer.
 */
export function nextToYield(
  cases: ReadonlyMap<WorkloadKey, Pick<Case, 'observation' | 'workload' | 'memory' | 'policy'>>,
): WorkloadKey | undefined {
  const all = [...cases].sort(
    ([a, one], [b, other]) => Number(servesApi(one.workload)) - Number(servesApi(other.workload)) || (a < b ? -1 : 1),
  );
  if (all.some(([, given]) => given.memory.trial !== undefined && given.memory.up === undefined)) return undefined;
  for (const [key, given] of all) {
    const { observation, workload, memory, policy } = given;
    if (observation.self === key || workload.active.length === 0 || !parentPresent(given) || canOverlap(workload)) continue;
    const waited = observation.now - (memory.handBackSince ?? observation.now);
    const backingOff = memory.failedTrials !== undefined && observation.now < memory.failedTrials.retryAt;
    if (parentCreated(workload) && !backingOff) return key;
    if (
      !servesApi(workload) &&
      !backingOff &&
      waited < policy.downFor &&
      all.some(([, other]) => other.workload.active.length > 0 && servesApi(other.workload))
    )
      return undefined;
  }
  return undefined;
}

/** Undefined where no copy is active and no trial runs, or where nobody is there to yield to. */
export function yieldToParent(given: Case): Verdict | undefined {
  if (given.memory.trial !== undefined) return trial(given);
  if (given.workload.active.length === 0 || !parentPresent(given)) return undefined;
  return canOverlap(given.workload) ? overlap(given) : exclusive(given);
}

function overlap({ observation: { now }, policy, workload, memory }: Case): Verdict {
  if (memory.up === undefined) return { reason: 'YieldPending', message: 'the copy runs; the parent is not up yet', flux: true };
  const due = memory.up.since + policy.stableFor;
  if (now < due)
    return { reason: 'Overlap', message: `copy and parent run side by side; the copy leaves in ${seconds(due - now)}`, wakeAt: due };
  return {
    reason: 'Yielding',
    message: `the parent has been up for ${seconds(policy.stableFor)}: the copy leaves`,
    actions: deactivateAll(workload),
    flux: true,
  };
}

function exclusive({ observation: { now }, policy, workload, memory, mayYield }: Case): Verdict {
  if (!mayYield) {
    const retryAt = memory.failedTrials?.retryAt;
    if (retryAt !== undefined && now < retryAt)
      return {
        reason: 'YieldPending',
        message: `the parent did not come up in its last trial; the next begins in ${seconds(retryAt - now)}`,
        wakeAt: retryAt,
      };
    const why = parentCreated(workload) ? 'another workload goes first' : 'the parent has no container yet';
    return { reason: 'YieldPending', message: `the copy runs; ${why}`, flux: true };
  }
  const deadline = now + policy.trialDeadline;
  return {
    reason: 'Yielding',
    message: 'the parent has a container: the copy makes room for it',
    // Its containers are stopped at once: the parent's next start must find the port free before the kubelet's crash backoff makes it wait 10 s.
    actions: [...deactivateAll(workload), ...stopCopies(workload)],
    memory: { ...memory, trial: { since: now, deadline } },
    flux: true,
  };
}

function trial(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory } = given;
  const { now, api } = observation;
  if (memory.trial === undefined || workload.parent.state === 'absent') return undefined;
  if (memory.up !== undefined) {
    const due = Math.max(memory.up.since, memory.trial.since) + policy.stableFor;
    if (now < due) return { reason: 'Trial', message: `the parent is up; the trial is passed in ${seconds(due - now)}`, wakeAt: due };
    const { trial: _passed, failedTrials: _forgiven, ...rest } = memory;
    return { reason: 'Protected', message: 'the parent came up and stayed up', memory: rest };
  }
  // Without a sandbox and without an API server to give it one, the parent cannot come.
  const stranded =
    api.state === 'unreachable' &&
    !workload.parentPods.some((pod) => pod.sandboxReady) &&
    now >= (memory.parentDownSince ?? now) + policy.activateAfter;
  const generation = candidate(workload.stored);
  if ((now < memory.trial.deadline && !stranded) || generation === undefined) {
    return {
      reason: 'Trial',
      message: `the parent has ${seconds(memory.trial.deadline - now)} to come up`,
      wakeAt: memory.trial.deadline,
      flux: true,
    };
  }
  const count = (memory.failedTrials?.count ?? 0) + 1;
  const backoff = Math.min(policy.trialDeadline * 2 ** (count - 1), MAX_TRIAL_BACKOFF);
  const { trial: _failed, ...rest } = memory;
  return {
    reason: 'TrialFailed',
    message: `the parent did not come up: activating generation ${generation}; the next trial begins in ${seconds(backoff)} at the earliest`,
    actions: [activateAction(given, generation)],
    memory: { ...rest, failedTrials: { count, retryAt: now + backoff } },
    flux: true,
  };
}

export function deactivateAll({ workload, active }: WorkloadObservation): Action[] {
  return active.map(({ file }) => ({ kind: 'deactivate', workload, file }));
}

export function stopCopies({ workload, copyPods }: WorkloadObservation): Action[] {
  const containerIds = copyPods.flatMap((pod) => pod.runningContainerIds);
  return containerIds.length === 0 ? [] : [{ kind: 'stopCopy', workload, containerIds }];
}
