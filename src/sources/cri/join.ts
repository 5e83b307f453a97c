/** From CRI's answers to the snapshot's data. Pure. */
import type { Container, ContainerState, Sandbox } from '../snapshots.ts';
import { type Container as CriContainer, ContainerState as CriState, type PodSandbox, PodSandboxState } from './generated/runtime.ts';

/** What only ContainerStatus says of a container, times in nanoseconds since the epoch. */
export interface ContainerDetail {
  readonly state: CriState;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly exitCode: number;
}

/**
 * Sandboxes with their containers. A container without detail is left out: it was removed between the list and the question about it. A container
 * whose sandbox is not in the list was made after it, and will be in the next one.
 */
export function joinSandboxes(
  sandboxes: readonly PodSandbox[],
  containers: readonly CriContainer[],
  details: ReadonlyMap<string, ContainerDetail>,
): Sandbox[] {
  const bySandbox = new Map<string, Container[]>();
  for (const container of containers) {
    const detail = details.get(container.id);
    if (detail === undefined) continue;
    const siblings = bySandbox.get(container.podSandboxId);
    if (siblings === undefined) bySandbox.set(container.podSandboxId, [toContainer(container, detail)]);
    else siblings.push(toContainer(container, detail));
  }
  return sandboxes.map((sandbox) => ({
    id: sandbox.id,
    name: sandbox.metadata?.name ?? '',
    namespace: sandbox.metadata?.namespace ?? '',
    uid: sandbox.metadata?.uid ?? '',
    attempt: sandbox.metadata?.attempt ?? 0,
    ready: sandbox.state === PodSandboxState.SANDBOX_READY,
    createdAt: millis(sandbox.createdAt),
    labels: sandbox.labels,
    annotations: sandbox.annotations,
    containers: (bySandbox.get(sandbox.id) ?? []).sort(byNameNewestFirst),
  }));
}

function toContainer(container: CriContainer, detail: ContainerDetail): Container {
  return {
    id: container.id,
    name: container.metadata?.name ?? '',
    attempt: container.metadata?.attempt ?? 0,
    state: stateName(detail.state),
    createdAt: millis(container.createdAt),
    startedAt: millis(detail.startedAt),
    finishedAt: millis(detail.finishedAt),
    exitCode: detail.exitCode,
    // The kubelet hands over the image's id; the reference in the pod stands beside it since Kubernetes 1.28.
    image: container.image?.userSpecifiedImage || container.image?.image || '',
  };
}

function byNameNewestFirst(a: Container, b: Container): number {
  if (a.name !== b.name) return a.name < b.name ? -1 : 1;
  return b.attempt - a.attempt || b.createdAt - a.createdAt;
}

function stateName(state: CriState): ContainerState {
  switch (state) {
    case CriState.CONTAINER_CREATED:
      return 'created';
    case CriState.CONTAINER_RUNNING:
      return 'running';
    case CriState.CONTAINER_EXITED:
      return 'exited';
    default:
      return 'unknown';
  }
}

function millis(nanoseconds: bigint): number {
  return Number(nanoseconds / 1_000_000n);
}
