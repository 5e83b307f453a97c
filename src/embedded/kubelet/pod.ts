/** A pod as the kubelet has it: defaulted, bound to this node, from a manifest or from the API server. Times are RFC 3339 text. */
import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import type { Meta } from '../apiserver/objects.ts';

export interface PodMeta extends Meta {
  uid: string;
  namespace: string;
}

export interface Pod {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: PodMeta;
  readonly spec: V1PodSpec;
  readonly status?: PodStatus;
}

export type Phase = 'Pending' | 'Running' | 'Succeeded' | 'Failed';

export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly lastTransitionTime?: string;
  readonly reason?: string;
  readonly message?: string;
}

export interface Terminated {
  readonly exitCode: number;
  readonly reason: string;
  readonly message?: string;
  readonly startedAt?: string;
  readonly finishedAt?: string;
  readonly containerID?: string;
}

export interface ContainerStateStatus {
  readonly waiting?: { readonly reason: string; readonly message?: string };
  readonly running?: { readonly startedAt: string };
  readonly terminated?: Terminated;
}

export interface ContainerStatusReport {
  readonly name: string;
  readonly image: string;
  readonly imageID: string;
  readonly containerID?: string;
  readonly restartCount: number;
  readonly ready: boolean;
  readonly started: boolean;
  readonly state: ContainerStateStatus;
  readonly lastState: ContainerStateStatus;
}

export interface PodStatus {
  readonly phase?: Phase;
  readonly reason?: string;
  readonly message?: string;
  readonly conditions?: readonly Condition[];
  readonly hostIP?: string;
  readonly hostIPs?: readonly { readonly ip: string }[];
  readonly podIP?: string;
  readonly podIPs?: readonly { readonly ip: string }[];
  readonly startTime?: string;
  readonly qosClass?: string;
  readonly containerStatuses?: readonly ContainerStatusReport[];
  readonly initContainerStatuses?: readonly ContainerStatusReport[];
}

export const CONFIG_SOURCE = 'kubernetes.io/config.source';
export const CONFIG_MIRROR = 'kubernetes.io/config.mirror';
export const CONFIG_HASH = 'kubernetes.io/config.hash';
export const CONFIG_SEEN = 'kubernetes.io/config.seen';

/** Labels that the kubelet puts on sandboxes and containers (pkg/kubelet/types/labels.go). */
export const POD_NAME_LABEL = 'io.kubernetes.pod.name';
export const POD_NAMESPACE_LABEL = 'io.kubernetes.pod.namespace';
export const POD_UID_LABEL = 'io.kubernetes.pod.uid';
export const CONTAINER_NAME_LABEL = 'io.kubernetes.container.name';

export function fullName(pod: Pod): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}

export function isMirror(pod: Pod): boolean {
  return pod.metadata.annotations?.[CONFIG_MIRROR] !== undefined;
}

/** From a manifest; its mirror pod in the API server is not. */
export function isStatic(pod: Pod): boolean {
  return pod.metadata.annotations?.[CONFIG_SOURCE] === 'file' && !isMirror(pod);
}

export function isTerminalPhase(phase: Phase | undefined): boolean {
  return phase === 'Failed' || phase === 'Succeeded';
}

export function restartPolicyOf(pod: Pod): 'Always' | 'OnFailure' | 'Never' {
  const policy = pod.spec.restartPolicy;
  return policy === 'OnFailure' || policy === 'Never' ? policy : 'Always';
}

/** Host ports that a pod holds. In the host's network every declared port is one (defaulting sets hostPort). */
export function hostPortsOf(pod: Pod): { readonly ip: string; readonly protocol: string; readonly port: number }[] {
  return [...(pod.spec.initContainers ?? []).filter(isSidecar), ...pod.spec.containers].flatMap((container) =>
    (container.ports ?? [])
      .filter((port) => (port.hostPort ?? 0) > 0)
      .map((port) => ({ ip: port.hostIP ?? '0.0.0.0', protocol: port.protocol ?? 'TCP', port: port.hostPort ?? 0 })),
  );
}

export function isSidecar(container: V1Container): boolean {
  return container.restartPolicy === 'Always';
}
