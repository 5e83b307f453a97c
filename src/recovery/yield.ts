/** Rule 4, yield: an active copy makes room for its parent, and comes back if the parent does not come up. */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import {
  type Action,
  type Digest,
  OF_PREDECESSOR,
  type Questions,
  type RuntimePod,
  type Traits,
  type WorkloadObservation,
} from '../checkpoint/model.ts';
import { digestOfParent, specOfParent } from '../checkpoint/parents.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { isFailing } from './rollback.ts';
import { pass, trial } from './trial.ts';

/** While the start of a parent is waited for: well below the time between the creation of its container and its first attempt to take the port. */
const LOOK_AGAIN = 50;
/** While it could not be given the port yet: it starts an API server, and each look takes CPU from it. Whether that is ready wakes the loop by itself. */
const LOOK_MEANWHILE = 150;
/** Between two questions to whoever answers on a shared port. Each is a new connection, so half of them reach the one that is not ready. */
const ASK_AGAIN = 100;

/** Both the running copy and the parent must be able to share: one that does not ask for port sharing makes the other's start fail. */
function canOverlap(workload: WorkloadObservation): boolean {
  const copy = activeTraits(workload);
  const parent =
    workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'copy' ? workload.parent.pod.copy.copy : undefined;
  if (copy?.handBack !== 'overlap') return false;
  // While its objects are being read again, nothing speaks for the hard way.
  if (workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'waiting') return true;
  return parent?.traits.handBack === 'overlap';
}

/** Of what bootkube's pod-checkpointer runs it is only known what the workload is for: whether it could share its port is not. */
export function activeTraits({ active, stored }: WorkloadObservation): Traits | undefined {
  const generation = active[0]?.generation;
  if (generation === undefined) return undefined;
  if (generation !== OF_PREDECESSOR) return stored?.generations.get(generation)?.traits;
  return { servesApi: [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi), handBack: 'exclusive' };
}

const servesApi = (workload: WorkloadObservation): boolean => activeTraits(workload)?.servesApi === true;

function parentPresent(given: Pick<Case, 'observation' | 'workload'>): boolean {
  const { observation, workload } = given;
  return observation.api.state === 'ok' && workload.parent.state === 'present' && !workload.parent.pod.terminating;
}

/** The containers of the parent that the API server has now. */
function parentPods({ parent, parentPods: pods }: WorkloadObservation): RuntimePod[] {
  return parent.state === 'present' ? pods.filter((pod) => pod.uid === parent.pod.uid) : [];
}

/** A sandbox alone may still wait for what only the API server has: Secrets for its environment, the list of Services. */
const hasContainer = (workload: WorkloadObservation): boolean => parentPods(workload).some((pod) => pod.created > 0);

/**
 * The moment to make room: a container is there and has not ended yet. It takes its port about 100 ms after it was created. One that found the port
 * taken has ended, and after a reboot the kubelet waits 10 s and more before it starts it again: room made in between is an outage for nothing.
 */
const isStarting = (workload: WorkloadObservation): boolean => parentPods(workload).some((pod) => pod.alive > 0);

/**
 * A copy that serves the API is not taken away before it was ready for the first time, by its own readiness probes: who waits for an API server gets one
 * as soon as with a static pod. A parent that finds the port taken in the meantime is started again a second later. Of probes that only the kubelet can do
 * there is no answer.
 */
const isComingUp = ({ workload, memory }: Pick<Case, 'workload' | 'memory'>): boolean =>
  servesApi(workload) && workload.copyPods.some(({ uid }) => uid !== memory.served && workload.answering?.get(uid) === false);

/**
 * Copies whose readiness decides when they may go: asked from their start on, so that the answer is there when it is needed. On a shared port also while
 * the parent runs beside the copy: either of them may be the one that answers.
 */
export function copiesToAsk(given: Pick<Case, 'observation' | 'workload' | 'memory'>): Questions['probes'] {
  const { observation, workload, memory } = given;
  if (observation.runtime.state !== 'ok' || !servesApi(workload)) return [];
  const shared = memory.up !== undefined && parentPresent(given) && canOverlap(workload);
  return workload.copyPods.flatMap(({ uid, generation, running }) =>
    running === 0 || (uid === memory.served && !shared) || generation === OF_PREDECESSOR
      ? []
      : [{ workload: workload.workload, uid, generation }],
  );
}

/**
 * Which workload may begin an exclusive yield now. One at a time, and the one that serves the API first, so that the outage of its hand-back falls into the
 * time when the node comes up anyway. The parents of the others may still need the API server to start: they get it when it is back, and until then their
 * copies run. Nobody waits for longer than `downFor` for a parent that does not come.
 */
export function nextToYield(
  cases: ReadonlyMap<WorkloadKey, Pick<Case, 'observation' | 'workload' | 'memory' | 'policy'>>,
): WorkloadKey | undefined {
  const all = [...cases];
  if (all.some(([, given]) => isOnItsWayUp(given))) return undefined;
  const pending = all.filter(([key, given]) => given.observation.self !== key && isHandingBack(given));
  const [serving, others] = [
    pending.filter(([, { workload }]) => servesApi(workload)),
    pending.filter(([, { workload }]) => !servesApi(workload)),
  ];
  const first = serving.find(([, given]) => isStarting(given.workload) && (!isComingUp(given) || waitedLong(given)));
  if (first !== undefined) return first[0];
  if (serving.some(([, given]) => !waitedLong(given))) return undefined;
  return others.find(([, { workload }]) => isStarting(workload))?.[0];
}

/** In its trial and not up. One that is gone is not on its way: its successor may be on another node. */
const isOnItsWayUp = ({ memory, workload }: Pick<Case, 'memory' | 'workload'>): boolean =>
  memory.trial !== undefined && memory.up === undefined && workload.parent.state !== 'absent';

/** A copy is active, its parent is back in the API, they cannot run side by side, and the parent has not just failed a trial. */
function isHandingBack(given: Pick<Case, 'observation' | 'workload' | 'memory'>): boolean {
  const { observation, workload, memory } = given;
  if (workload.active.length === 0 || !parentPresent(given) || canOverlap(workload)) return false;
  if (isFailing(workload, memory, specNow(workload, memory))) return false;
  return memory.failedTrials === undefined || observation.now >= memory.failedTrials.retryAt;
}

function waitedLong({ observation, memory, policy }: Pick<Case, 'observation' | 'memory' | 'policy'>): boolean {
  return observation.now - (memory.handBackSince ?? observation.now) >= policy.downFor;
}

/** Undefined where no copy is active and no trial runs, or where nobody is there to yield to. */
export function yieldToParent(given: Case): Verdict | undefined {
  if (given.memory.trial !== undefined) return trial(given);
  if (given.workload.active.length === 0 || !parentPresent(given)) return undefined;
  return failing(given) ?? (canOverlap(given.workload) ? overlap(given) : exclusive(given));
}

/** While its objects are being read, as after each return of the API server, it is what it was when they were last known. */
const specNow = (workload: WorkloadObservation, memory: WorkloadMemory): Digest | undefined =>
  workload.parent.state === 'present' && workload.parent.pod.copy.kind === 'waiting'
    ? specOfParent(workload, memory)
    : digestOfParent(workload);

/** A spec that failed is not given the copy's place again, as it is. */
function failing({ workload, memory }: Case): Verdict | undefined {
  const digest = specNow(workload, memory);
  if (digest === undefined || !isFailing(workload, memory, digest)) return undefined;
  const detail = workload.stored?.failing.get(digest)?.detail ?? memory.failing?.detail ?? '';
  return {
    reason: 'FailingSpec',
    message: `the copy runs; the parent's spec is marked failing (${detail}): change it, or run "checkpointer forgive" to have it tried again`,
  };
}

function overlap(given: Case): Verdict {
  const {
    observation: { now },
    policy,
    workload,
    memory,
  } = given;
  if (memory.up === undefined) return { reason: 'YieldPending', message: 'the copy runs; the parent is not up yet', flux: true };
  // An API server that starts beside another can run and never become ready (seen on kube-apiserver 1.36 in 3 of 21 boots). What it asks itself at its start
  // goes to the shared port and may reach the other one, which it cannot verify; its first check of the Services' addresses is not repeated for 3 min, and
  // ends it after one (Kubernetes' pkg/registry/core/rest/storage_core.go). So every answer has to be good for as long as the parent has to be up; which of
  // the two spoils them nobody knows, so not for ever.
  const steady = Math.max(memory.up.since, memory.unansweredAt ?? memory.up.since) + policy.stableFor;
  const due = Math.max(Math.min(steady, memory.up.since + policy.stableFor + policy.trialDeadline), memory.failedTrials?.retryAt ?? now);
  if (now < due) {
    const unsteady = steady > memory.up.since + policy.stableFor ? ', and one of them was not ready just now' : '';
    return {
      reason: 'Overlap',
      message: `copy and parent run side by side${unsteady}; the copy leaves in ${seconds(due - now)}`,
      wakeAt: servesApi(workload) ? Math.min(due, now + ASK_AGAIN) : due,
    };
  }
  return {
    reason: 'Yielding',
    message: `the parent has been up for ${seconds(policy.stableFor)}: the copy leaves`,
    actions: deactivateAll(workload),
    memory: pass(given),
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
      : isComingUp({ workload, memory })
        ? 'it is not ready yet'
        : isStarting(workload)
          ? 'another workload goes first'
          : "the parent's container ended; its next start is waited for";
    // A container of the parent that ends meanwhile is to be forgotten before the kubelet sees it.
    const idle = isComingUp({ workload, memory }) && !isStarting(workload);
    return { reason: 'YieldPending', message: `the copy runs; ${why}`, flux: true, wakeAt: now + (idle ? LOOK_MEANWHILE : LOOK_AGAIN) };
  }
  const deadline = now + policy.trialDeadline;
  return {
    reason: 'Yielding',
    message: 'a container of the parent starts: the copy makes room for it',
    actions: makeRoom(workload),
    // What crashed before may have found its port taken.
    memory: { ...memory, trial: { since: now, deadline }, ...(memory.crashes && { crashes: { ...memory.crashes, count: 0 } }) },
    flux: true,
  };
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
 * While the one that serves the API comes back, the others do not go, and the machine is its own: each start of a parent that finds its port taken costs
 * half a second of a core.
 */
function apiComesBack(cases: Iterable<Pick<Case, 'observation' | 'workload' | 'memory' | 'policy'>>): boolean {
  return [...cases].some(
    (given) =>
      [...(given.workload.stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi) &&
      (isOnItsWayUp(given) || (isHandingBack(given) && !waitedLong(given))),
  );
}

/**
 * While a copy holds its port a parent can only crash, and the kubelet then waits 10 s and more before it starts it again, after a reboot from the first
 * crash on: it counts from the ended container that it finds in the runtime. Without one it starts the next attempt at once.
 */
export function forgetExits(given: Case, cases: Iterable<Case>): Action[] {
  const { workload, memory, observation } = given;
  if (!servesApi(workload) && memory.trial === undefined && apiComesBack(cases)) return [];
  const backingOff = memory.failedTrials !== undefined && observation.now < memory.failedTrials.retryAt;
  // Of a trial the first crash, too: whether the parent crashes again is known soon then, or its one mishap is over.
  const waits = activeTraits(workload)?.handBack === 'exclusive' && !isFailing(workload, memory, specNow(workload, memory));
  const tried = memory.trial !== undefined && workload.active.length === 0 && memory.crashes?.count === 1;
  if (observation.runtime.state !== 'ok' || !(waits || tried) || backingOff) return [];
  const containerIds = workload.parentPods.filter((pod) => pod.alive === 0).flatMap((pod) => pod.endedContainerIds);
  return containerIds.length === 0 ? [] : [{ kind: 'forgetExits', workload: workload.workload, containerIds }];
}
