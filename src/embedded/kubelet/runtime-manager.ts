/** The kubelet's view of the container runtime: pods put together from sandboxes and containers, and the means to stop them. */
import type { CriClient } from './cri-client.ts';
import type { Pod } from './pod.ts';
import { POD_UID_LABEL } from './pod.ts';
import { newestFirst, type Relist, type RuntimeContainer, type RuntimePod, relistOf, toContainer, toSandbox } from './runtime-pods.ts';

/** The shortest time between SIGTERM and SIGKILL (pkg/kubelet/kuberuntime minimumGracePeriodInSeconds). */
const MINIMUM_GRACE_SECONDS = 2;

export interface RuntimeManager {
  relist(): Promise<Relist>;
  /** Everything that the runtime has of the pod, fresh. */
  pod(identity: { readonly uid: string; readonly name: string; readonly namespace: string }): Promise<RuntimePod>;
  stopContainer(container: RuntimeContainer, graceSeconds: number): Promise<void>;
  /** Stops all containers, each with the grace, then the sandboxes. */
  killPod(runtime: RuntimePod, graceSeconds: number): Promise<void>;
}

export function runtimeManager(cri: CriClient): RuntimeManager {
  const stopContainer = (container: RuntimeContainer, graceSeconds: number) =>
    cri.stopContainer(container.id, Math.max(MINIMUM_GRACE_SECONDS, graceSeconds));
  return {
    relist: async () => {
      const [sandboxes, containers] = await Promise.all([cri.listSandboxes(), cri.listContainers()]);
      return relistOf(sandboxes, containers);
    },
    pod: async ({ uid, name, namespace }) => {
      const [sandboxes, containers] = await Promise.all([cri.listSandboxes(), cri.listContainers()]);
      const own = <T extends { readonly labels: Readonly<Record<string, string>> }>(items: readonly T[]) =>
        items.filter((item) => item.labels[POD_UID_LABEL] === uid);
      const sandboxStatuses = await Promise.all(own(sandboxes).map(({ id }) => cri.sandboxStatus(id)));
      const containerStatuses = await Promise.all(
        own(containers).map(async ({ id, podSandboxId }) => ({ podSandboxId, status: await cri.containerStatus(id) })),
      );
      return {
        uid,
        name,
        namespace,
        sandboxes: newestFirst(sandboxStatuses.flatMap((status) => (status === undefined ? [] : [toSandbox(status)]))),
        containers: newestFirst(
          containerStatuses.flatMap(({ podSandboxId, status }) => (status === undefined ? [] : [toContainer(podSandboxId, status)])),
        ),
      };
    },
    stopContainer,
    killPod: async (runtime, graceSeconds) => {
      const running = runtime.containers.filter(({ state }) => state === 'running');
      await Promise.all(running.map((container) => stopContainer(container, graceSeconds)));
      await Promise.all(runtime.sandboxes.filter(({ ready }) => ready).map(({ id }) => cri.stopSandbox(id)));
    },
  };
}

export function graceOf(pod: Pod): number {
  return pod.spec.terminationGracePeriodSeconds ?? 30;
}
