/** Which dead containers and sandboxes go (pkg/kubelet/kuberuntime/kuberuntime_gc.go). Both lists are of one pod, newest first. */
import type { RuntimeContainer, RuntimeSandbox } from './runtime-pods.ts';

/** Of a pod that is still wanted the newest dead container of each name stays, for its exit code; of one that is gone nothing stays. */
export function containersToRemove(containers: readonly RuntimeContainer[], podIsGone: boolean): RuntimeContainer[] {
  const dead = containers.filter((container) => container.state !== 'running');
  if (podIsGone) return dead;
  return [...Map.groupBy(dead, (container) => container.name).values()].flatMap((sameName) => sameName.slice(1));
}

/** The newest sandbox of a wanted pod stays; one that is ready or still has containers always does. */
export function sandboxesToRemove(
  sandboxes: readonly RuntimeSandbox[],
  containers: readonly RuntimeContainer[],
  podIsGone: boolean,
): RuntimeSandbox[] {
  const inUse = new Set(containers.map((container) => container.sandboxId));
  return (podIsGone ? sandboxes : sandboxes.slice(1)).filter((sandbox) => !sandbox.ready && !inUse.has(sandbox.id));
}
