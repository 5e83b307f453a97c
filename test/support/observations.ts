/** Observations of one workload, built from a few words. Times: now is an hour after the start, `long` is since the start. */

import type { Copy } from '../../src/checkpoint/copy-types.ts';
import type { Memory, WorkloadMemory } from '../../src/checkpoint/memory.ts';
import type {
  Absence,
  CopyOutcome,
  CopyPod,
  Digest,
  Observation,
  Parent,
  Policy,
  RuntimePod,
  StoredGeneration,
  StoredWorkload,
  Traits,
  WorkloadObservation,
} from '../../src/checkpoint/model.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../../src/checkpoint/workload.ts';

export const NOW = 3_600_000;

export const POLICY: Policy = {
  activateAfter: 3_000,
  apiServerFirst: 15_000,
  downFor: 60_000,
  proveAfter: 30_000,
  stableFor: 10_000,
  checkpointGracePeriod: 60_000,
  trialDeadline: 90_000,
  orphanAfter: 20_000,
};

export const APISERVER: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-apiserver' };
export const SCHEDULER: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-scheduler' };
export const CONTROLLERS: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-controller-manager' };

export const digest = (text: string) => text as Digest;
export const PARENT_UID = 'uid-parent';

export function copyOf(of: string, traits: Traits): Copy {
  return { digest: digest(of), pod: { metadata: { name: 'x' }, spec: { containers: [] } }, files: [], directories: [], traits };
}

export function generation(number: number, of: string, traits: Traits): StoredGeneration {
  return { number, digest: digest(of), containers: ['c'], traits, parent: { name: 'parent-abcde', uid: PARENT_UID } };
}

export function stored(
  generations: readonly StoredGeneration[],
  pointers: Partial<Pick<StoredWorkload, 'newest' | 'proven' | 'previous' | 'activations' | 'failing'>>,
): StoredWorkload {
  return {
    generations: new Map(generations.map((g) => [g.number, g])),
    damaged: new Map(),
    damagedPointers: [],
    failing: new Map(),
    newest: undefined,
    proven: undefined,
    previous: undefined,
    activations: 0,
    ...pointers,
  };
}

export function parent(copy: CopyOutcome, more: Partial<Parent> = {}): Parent {
  return { name: 'parent-abcde', uid: PARENT_UID, terminating: false, ready: true, restarts: 0, copy, ...more };
}

export type PodPhase = 'none' | 'sandbox' | 'created' | 'running' | 'ended';

export function runtimePod(phase: Exclude<PodPhase, 'none'>, more: Partial<RuntimePod> = {}): RuntimePod {
  const created = phase === 'sandbox' ? 0 : 1;
  const running = phase === 'running' ? 1 : 0;
  return {
    uid: PARENT_UID,
    name: 'parent-abcde',
    sandboxId: 's',
    sandboxReady: true,
    created,
    running,
    alive: phase === 'sandbox' || phase === 'ended' ? 0 : 1,
    up: running === 1,
    attempts: 0,
    runningContainerIds: running === 1 ? ['c'] : [],
    endedContainerIds: [],
    crashedContainerIds: [],
    ...more,
  };
}

export function copyPod(generation: number): CopyPod {
  return {
    ...runtimePod('running', { uid: 'uid-copy', name: 'copy', sandboxId: 'copy-sandbox', runningContainerIds: ['copy-container'] }),
    generation,
    activation: 1,
  };
}

export function workload(of: Workload, more: Partial<WorkloadObservation> = {}): WorkloadObservation {
  return { workload: of, parent: { state: 'unknown' }, parentPods: [], copyPods: [], stored: undefined, active: [], ...more };
}

export function observation(workloads: readonly WorkloadObservation[], more: Partial<Observation> = {}): Observation {
  return {
    now: NOW,
    bootId: 'boot-1',
    settledBootId: 'boot-1',
    api: { state: 'ok' },
    runtime: { state: 'ok' },
    kubelet: { state: 'unknown', detail: 'no --kubelet-lock-file' },
    disk: { state: 'ok' },
    self: undefined,
    absences: new Map<string, Absence>(),
    workloads: new Map(workloads.map((w): [WorkloadKey, WorkloadObservation] => [workloadKey(w.workload), w])),
    ...more,
  };
}

export function memoryOf(of: Workload, memory: WorkloadMemory, apiUnreachableSince?: number): Memory {
  const workloads = new Map([[workloadKey(of), memory]]);
  return apiUnreachableSince === undefined ? { workloads } : { apiUnreachableSince, workloads };
}
