/** Whether a pod may be on a node: selectors, affinity, taints (pkg/scheduler and component-helpers/scheduling/corev1). */
import type { V1NodeSelectorRequirement, V1NodeSelectorTerm, V1NodeSpec, V1PodSpec, V1Taint, V1Toleration } from '@kubernetes/client-node';
import type { KubeObject } from '../apiserver/objects.ts';

export type TaintEffect = 'NoSchedule' | 'NoExecute';

/** nodeSelector and the required node affinity. */
export function selectsNode(spec: V1PodSpec, node: KubeObject): boolean {
  const labels = node.metadata.labels ?? {};
  const plain = Object.entries(spec.nodeSelector ?? {}).every(([key, value]) => labels[key] === value);
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return plain && (required === undefined || (required.nodeSelectorTerms ?? []).some((term) => termMatches(term, node)));
}

/** A term without any requirement matches nothing. */
function termMatches(term: V1NodeSelectorTerm, node: KubeObject): boolean {
  const expressions = term.matchExpressions ?? [];
  const fields = term.matchFields ?? [];
  if (expressions.length + fields.length === 0) return false;
  const labels = node.metadata.labels ?? {};
  return (
    expressions.every((requirement) => requirementMatches(requirement, labels[requirement.key])) &&
    fields.every((requirement) => isFieldRequirement(requirement) && requirementMatches(requirement, node.metadata.name))
  );
}

/** As a field selector takes it: the node's name, and one value to be or not to be. */
function isFieldRequirement({ key, operator, values = [] }: V1NodeSelectorRequirement): boolean {
  return key === 'metadata.name' && values.length === 1 && (operator === 'In' || operator === 'NotIn');
}

/** One that the API server would not take, or that compares what is no number, matches nothing. */
function requirementMatches(requirement: V1NodeSelectorRequirement, value: string | undefined): boolean {
  const values = requirement.values ?? [];
  const listed = value !== undefined && values.includes(value);
  switch (requirement.operator) {
    case 'In':
      return listed;
    case 'NotIn':
      return values.length > 0 && !listed;
    case 'Exists':
      return values.length === 0 && value !== undefined;
    case 'DoesNotExist':
      return values.length === 0 && value === undefined;
    case 'Gt':
    case 'Lt':
      return values.length === 1 && compares(requirement.operator, value, values[0]);
    default:
      return false;
  }
}

function compares(operator: 'Gt' | 'Lt', value: string | undefined, bound: string | undefined): boolean {
  const [a, b] = [toInt64(value), toInt64(bound)];
  if (a === undefined || b === undefined) return false;
  return operator === 'Gt' ? a > b : a < b;
}

/** strconv.ParseInt(text, 10, 64) */
function toInt64(text: string | undefined): bigint | undefined {
  const digits = /^([+-]?)([0-9]+)$/.exec(text ?? '');
  if (digits === null) return undefined;
  const number = BigInt(digits[2] ?? '') * (digits[1] === '-' ? -1n : 1n);
  return number >= -(2n ** 63n) && number < 2n ** 63n ? number : undefined;
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
  if (toleration.operator === 'Gt' || toleration.operator === 'Lt') return compares(toleration.operator, taint.value, toleration.value);
  return (toleration.operator ?? 'Equal') === 'Equal' && (toleration.value ?? '') === (taint.value ?? '');
}

/** The node that a DaemonSet's controller made the pod for, by its affinity to metadata.name. */
export function intendedNode(spec: V1PodSpec): string | undefined {
  const terms = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  for (const term of terms) for (const field of term.matchFields ?? []) if (field.key === 'metadata.name') return field.values?.[0];
  return undefined;
}
