/** The world as an observation: what the sources would say of it. */
import type {
  ApiState,
  CopyPod,
  Observation,
  ParentState,
  Questions,
  RuntimePod,
  StoredWorkload,
  WorkloadObservation,
} from '../../src/checkpoint/model.ts';
import type { OwnerState } from '../../src/checkpoint/owner-wants.ts';
import type { WorkloadKey } from '../../src/checkpoint/workload.ts';
import { KEYS, NAMES, type Name, type RuntimePodState, type StoredState, WORKLOADS } from './objects.ts';
import type { World } from './world.ts';

export function observationOf(world: World, questions: Questions): Observation {
  const api = apiState(world);
  const known = !world.faults.runtimeUnknown;
  const workloads = new Map<WorkloadKey, WorkloadObservation>();
  for (const name of NAMES) {
    const stored = world.stores.get(name);
    const parent = parentState(world, name, api);
    if (stored === undefined && parent.state !== 'present') continue;
    const pods = known ? world.runtime.filter((pod) => pod.name === name) : [];
    workloads.set(KEYS[name], {
      workload: WORKLOADS[name],
      parent,
      parentPods: pods.filter(({ source }) => source === 'api').map(runtimePod),
      copyPods: pods.filter(({ source }) => source === 'file').map(copyPod),
      stored: stored && storedWorkload(stored),
      active: world.manifests
        .filter((manifest) => manifest.name === name)
        .map(({ file, generation, activation }) => ({ file, generation, activation })),
      answering: new Map(
        questions.probes.flatMap(({ uid }) => {
          const pod = world.runtime.find((one) => one.uid === uid);
          return pod === undefined ? [] : [[uid, world.isServing(pod)] as const];
        }),
      ),
    });
  }
  return {
    now: world.now,
    bootId: world.bootId,
    settledBootId: world.settledBoot,
    api,
    runtime: known ? { state: 'ok' } : { state: 'unknown', detail: 'no answer' },
    kubelet: { state: 'unknown', detail: 'no lock file' },
    disk: { state: 'ok' },
    self: undefined,
    owners: new Map(NAMES.map((name) => [KEYS[name], ownerState(world, name, api, questions.owners.includes(KEYS[name]))])),
    absences: api.state === 'ok' ? world.absences : new Map(),
    retired: world.retirements(),
    workloads,
  };
}

function apiState(world: World): ApiState {
  if (!world.apiUp()) return { state: 'unreachable', detail: 'connection refused' };
  return world.faults.denied ? { state: 'denied', detail: '401' } : { state: 'ok' };
}

function parentState(world: World, name: Name, api: ApiState): ParentState {
  if (api.state !== 'ok') return { state: 'unknown' };
  const [pod] = world.pods
    .filter((one) => one.name === name && one.bound)
    .toSorted((a, b) => Number(a.terminatingSince !== undefined) - Number(b.terminatingSince !== undefined));
  if (pod === undefined) return { state: 'absent', unmarked: false };
  return {
    state: 'present',
    pod: {
      name: pod.uid,
      uid: pod.uid,
      terminating: pod.terminatingSince !== undefined,
      ready: pod.ready,
      restarts: world.runtime.find(({ uid }) => uid === pod.uid)?.attempts ?? 0,
      copy: { kind: 'copy', copy: world.copyOfPod(pod) },
    },
  };
}

function ownerState(world: World, name: Name, api: ApiState, asked: boolean): OwnerState {
  if (api.state !== 'ok' || world.faults.ownersDenied) return { state: 'unknown', detail: 'no answer' };
  const owner = world.owners[name];
  if (!owner.exists) return { state: 'gone' };
  const ready = world.pods
    .filter((pod) => pod.name === name && pod.ready && pod.terminatingSince === undefined)
    .map(({ uid }) => ({ name: uid, uid, node: 'master-1', since: 0 }));
  if (world.faults.others) ready.push({ name: `${name}-other`, uid: `${name}-other`, node: 'master-2', since: 0 });
  return {
    state: 'present',
    uid: `owner-${name}`,
    deleting: false,
    wantsPodHere: owner.selects,
    pods: asked ? { state: 'ok', ready, pending: [] } : { state: 'unknown', detail: 'not asked' },
  };
}

function runtimePod(pod: RuntimePodState): RuntimePod {
  const newest = pod.sandboxReady ? pod.containers.at(-1) : undefined;
  const running = newest?.state === 'running';
  const ended = pod.containers.filter(({ state }) => state === 'exited');
  return {
    uid: pod.uid,
    name: pod.uid,
    sandboxId: `s-${pod.uid}`,
    sandboxReady: pod.sandboxReady,
    created: newest === undefined ? 0 : 1,
    running: running ? 1 : 0,
    alive: newest === undefined || newest.state === 'exited' ? 0 : 1,
    up: running,
    attempts: pod.attempts,
    runningContainerIds: running ? [newest.id] : [],
    endedContainerIds: ended.map(({ id }) => id),
    crashedContainerIds: ended.filter(({ crashed }) => crashed).map(({ id }) => id),
  };
}

function copyPod(pod: RuntimePodState): CopyPod {
  return { ...runtimePod(pod), generation: pod.generation, activation: pod.activation };
}

function storedWorkload(stored: StoredState): StoredWorkload {
  const { generations, newest, proven, previous, failing, activations } = stored;
  return { generations, damaged: new Map(), damagedPointers: [], newest, proven, previous, failing, activations };
}
