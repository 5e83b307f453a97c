/** What an owner says about a pod on this node (design rules 2 and 6), from the objects as the API server has them. Pure. */
import type {
  V1DaemonSet,
  V1Deployment,
  V1LabelSelector,
  V1ObjectMeta,
  V1Pod,
  V1PodSpec,
  V1ReplicaSet,
  V1StatefulSet,
} from '@kubernetes/client-node';
import { daemonPlacement, mayBeOn, type NodePlace } from './placement.ts';
import type { Workload } from './workload.ts';

/** A workload's owner, as the API server last had it. */
export type OwnerState =
  /** Nobody to ask for: a bare pod, or an owner of a kind that is not read. */
  | { readonly state: 'none' }
  /** No identity that may read owners, no answer, denied, not read yet. Never a reason to do anything. */
  | { readonly state: 'unknown'; readonly detail: string }
  /** A GET of the owner by name was answered with 404. `uid`: of the one that was seen last, where one was. */
  | { readonly state: 'gone'; readonly uid?: string }
  | {
      readonly state: 'present';
      /** Another one than before: the owner was deleted and made again. */
      readonly uid: string;
      readonly deleting: boolean;
      /**
       * DaemonSet: its controller makes a pod for this node, now or when the node is well again. Deployment, ReplicaSet, StatefulSet: it wants pods, and this node is one where they
       * may be; whether one of them was here the caller knows. False for an owner that is being deleted.
       */
      readonly wantsPodHere: boolean;
      readonly pods: OwnerPods;
    };

/** The owner's pods on all nodes. Static copies are none of them: the owner does not control their mirror pods. */
export type OwnerPods =
  /** Not asked for, or not answered. */
  | { readonly state: 'unknown'; readonly detail: string }
  | { readonly state: 'ok'; readonly ready: readonly ReadyPod[]; readonly pending: readonly PendingPod[] };

/**
 * Condition Ready is True, not terminating. It is what a kubelet reported last: a pod on a node that lost its power stays Ready until the node
 * lifecycle controller, if one runs, says otherwise.
 */
export interface ReadyPod {
  readonly name: string;
  readonly uid: string;
  readonly node: string;
  /** Milliseconds since the epoch, by the clock of that node. */
  readonly since: number;
}

/** Phase Pending, not terminating. Bound to this node; or bound to none yet and, where it can only go to one node, to this one. */
export interface PendingPod {
  readonly name: string;
  readonly uid: string;
  readonly bound: boolean;
}

/** The kinds that are read, all of the group apps. */
export type OwnerKind = 'DaemonSet' | 'Deployment' | 'ReplicaSet' | 'StatefulSet';
export type OwnerObject = V1DaemonSet | V1Deployment | V1ReplicaSet | V1StatefulSet;

/** Undefined: a bare pod, or an owner of another kind. */
export function ownerKind({ group, kind }: Workload): OwnerKind | undefined {
  if (group !== 'apps') return undefined;
  return kind === 'DaemonSet' || kind === 'Deployment' || kind === 'ReplicaSet' || kind === 'StatefulSet' ? kind : undefined;
}

/**
 * Taints that the node lifecycle controller puts on a node whose kubelet it does not hear: they say how the node is and pass by themselves, not what is
 * wanted of it. A copy may be just what the node needs to become ready.
 */
const PASSING = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable', 'node.kubernetes.io/network-unavailable'];

export function wantsPodOn(kind: OwnerKind, owner: OwnerObject, node: NodePlace): boolean {
  if (owner.metadata?.deletionTimestamp !== undefined || owner.spec === undefined) return false;
  const template: V1PodSpec = owner.spec.template?.spec ?? { containers: [] };
  if (kind === 'DaemonSet') {
    return daemonPlacement(template, { ...node, taints: node.taints.filter((taint) => !PASSING.includes(taint.key)) }) === 'run';
  }
  const replicas = 'replicas' in owner.spec ? owner.spec.replicas : undefined;
  // The API server's default is 1. Taints are not looked at: those that pass would have to be told from those that stay for every one.
  return (replicas ?? 1) > 0 && mayBeOn(template, node);
}

/** The text of a label selector as a query has it; undefined for one that selects nothing, or that cannot be understood. */
export function selectorText(selector: V1LabelSelector | undefined): string | undefined {
  const equal = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const sets = (selector?.matchExpressions ?? []).map(({ key, operator, values = [] }) => {
    switch (operator) {
      case 'In':
        return `${key} in (${values.join(',')})`;
      case 'NotIn':
        return `${key} notin (${values.join(',')})`;
      case 'Exists':
        return key;
      case 'DoesNotExist':
        return `!${key}`;
      default:
        return undefined;
    }
  });
  const terms = [...equal, ...sets];
  // An empty text would select every pod of the namespace.
  return terms.length === 0 || terms.includes(undefined) ? undefined : terms.join(',');
}

/** @param controllers uids of what controls the owner's pods: the owner itself, or the ReplicaSets of a Deployment */
export function podsOf(pods: Iterable<V1Pod>, controllers: ReadonlySet<string>, nodeName: string): OwnerPods {
  const own = [...pods].filter(({ metadata }) => isControlledBy(metadata, controllers) && metadata?.deletionTimestamp === undefined);
  return {
    state: 'ok',
    ready: own.flatMap(readyPod).toSorted(byName),
    pending: own.flatMap((pod) => pendingPod(pod, nodeName)).toSorted(byName),
  };
}

export function isControlledBy(meta: V1ObjectMeta | undefined, controllers: ReadonlySet<string>): boolean {
  return meta?.ownerReferences?.some((reference) => reference.controller === true && controllers.has(reference.uid)) === true;
}

function readyPod({ metadata, spec, status }: V1Pod): ReadyPod[] {
  const ready = status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True' || spec?.nodeName === undefined) return [];
  // Parsed JSON has the time as text, whatever its type says.
  const since = Date.parse(String(ready.lastTransitionTime ?? ''));
  return [{ name: metadata?.name ?? '', uid: metadata?.uid ?? '', node: spec.nodeName, since: Number.isNaN(since) ? 0 : since }];
}

function pendingPod({ metadata, spec, status }: V1Pod, nodeName: string): PendingPod[] {
  if ((status?.phase ?? 'Pending') !== 'Pending') return [];
  const bound = (spec?.nodeName ?? '') !== '';
  if ((bound ? spec?.nodeName : (intendedNode(spec) ?? nodeName)) !== nodeName) return [];
  return [{ name: metadata?.name ?? '', uid: metadata?.uid ?? '', bound }];
}

/** The DaemonSet controller binds nothing: it gives its pod an affinity to the one node, and the scheduler binds it. */
function intendedNode(spec: V1PodSpec | undefined): string | undefined {
  const terms = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  const [only, ...others] = terms;
  const name = only?.matchFields?.find(({ key, operator }) => key === 'metadata.name' && operator === 'In');
  return others.length === 0 && name?.values?.length === 1 ? name.values[0] : undefined;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : Number(a.name > b.name);
}
