/** What has to be done so that a pod runs as its spec says: computePodActions of pkg/kubelet/kuberuntime, without resizes and ephemeral containers. */
import type { V1Container } from '@kubernetes/client-node';
import { isSidecar, type Pod, restartPolicyOf } from './pod.ts';
import { latest, type RuntimeContainer, type RuntimePod } from './runtime-pods.ts';

export interface PodActions {
  /** Stop everything that the pod has, and its sandboxes. */
  readonly killPod: boolean;
  /** Attempt number of the sandbox to make. */
  readonly createSandbox: number | undefined;
  readonly sandboxId: string | undefined;
  readonly stop: readonly { readonly container: RuntimeContainer; readonly why: string }[];
  /** The one init container that is next, or the containers, in the order of the spec. */
  readonly start: readonly V1Container[];
}

/** Containers whose liveness or startup probe failed for good, by container id. */
export type FailedProbes = ReadonlySet<string>;

export function computePodActions(pod: Pod, runtime: RuntimePod, failed: FailedProbes): PodActions {
  const sandbox = sandboxChange(runtime);
  const inits = (pod.spec.initContainers ?? []).filter((container) => !isSidecar(container));
  if (sandbox.create !== undefined) {
    const mayRestart = restartPolicyOf(pod) !== 'Never' || sandbox.create === 0 || runtime.containers.length === 0;
    const containers = pod.spec.containers.filter(
      (container) =>
        restartPolicyOf(pod) !== 'OnFailure' ||
        latest(runtime, container.name)?.state !== 'exited' ||
        latest(runtime, container.name)?.exitCode !== 0,
    );
    const create = mayRestart && containers.length > 0 ? sandbox.create : undefined;
    const start = create === undefined ? [] : inits.length > 0 ? inits.slice(0, 1) : containers;
    return { killPod: true, createSandbox: create, sandboxId: undefined, stop: [], start };
  }

  const nextInit = inits.find((container) => {
    const status = inSandbox(runtime, sandbox.id, container.name);
    return !(status?.state === 'exited' && status.exitCode === 0);
  });
  const initialized =
    nextInit === undefined || pod.spec.containers.some((container) => inSandbox(runtime, sandbox.id, container.name) !== undefined);
  if (!initialized && nextInit !== undefined) {
    const status = inSandbox(runtime, sandbox.id, nextInit.name);
    const failedForGood = status?.state === 'exited' && restartPolicyOf(pod) === 'Never';
    const start = status?.state === 'running' || failedForGood ? [] : [nextInit];
    return { killPod: failedForGood, createSandbox: undefined, sandboxId: sandbox.id, stop: [], start };
  }

  const start: V1Container[] = [];
  const stop: { container: RuntimeContainer; why: string }[] = [];
  let kept = 0;
  for (const container of pod.spec.containers) {
    const status = latest(runtime, container.name);
    if (status?.state !== 'running') {
      if (shouldRestart(pod, status)) start.push(container);
    } else if (failed.has(status.id)) {
      stop.push({ container: status, why: `Container ${container.name} failed liveness or startup probe, will be restarted` });
      if (restartPolicyOf(pod) !== 'Never') start.push(container);
    } else kept++;
  }
  return { killPod: kept === 0 && start.length === 0, createSandbox: undefined, sandboxId: sandbox.id, stop, start };
}

/** A new sandbox is made when there is none, the latest is not ready, or more than one is. */
function sandboxChange(runtime: RuntimePod): { readonly create: number | undefined; readonly id: string } {
  const [newest] = runtime.sandboxes;
  if (newest === undefined) return { create: 0, id: '' };
  if (!newest.ready || runtime.sandboxes.filter((sandbox) => sandbox.ready).length > 1)
    return { create: newest.attempt + 1, id: newest.id };
  return { create: undefined, id: newest.id };
}

function inSandbox(runtime: RuntimePod, sandboxId: string, name: string): RuntimeContainer | undefined {
  return runtime.containers.find((container) => container.sandboxId === sandboxId && container.name === name);
}

/** Whether a container that does not run is to be started (again). */
export function shouldRestart(pod: Pod, status: RuntimeContainer | undefined): boolean {
  if (pod.metadata.deletionTimestamp !== undefined) return false;
  if (status === undefined || status.state === 'created' || status.state === 'unknown') return true;
  if (status.state === 'running') return false;
  const policy = restartPolicyOf(pod);
  return policy === 'Always' || (policy === 'OnFailure' && status.exitCode !== 0);
}
