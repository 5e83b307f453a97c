/** Records of the runtime as CRI messages. Times there are nanoseconds. */
import {
  type Container,
  ContainerState,
  ContainerStatus,
  type PodSandbox,
  PodSandboxState,
  PodSandboxStatus,
} from '../../sources/cri/generated/runtime.ts';
import type { ContainerRecord, SandboxRecord } from './records.ts';

const STATES = {
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
} as const;

export function nanoseconds(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds * 1000)) * 1000n;
}

export function sandboxMessage(sandbox: SandboxRecord, ready: boolean): PodSandbox {
  return {
    id: sandbox.id,
    metadata: { ...sandbox.metadata },
    state: ready ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY,
    createdAt: nanoseconds(sandbox.createdAt),
    labels: { ...sandbox.labels },
    annotations: { ...sandbox.annotations },
    runtimeHandler: '',
  };
}

export function sandboxStatusMessage(sandbox: SandboxRecord, ready: boolean): PodSandboxStatus {
  return PodSandboxStatus.fromPartial({
    ...sandboxMessage(sandbox, ready),
    // Every pod has the host's network; one without hostNetwork sees an address all the same.
    network: { ip: sandbox.hostNetwork ? '' : '127.0.0.1', additionalIps: [] },
    linux: { namespaces: { options: { network: sandbox.hostNetwork ? 2 : 0, pid: 1, ipc: 0, targetId: '' } } },
  });
}

export function containerMessage(container: ContainerRecord): Container {
  return {
    id: container.id,
    podSandboxId: container.sandboxId,
    metadata: { ...container.metadata },
    image: { image: container.image, annotations: {}, userSpecifiedImage: container.image, runtimeHandler: '' },
    imageRef: container.image,
    imageId: container.image,
    state: STATES[container.phase.state],
    createdAt: nanoseconds(container.createdAt),
    labels: { ...container.labels },
    annotations: { ...container.annotations },
  };
}

export function containerStatusMessage(container: ContainerRecord): ContainerStatus {
  const { phase } = container;
  const { podSandboxId: _, ...common } = containerMessage(container);
  return ContainerStatus.fromPartial({
    ...common,
    startedAt: phase.state === 'created' ? 0n : nanoseconds(phase.startedAt),
    mounts: container.mounts.map((mount) => ({ ...mount })),
    logPath: container.logPath,
    ...(phase.state === 'exited'
      ? { finishedAt: nanoseconds(phase.finishedAt), exitCode: phase.exitCode, reason: phase.reason, message: phase.message }
      : {}),
  });
}

/** A filter's label selector: every pair has to be there. */
export function hasLabels(labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
