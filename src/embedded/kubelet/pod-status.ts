/** A pod's status from its spec, what the runtime has of it and its probes (pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/generate.go). */
import type { V1Container } from '@kubernetes/client-node';
import { timestamp } from '../apiserver/objects.ts';
import { qosClassOf } from '../apiserver/pod-defaults.ts';
import {
  type Condition,
  type ContainerStateStatus,
  type ContainerStatusReport,
  isStatic,
  isTerminalPhase,
  type Phase,
  type Pod,
  type PodStatus,
  restartPolicyOf,
} from './pod.ts';
import { shouldRestart } from './pod-actions.ts';
import type { RuntimeContainer, RuntimePod } from './runtime-pods.ts';

export interface ProbeVerdicts {
  /** Whether a running container has started: its startup probe succeeded, or it has none. */
  started(container: V1Container, containerId: string): boolean;
  /** Whether a running, started container is ready: its readiness probe's last word, or true when it has none. */
  ready(container: V1Container, containerId: string): boolean;
}

/** Why a container could not be started, last time it was tried. */
export interface StartFailure {
  readonly reason: string;
  readonly message: string;
}

export interface StatusInput {
  readonly pod: Pod;
  readonly runtime: RuntimePod;
  readonly previous: PodStatus | undefined;
  readonly probes: ProbeVerdicts;
  readonly failures: ReadonlyMap<string, StartFailure>;
  readonly hostIP: string;
  /** Its containers were stopped and will not be started again. */
  readonly ended: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

export function podStatusOf(input: StatusInput): PodStatus {
  const { pod, runtime, previous, now } = input;
  const inits = containerStatuses(input, pod.spec.initContainers ?? [], previous?.initContainerStatuses ?? []);
  const containers = containerStatuses(input, pod.spec.containers, previous?.containerStatuses ?? []);
  const terminal = [previous?.phase, pod.status?.phase].find(isTerminalPhase);
  // A pod never leaves a terminal phase.
  const phase = terminal ?? phaseOf(pod, inits, containers, input.ended);
  const kept = phase === previous?.phase ? previous : undefined;
  const ip = podIP(pod, runtime, previous, input.hostIP);
  return {
    phase,
    ...(kept?.reason === undefined ? {} : { reason: kept.reason }),
    ...(kept?.message === undefined ? {} : { message: kept.message }),
    conditions: conditionsOf(input, phase, inits, containers),
    hostIP: input.hostIP,
    hostIPs: [{ ip: input.hostIP }],
    ...(ip === undefined ? {} : { podIP: ip, podIPs: [{ ip }] }),
    startTime: previous?.startTime ?? timestamp(now),
    qosClass: qosClassOf(pod.spec),
    ...(inits.length === 0 ? {} : { initContainerStatuses: inits }),
    containerStatuses: containers,
  };
}

function podIP(pod: Pod, runtime: RuntimePod, previous: PodStatus | undefined, hostIP: string): string | undefined {
  if (pod.spec.hostNetwork === true) return hostIP;
  const ip = runtime.sandboxes.find((sandbox) => sandbox.ready)?.ip ?? '';
  return ip === '' ? previous?.podIP : ip;
}

function containerStatuses(
  input: StatusInput,
  specs: readonly V1Container[],
  before: readonly ContainerStatusReport[],
): ContainerStatusReport[] {
  return specs
    .map((spec) =>
      containerStatus(
        input,
        spec,
        before.find(({ name }) => name === spec.name),
      ),
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function containerStatus(input: StatusInput, spec: V1Container, before: ContainerStatusReport | undefined): ContainerStatusReport {
  const { pod, runtime, probes, failures } = input;
  const [current, earlier] = runtime.containers.filter((container) => container.name === spec.name);
  const failure = failures.get(spec.name);
  const state = current === undefined ? missingState(pod, before) : stateOf(current);
  const lost = current === undefined && before?.state.running !== undefined;
  const lastState = earlier === undefined ? (lost ? lostState(before) : (before?.lastState ?? {})) : stateOf(earlier);
  const waits = failure !== undefined && shouldRestart(pod, current);
  const running = current?.state === 'running';
  const started = running && probes.started(spec, current.id);
  return {
    name: spec.name,
    image: current?.image ?? spec.image ?? '',
    imageID: current?.image ?? '',
    ...(current === undefined ? {} : { containerID: `embedded://${current.id}` }),
    restartCount: current?.attempt ?? (before?.restartCount ?? 0) + (lost && pod.metadata.deletionTimestamp === undefined ? 1 : 0),
    started,
    ready: started && probes.ready(spec, current.id),
    state: waits ? { waiting: { ...failure } } : state,
    lastState: waits && state.terminated !== undefined ? state : lastState,
  };
}

/** A container of which the runtime knows nothing: not made yet, or made and lost. */
function missingState(pod: Pod, before: ContainerStatusReport | undefined): ContainerStateStatus {
  if (before?.state.terminated !== undefined) return before.state;
  return { waiting: { reason: (pod.spec.initContainers ?? []).length > 0 ? 'PodInitializing' : 'ContainerCreating' } };
}

/** It ran, and the runtime has forgotten it: it must have ended, nobody knows how. The pod does not become Pending again. */
function lostState(before: ContainerStatusReport): ContainerStateStatus {
  if (before.lastState.terminated !== undefined) return before.lastState;
  const message = 'The container could not be located when the pod was deleted.  The container used to be Running';
  return { terminated: { exitCode: 137, reason: 'ContainerStatusUnknown', message } };
}

function stateOf(container: RuntimeContainer): ContainerStateStatus {
  switch (container.state) {
    case 'running':
      return { running: { startedAt: timestamp(container.startedAt) } };
    case 'exited':
      return {
        terminated: {
          exitCode: container.exitCode,
          reason: container.reason,
          ...(container.message === '' ? {} : { message: container.message }),
          startedAt: timestamp(container.startedAt),
          finishedAt: timestamp(container.finishedAt),
          containerID: `embedded://${container.id}`,
        },
      };
    case 'created':
    case 'unknown':
      return { waiting: { reason: 'ContainerCreating' } };
  }
}

export function phaseOf(
  pod: Pod,
  inits: readonly ContainerStatusReport[],
  containers: readonly ContainerStatusReport[],
  ended: boolean,
): Phase {
  const policy = restartPolicyOf(pod);
  const initEnds = inits.map(endOf);
  if (policy === 'Never' && initEnds.some((end) => end !== undefined && end !== 0)) return 'Failed';
  const initialized = initEnds.every((end) => end === 0) || containers.some(({ containerID }) => containerID !== undefined);
  const running = containers.filter(({ state }) => state.running !== undefined).length;
  const ends = containers.map(endOf).filter((end) => end !== undefined);
  if (!initialized && !ended) return 'Pending';
  if (containers.some(({ state, lastState }) => state.waiting !== undefined && lastState.terminated === undefined)) {
    // Stopped before it ever ran: the pod is over all the same.
    return ended && !isStatic(pod) && running === 0 ? 'Failed' : 'Pending';
  }
  if (running > 0) return 'Running';
  const allSucceeded = ends.length === containers.length && ends.every((end) => end === 0);
  if (ended && !isStatic(pod)) return allSucceeded ? 'Succeeded' : 'Failed';
  if (policy === 'Always') return 'Running';
  if (allSucceeded) return 'Succeeded';
  return policy === 'Never' ? 'Failed' : 'Running';
}

/** Exit code of a container that does not run. */
function endOf(status: ContainerStatusReport): number | undefined {
  if (status.state.terminated !== undefined) return status.state.terminated.exitCode;
  return status.state.waiting === undefined ? undefined : status.lastState.terminated?.exitCode;
}

const OWN_CONDITIONS = ['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady', 'PodScheduled'];

function conditionsOf(
  input: StatusInput,
  phase: Phase,
  inits: readonly ContainerStatusReport[],
  containers: readonly ContainerStatusReport[],
): Condition[] {
  const { pod, runtime, previous, now } = input;
  const others = (pod.status?.conditions ?? []).filter((condition) => !OWN_CONDITIONS.includes(condition.type));
  const unready = containers.filter(({ ready }) => !ready).map(({ name }) => name);
  const containersReady: Verdict = isTerminalPhase(phase)
    ? { status: 'False', reason: phase === 'Succeeded' ? 'PodCompleted' : 'PodFailed' }
    : unready.length > 0
      ? { status: 'False', reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` }
      : { status: 'True' };
  const initialized =
    inits.every((init) => init.state.terminated?.exitCode === 0) || containers.some(({ state }) => state.waiting === undefined);
  const verdicts: Record<string, Verdict> = {
    PodReadyToStartContainers: { status: runtime.sandboxes.some((sandbox) => sandbox.ready) ? 'True' : 'False' },
    Initialized: initialized ? { status: 'True' } : { status: 'False', reason: 'ContainersNotInitialized' },
    Ready: containersReady.status === 'True' ? gates(pod, others) : containersReady,
    ContainersReady: containersReady,
    PodScheduled: { status: 'True' },
  };
  const before = new Map(
    [...(pod.status?.conditions ?? []), ...(previous?.conditions ?? [])].map((condition) => [condition.type, condition]),
  );
  return [
    ...others,
    ...Object.entries(verdicts).map(([type, verdict]) => {
      const old = before.get(type);
      const since = old?.status === verdict.status ? old.lastTransitionTime : undefined;
      return { type, ...verdict, lastTransitionTime: since ?? timestamp(now) };
    }),
  ];
}

type Verdict = Pick<Condition, 'status' | 'reason' | 'message'>;

function gates(pod: Pod, conditions: readonly Condition[]): Verdict {
  const open = (pod.spec.readinessGates ?? [])
    .map(({ conditionType }) => conditionType)
    .filter((type) => conditions.find((condition) => condition.type === type)?.status !== 'True');
  if (open.length === 0) return { status: 'True' };
  return { status: 'False', reason: 'ReadinessGatesNotReady', message: `readiness gates not "True": ${open.join(', ')}` };
}
