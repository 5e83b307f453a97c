/** Which node a pending pod goes to: pure. The filters of the real scheduler as far as they matter for a control plane; no scores. */
import type { V1NodeSpec, V1NodeStatus } from '@kubernetes/client-node';
import type { KubeObject, Pod } from '../apiserver/objects.ts';
import { selectsNode, tolerates, toleratesTaints } from './placement.ts';

export type Choice = { readonly node: string } | { readonly unschedulable: string };

export function isPending(pod: Pod): boolean {
  const { nodeName = '', schedulerName = 'default-scheduler', schedulingGates = [] } = pod.spec;
  if (nodeName !== '' || schedulerName !== 'default-scheduler' || schedulingGates.length > 0) return false;
  return pod.metadata.deletionTimestamp === undefined && (pod.status?.phase ?? 'Pending') === 'Pending';
}

/** `pods` are all pods: those on a node hold its host ports. */
export function chooseNode(pod: Pod, nodes: readonly KubeObject[], pods: readonly Pod[]): Choice {
  const reasons = new Map<string, number>();
  const fitting = nodes.filter((node) => {
    const reason = misfit(pod, node, pods);
    if (reason !== undefined) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    return reason === undefined;
  });
  const load = (node: KubeObject) => pods.filter((other) => other.spec.nodeName === node.metadata.name).length;
  const [best] = fitting.toSorted((a, b) => load(a) - load(b));
  if (best !== undefined) return { node: best.metadata.name };
  const why = [...reasons].map(([reason, count]) => `${count} ${reason}`).join(', ');
  return { unschedulable: `0/${nodes.length} nodes are available: ${why === '' ? 'no nodes' : why}.` };
}

/** The taints that the node lifecycle controller would put on a node, which there is none of here. */
const NOT_READY = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };
const UNSCHEDULABLE = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };

function misfit(pod: Pod, node: KubeObject, pods: readonly Pod[]): string | undefined {
  const tolerations = pod.spec.tolerations ?? [];
  if (!selectsNode(pod.spec, node)) return "node(s) didn't match Pod's node affinity/selector";
  const unschedulable = ((node.spec ?? {}) as V1NodeSpec).unschedulable === true;
  if (unschedulable && !tolerations.some((toleration) => tolerates(toleration, UNSCHEDULABLE))) return 'node(s) were unschedulable';
  // A DaemonSet's pod goes to its node in any state: it tolerates not-ready with another effect only, but is what may make the node ready.
  const daemon = pod.metadata.ownerReferences?.some((owner) => owner.kind === 'DaemonSet') === true;
  if (!daemon && !isReady(node) && !tolerations.some((toleration) => tolerates(toleration, NOT_READY))) return 'node(s) were not ready';
  if (!toleratesTaints(tolerations, node, ['NoSchedule', 'NoExecute'])) return 'node(s) had untolerated taint(s)';
  const taken = new Set(pods.filter((other) => other.spec.nodeName === node.metadata.name).flatMap(hostPorts));
  if (hostPorts(pod).some((port) => taken.has(port))) return "node(s) didn't have free ports for the requested pod ports";
  return undefined;
}

function isReady(node: KubeObject): boolean {
  const { conditions = [] } = (node.status ?? {}) as V1NodeStatus;
  return conditions.some((condition) => condition.type === 'Ready' && condition.status === 'True');
}

/** As protocol and number; a pod that has ended holds none. */
function hostPorts(pod: Pod): string[] {
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return [];
  const ports = pod.spec.containers.flatMap((container) => container.ports ?? []);
  return ports.flatMap((port) => (port.hostPort ? [`${port.protocol ?? 'TCP'} ${port.hostPort}`] : []));
}
