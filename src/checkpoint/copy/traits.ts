/** What else `decide` has to know of a pod: whether it serves the API, and whether its copy can run beside it. */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { HAND_BACK } from '../annotations.ts';
import type { Traits } from '../model.ts';

export function traitsOf(pod: V1Pod): Traits {
  const containers = longRunning(pod);
  const servesApi = containers.some(isApiServer);
  const asksApi = !servesApi && containers.length > 0 && containers.every((c) => runs(c, 'controller-manager') || runs(c, 'scheduler'));
  return { servesApi, ...(asksApi && { asksApi }), handBack: handBackOf(pod) };
}

/**
 * Exclusive is the safe answer: it costs a restart, where an overlap of two that cannot live side by side never ends. So overlap is taken
 * where the user says so, where only API servers run and share their port (`--permit-port-sharing`), and where nothing is shared: neither
 * the host's network, nor a port of the host, nor a directory of the host that the pod may write to.
 */
function handBackOf(pod: V1Pod): Traits['handBack'] {
  const said = pod.metadata?.annotations?.[HAND_BACK];
  if (said === 'overlap' || said === 'exclusive') return said;
  const containers = longRunning(pod);
  if (containers.length > 0 && containers.every((c) => isApiServer(c) && permitsPortSharing(c))) return 'overlap';
  if (pod.spec?.hostNetwork === true || containers.some((c) => c.ports?.some((port) => port.hostPort !== undefined && port.hostPort !== 0)))
    return 'exclusive';
  return writesToHost(pod, containers) ? 'exclusive' : 'overlap';
}

/** Containers and sidecars (init containers that stay). */
function longRunning(pod: V1Pod): V1Container[] {
  return [...(pod.spec?.initContainers ?? []).filter((c) => c.restartPolicy === 'Always'), ...(pod.spec?.containers ?? [])];
}

function writesToHost(pod: V1Pod, containers: readonly V1Container[]): boolean {
  // A claim is copied only where it is a directory of the host.
  const host = new Set(
    (pod.spec?.volumes ?? []).filter((volume) => volume.hostPath ?? volume.persistentVolumeClaim).map((volume) => volume.name),
  );
  return containers.some((c) => c.volumeMounts?.some((mount) => host.has(mount.name) && mount.readOnly !== true));
}

/** The words of the command line, also those of a script given to a shell. */
function words(container: V1Container): string[] {
  return [...(container.command ?? []), ...(container.args ?? [])]
    .flatMap((argument) => argument.split(/\s+/))
    .filter((word) => word !== '');
}

function isApiServer(container: V1Container): boolean {
  return runs(container, 'apiserver');
}

export type Part = 'apiserver' | 'controller-manager' | 'scheduler';

/** Whether a container is this part of the control plane. */
export function runs(container: V1Container, part: Part): boolean {
  const programs = words(container)
    .filter((word) => !word.startsWith('-'))
    .map(baseName);
  if (programs.includes(`kube-${part}`)) return true;
  // Hyperkube is all of Kubernetes in one program; the word after its name chooses the part.
  if (programs.some((program, i) => program === 'hyperkube' && programs[i + 1] === part)) return true;
  // Images are `registry:port/path/kube-apiserver:tag@digest`; kubeadm's older ones carry the architecture.
  const repository = baseName((container.image ?? '').split('@')[0] ?? '').split(':')[0] ?? '';
  return new RegExp(`^kube-${part}(-(amd64|arm|arm64|ppc64le|s390x))?$`).test(repository);
}

/** The value of a flag of its command line, the last one counting; empty for one that stands alone. */
export function flagOf(container: V1Container, name: string): string | undefined {
  const last = words(container).findLast((word) => new RegExp(`^--?${name}(=|$)`).test(word));
  return last?.includes('=') === true ? last.slice(last.indexOf('=') + 1) : last && '';
}

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

function permitsPortSharing(container: V1Container): boolean {
  const value = flagOf(container, 'permit-port-sharing');
  return value !== undefined && ['', '1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}
