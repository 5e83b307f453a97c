/** Rule 4, yield: an active copy makes room for its parent, and comes back if the parent does not come up. */

import { digestOfParent, type WorkloadMemory } from '../checkpoint/memory.ts';
import type { Action, RuntimePod, StoredGeneration, WorkloadObservation } from '../checkpoint/model.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { activateAction, candidate } from './activation.ts';

const MAX_TRIAL_BACKOFF = 30 * 60_000;
/** While the start of a parent is waited for: well below the time between the creation of its container and its first attempt to take the port. */
const LOOK_AGAIN = 50;

/** Both the running copy and the parent must be able to share: one that does not ask for port sharing makes the other's start fail. */
function canOverlap(workload: WorkloadObservation): boolean {
  const copy = activeGeneration(workload);
  const parent =
    workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'copy' ? workload.parent.pod.copy.copy : undefined;
  if (copy?.traits.handBack !== 'overlap') return false;
  // While its objects are being read again, nothing speaks for the hard way.
  if (workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'waiting') return true;
  return parent?.traits.handBack === 'overlap';
}

function activeGeneration({ active, stored }: WorkloadObservation): StoredGeneration | undefined {
  const generation = active[0]?.generation;
  return generation === undefined ? undefined : stored?.generations.get(generation);
}

const servesApi = (workload: WorkloadObservation): boolean => activeGeneration(workload)?.traits.servesApi === true;

function parentPresent(given: Pick<Case, 'observation' | 'workload'>): boolean {
  const { observation, workload } = given;
  return observation.api.state === 'ok' && workload.parent.state === 'present' && !workload.parent.pod.terminating;
}

/** The containers of the parent that the API server has now. */
function parentPods({ parent, parentPods: pods }: WorkloadObservation): RuntimePod[] {
  return parent.state === 'present' ? pods.filter((pod) => pod.uid === parent.pod.uid) : [];
}

/**
 * A sandbox alone may still wait for what only the API server has (Secrets for its environment, the list of Services): the kubelet creates a container
 * when it has it all, and starts it again without asking anybody.
 */
const hasContainer = (workload: WorkloadObservation): boolean => parentPods(workload).some((pod) => pod.created > 0);

/**
 * The moment to make room: a container is there and has not ended yet. It takes its port about 100 ms after it was created. One that found the port
 * taken has ended, and after a reboot the kubelet waits 10 s and more before it starts it again: room made in between is an outage for nothing.
 */
const isStarting = (workload: WorkloadObservation): boolean => parentPods(workload).some((pod) => pod.alive > 0);

/**
 * Which workload may begin an exclusive yield now. One at a time; the one that serves the API goes only when every other parent has a container, since
 * they need it until then, and the others let it go first, so that the outage of its hand-back falls into the time when the node comes up anyway.
 * Nobody waits for longer than `downFor` for a parent that does not come.
 */
export function nextToYield(
  cases: ReadonlyMap<WorkloadKey, Pick<Case, 'observation' | 'workload' | 'memory' | 'policy'>>,
): WorkloadKey | undefined {
  const all = [...cases];
  if (all.some(([, { memory }]) => memory.trial !== undefined && memory.up === undefined)) return undefined;
  const pending = all.filter(([key, given]) => given.observation.self !== key && isHandingBack(given));
  const [serving, others] = [
    pending.filter(([, { workload }]) => servesApi(workload)),
    pending.filter(([, { workload }]) => !servesApi(workload)),
  ];
  const first = serving.find(([, { workload }]) => isStarting(workload));
  if (first !== undefined && others.every(([, other]) => hasContainer(other.workload) || waitedLong(other))) return first[0];
  if (serving.some(([, given]) => !waitedLong(given))) return undefined;
  return others.find(([, { workload }]) => isStarting(workload))?.[0];
}

/** A copy is active, its parent is back in the API, they cannot run side by side, and the parent has not just failed a trial. */
function isHandingBack(given: Pick<Case, 'observation' | 'workload' | 'memory'>): boolean {
  const { observation, workload, memory } = given;
  if (workload.active.length === 0 || !parentPresent(given) || canOverlap(workload)) return false;
  return memory.failedTrials === undefined || observation.now >= memory.failedTrials.retryAt;
}

function waitedLong({ observation, memory, policy }: Pick<Case, 'observation' | 'memory' | 'policy'>): boolean {
  return observation.now - (memory.handBackSince ?? observation.now) >= policy.downFor;
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
    const why = !hasContainer(workload)
      ? 'the parent has no container yet'
      : isStarting(workload)
        ? 'another workload goes first'
        : "the parent's container ended; its next start is waited for";
    return { reason: 'YieldPending', message: `the copy runs; ${why}`, flux: true, wakeAt: now + LOOK_AGAIN };
  }
  const deadline = now + policy.trialDeadline;
  return {
    reason: 'Yielding',
    message: 'a container of the parent starts: the copy makes room for it',
    actions: makeRoom(workload),
    memory: { ...memory, trial: { since: now, deadline } },
    flux: true,
  };
}

function trial(given: Case): Verdict | undefined {
  const { observation, policy, workload, memory } = given;
  const { now, api } = observation;
  if (memory.trial === undefined || workload.parent.state === 'absent') return undefined;
  // A parent without a sandbox, and without an API server to give it one, did not fail: it was taken away. Rule 2 applies.
  if (api.state === 'unreachable' && !workload.parentPods.some((pod) => pod.sandboxReady)) return undefined;
  if (memory.up !== undefined) {
    const due = Math.max(memory.up.since, memory.trial.since) + policy.stableFor;
    if (now < due) return { reason: 'Trial', message: `the parent is up; the trial is passed in ${seconds(due - now)}`, wakeAt: due };
    const { trial: _passed, failedTrials: _forgiven, ...rest } = memory;
    return { reason: 'Protected', message: 'the parent came up and stayed up', memory: rest };
  }
  const generation = candidate(workload.stored);
  if (now < memory.trial.deadline || generation === undefined) {
    return {
      reason: 'Trial',
      message: `the parent has ${seconds(memory.trial.deadline - now)} to come up`,
      wakeAt: memory.trial.deadline,
      flux: true,
    };
  }
  // Remembered until a manifest is there: an activation that fails is tried again. It counts as one failure all the same.
  const failed = memory.trial.failed === true ? memory.failedTrials : failure(given);
  return {
    reason: 'TrialFailed',
    message: `the parent did not come up: activating generation ${generation}; the next trial begins in ${seconds((failed?.retryAt ?? now) - now)} at the earliest`,
    actions: [activateAction(given, generation)],
    memory: { ...memory, trial: { ...memory.trial, failed: true }, ...(failed === undefined ? {} : { failedTrials: failed }) },
    flux: true,
  };
}

function failure({ observation: { now }, policy, workload, memory }: Case): NonNullable<WorkloadMemory['failedTrials']> {
  const count = (memory.failedTrials?.count ?? 0) + 1;
  const digest = digestOfParent(workload);
  const retryAt = now + Math.min(policy.trialDeadline * 2 ** (count - 1), MAX_TRIAL_BACKOFF);
  return { count, retryAt, ...(digest === undefined ? {} : { digest }) };
}

export function deactivateAll({ workload, active }: WorkloadObservation): Action[] {
  return active.map(({ file }) => ({ kind: 'deactivate', workload, file }));
}

/**
 * The copy's containers are stopped here and not by the kubelet alone: the parent must find the port free at its first attempt. An API server keeps its
 * port for as long as it drains its watches, so it is killed; etcd is where its state is. Others release their leader election leases when they end.
 */
export function makeRoom(observed: WorkloadObservation): Action[] {
  const { workload, active, copyPods } = observed;
  const files = active.map(({ file }) => file);
  return [
    { kind: 'makeRoom', workload, files, containerIds: copyPods.flatMap((pod) => pod.runningContainerIds), graceful: !servesApi(observed) },
  ];
}

/**
 * While a copy holds its port a parent can only crash, and the kubelet then waits 10 s and more before it starts it again, after a reboot from the first
 * crash on: it counts from the ended container that it finds in the runtime. Without one it starts the next attempt at once.
 */
export function forgetExits(given: Case): Action[] {
  const { workload, memory, observation } = given;
  const backingOff = memory.failedTrials !== undefined && observation.now < memory.failedTrials.retryAt;
  if (observation.runtime.state !== 'ok' || activeGeneration(workload)?.traits.handBack !== 'exclusive' || backingOff) return [];
  const containerIds = workload.parentPods.filter((pod) => pod.alive === 0).flatMap((pod) => pod.endedContainerIds);
  return containerIds.length === 0 ? [] : [{ kind: 'forgetExits', workload: workload.workload, containerIds }];
}
