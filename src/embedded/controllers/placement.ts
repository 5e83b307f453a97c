/** Whether a pod may be on a node: selectors, affinity, taints (pkg/scheduler and component-helpers/scheduling/corev1). */
import type { V1NodeSelectorRequirement, V1NodeSelectorTerm, V1NodeSpec, V1PodSpec, V1Taint, V1Toleration } from '@kubernetes/client-node';
import type { KubeObject } from '../apiserver/objects.ts';

export type TaintEffect = 'NoSchedule' | 'NoExecute';

/** nodeSelector and the required node affinity. */
export function selectsNode(spec: V1PodSpec, node: KubeObject): boolean {
  const labels = node.metadata.labels ?? {};
  const plain = Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => labels[key] === value);
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  return plain && (terms === undefined || terms.some((term) => termMatches(term, node)));
}

/** A term without any requirement matches nothing. */
function termMatches(term: V1NodeSelectorTerm, node: KubeObject): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length + fields.length === 0) return false;
  const labels = node.metadata.labels ?? {};
  return (
    expressions.every((requirement) => requirementMatches(requirement, labels[requirement.key])) &&
    fields.every((requirement) => requirement.key === 'metadata.name' && requirementMatches(requirement, node.metadata.name))
  );
}

function requirementMatches(requirement: V1NodeSelectorRequirement, value: string | undefined): boolean {
  const values = requirement.values ?? [];
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return value !== undefined && Number(value) > Number(values[0]);
    case 'Lt':
      return value !== undefined && Number(value) < Number(values[0]);
    default:
      return false;
  }
}

/** Whether the tolerations outweigh all taints of these effects. */
export function toleratesTaints(tolerations: readonly V1Toleration[], node: KubeObject, effects: readonly TaintEffect[]): boolean {
  const taints = ((node.spec ?? {}) as V1NodeSpec).taints ?? [];
  return taints
    .filter((taint) => effects.some((effect) => effect === taint.effect))
    .every((taint) => tolerations.some((toleration) => tolerates(toleration, taint)));
}

export function tolerates(toleration: V1Toleration, taint: V1Taint): boolean {
  if ((toleration.effect ?? '') !== '' && toleration.effect !== taint.effect) return false;
  if ((toleration.key ?? '') !== '' && toleration.key !== taint.key) return false;
  if (toleration.operator === 'Exists') return true;
  return (toleration.key ?? '') !== '' && (toleration.value ?? '') === (taint.value ?? '');
}

/** The node that a DaemonSet's controller made the pod for, by its affinity to metadata.name. */
export function intendedNode(spec: V1PodSpec): string | undefined {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const term of terms) for (const field of term.matchFields ?? []) if (field.key === 'metadata.name') return field.values?.[0];
  return undefined;
}
