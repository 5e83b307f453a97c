/**
 * What an owner says about a pod on this node (design rules 2 and 6). Pure. The rule for DaemonSets is the one of their controller
 * (pkg/controller/daemon, NodeShouldRunDaemonPod); the matching of nodes is component-helpers/scheduling/corev1's.
 */
import type { V1Taint } from '@kubernetes/client-node';

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
       * DaemonSet: its controller would make a pod for this node. Deployment, ReplicaSet, StatefulSet: it wants pods, and this node is one where they
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

/** Of a Node object, what decides about pods. */
export interface NodePlace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly V1Taint[];
}
