/** What the container runtime has of each pod, and what changed between two looks (the pod lifecycle event generator, PLEG). */

import type { Container, PodSandbox } from '../../sources/cri/generated/runtime.ts';
import { ContainerState, type ContainerStatus, PodSandboxState, type PodSandboxStatus } from '../../sources/cri/generated/runtime.ts';
import { CONTAINER_NAME_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL } from './pod.ts';

export type RuntimeContainerState = 'created' | 'running' | 'exited' | 'unknown';

/** Times in milliseconds since the epoch, 0 where not reached. */
export interface RuntimeContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  readonly attempt: number;
  readonly state: RuntimeContainerState;
  readonly image: string;
  readonly createdAt: number;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
}

export interface RuntimeSandbox {
  readonly id: string;
  readonly attempt: number;
  readonly ready: boolean;
  readonly createdAt: number;
  readonly ip: string;
}

/** Sandboxes and containers newest first. */
export interface RuntimePod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly sandboxes: readonly RuntimeSandbox[];
  readonly containers: readonly RuntimeContainer[];
}

export function emptyRuntimePod(uid: string, name: string, namespace: string): RuntimePod {
  return { uid, name, namespace, sandboxes: [], containers: [] };
}

export function latest(pod: RuntimePod, containerName: string): RuntimeContainer | undefined {
  return pod.containers.find((container) => container.name === containerName);
}

const STATES: Readonly<Record<number, RuntimeContainerState>> = {
  [ContainerState.CONTAINER_CREATED]: 'created',
  [ContainerState.CONTAINER_RUNNING]: 'running',
  [ContainerState.CONTAINER_EXITED]: 'exited',
};

export function toContainer(sandboxId: string, status: ContainerStatus): RuntimeContainer {
  return {
    id: status.id,
    sandboxId,
    name: status.labels[CONTAINER_NAME_LABEL] ?? status.metadata?.name ?? '',
    attempt: status.metadata?.attempt ?? 0,
    state: STATES[status.state] ?? 'unknown',
    image: status.image?.image ?? '',
    createdAt: milliseconds(status.createdAt),
    startedAt: milliseconds(status.startedAt),
    finishedAt: milliseconds(status.finishedAt),
    exitCode: status.exitCode,
    reason: status.reason,
    message: status.message,
  };
}

export function toSandbox(status: PodSandboxStatus): RuntimeSandbox {
  return {
    id: status.id,
    attempt: status.metadata?.attempt ?? 0,
    ready: status.state === PodSandboxState.SANDBOX_READY,
    createdAt: milliseconds(status.createdAt),
    ip: status.network?.ip ?? '',
  };
}

export function milliseconds(nanoseconds: bigint): number {
  return Number(nanoseconds / 1000n) / 1000;
}

export function newestFirst<T extends { readonly createdAt: number }>(items: readonly T[]): T[] {
  return [...items].sort((a, b) => b.createdAt - a.createdAt);
}

/** One look at the runtime: by pod uid, every sandbox and container with its state. */
export interface Relist {
  readonly pods: ReadonlyMap<string, RelistPod>;
}

export interface RelistPod {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  /** Id → state, for sandboxes and containers alike. */
  readonly states: ReadonlyMap<string, string>;
  readonly running: boolean;
  readonly sandboxIds: readonly string[];
  readonly containers: readonly { readonly id: string; readonly sandboxId: string }[];
}

export function relistOf(sandboxes: readonly PodSandbox[], containers: readonly Container[]): Relist {
  const labelsOf = (labels: Readonly<Record<string, string>>) => ({
    uid: labels[POD_UID_LABEL] ?? '',
    name: labels[POD_NAME_LABEL] ?? '',
    namespace: labels[POD_NAMESPACE_LABEL] ?? '',
  });
  const items = [
    ...sandboxes.map((sandbox) => ({
      ...labelsOf(sandbox.labels),
      id: sandbox.id,
      sandboxId: '',
      state: sandbox.state === PodSandboxState.SANDBOX_READY ? 'ready' : 'notready',
    })),
    ...containers.map((container) => ({
      ...labelsOf(container.labels),
      id: container.id,
      sandboxId: container.podSandboxId,
      state: STATES[container.state] ?? 'unknown',
    })),
  ];
  const pods = new Map<string, RelistPod>();
  for (const [uid, own] of Map.groupBy(items, (item) => item.uid)) {
    const first = own[0];
    if (uid === '' || first === undefined) continue;
    pods.set(uid, {
      uid,
      name: first.name,
      namespace: first.namespace,
      states: new Map(own.map((item) => [item.id, item.state])),
      running: own.some((item) => item.state === 'running' || item.state === 'ready'),
      sandboxIds: own.filter((item) => item.sandboxId === '').map((item) => item.id),
      containers: own.filter((item) => item.sandboxId !== '').map(({ id, sandboxId }) => ({ id, sandboxId })),
    });
  }
  return { pods };
}

/** Pods of which anything appeared, disappeared or changed its state. */
export function changedPods(before: Relist, after: Relist): string[] {
  const uids = new Set([...before.pods.keys(), ...after.pods.keys()]);
  return [...uids].filter((uid) => {
    const [old, now] = [before.pods.get(uid)?.states ?? new Map(), after.pods.get(uid)?.states ?? new Map()];
    return old.size !== now.size || [...now].some(([id, state]) => old.get(id) !== state);
  });
}
