/** The complete copy of a pod as data: a static pod that names no API object, and every file it mounts. */
import type {
  V1beta1ClusterTrustBundle,
  V1ConfigMap,
  V1LabelSelector,
  V1Node,
  V1PersistentVolume,
  V1PersistentVolumeClaim,
  V1Pod,
  V1Secret,
  V1Service,
} from '@kubernetes/client-node';
import type { Digest, Traits } from './model.ts';

/** Stands for the generation's directory in a copy that has no generation number yet; only at the start of a hostPath. */
export const GENERATION_DIR = '@generation@';

/** A file of the generation. Paths are relative to the generation's `files` directory, `/`-separated, without `..` or empty parts. */
export interface CopyFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** Permission bits, e.g. 0o400. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A directory of the generation: each volume's own, also when it is empty, and those inside it. Parents come before children. */
export interface CopyDirectory {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A service account token among the files of a copy. Times in RFC 3339, UTC. */
export interface CopyToken {
  /** The file that holds it. */
  readonly path: string;
  readonly serviceAccount: string;
  /** Empty: the API server's own. */
  readonly audience: string;
  /** uid of the pod that it is bound to: the API server accepts it while that pod exists. */
  readonly podUid: string;
  /** As asked for. */
  readonly expirationSeconds: number;
  readonly renewAt: string;
  readonly expiresAt: string;
}

/** What a copy carries that belongs to one pod and not to what it runs: tokens, its hostname, and the values of variables and files made from its name, uid or annotations. */
export interface Instance {
  /** SHA-256 over these. */
  readonly digest: Digest;
  readonly tokens: readonly CopyToken[];
}

export interface Copy {
  /**
   * SHA-256, in a canonical form, over everything but the instance: the same for every pod of one spec and the same data. What is proven of one
   * such copy is proven of the others.
   */
  readonly digest: Digest;
  /** Absent where nothing of the copy belongs to one pod. When it changes the copy has to be stored anew, with the same digest. */
  readonly instance?: Instance;
  /** The static pod, its name still without generation and activation, hostPaths into the generation beginning with GENERATION_DIR. */
  readonly pod: V1Pod;
  readonly files: readonly CopyFile[];
  readonly directories: readonly CopyDirectory[];
  readonly traits: Traits;
}

/** Why no copy can be made. */
export interface Refusal {
  /** CamelCase and stable: what an operator searches a runbook for. */
  readonly code: string;
  /** Path of the field in the pod: `spec.volumes[2].csi`. */
  readonly field: string;
  /** One sentence: what is the matter, what to do. Never a value of a Secret. */
  readonly message: string;
}

/** What a copy is made without although its parent has it, or what of it cannot be told from the API. */
export interface Warning {
  /** CamelCase and stable. */
  readonly code: string;
  /** Path of the field in the parent. */
  readonly field: string;
  /** What may happen, what to do. */
  readonly message: string;
}

/** An object that a pod names. */
export type ObjectRef = NamedRef | ClaimRef | TokenRef | TrustBundleRef;

/** One object by name; `namespace` is empty for a Node. */
export interface NamedRef {
  readonly kind: 'Secret' | 'ConfigMap' | 'Service' | 'Node';
  readonly namespace: string;
  readonly name: string;
}

/**
 * A claim as one pod uses it. It stays what it is for as long as the pod is there (finalizer `kubernetes.io/pvc-protection`); for another pod it can have been
 * made anew under its name, with another volume.
 */
export interface ClaimRef {
  readonly kind: 'PersistentVolumeClaim';
  readonly namespace: string;
  readonly name: string;
  readonly podUid: string;
}

/** A token of the service account `name`, bound to one pod: another pod, audience or lifetime is another token. */
export interface TokenRef {
  readonly kind: 'Token';
  readonly namespace: string;
  readonly name: string;
  /** Empty: the API server's own. */
  readonly audience: string;
  readonly expirationSeconds: number;
  readonly pod: { readonly name: string; readonly uid: string };
}

/** ClusterTrustBundles: the one of this name, or all of a signer whose labels the selector matches. */
export interface TrustBundleRef {
  readonly kind: 'ClusterTrustBundle';
  readonly namespace: '';
  /** Empty where they are chosen by signer. */
  readonly name: string;
  readonly signerName: string;
  /** None matches nothing, an empty one everything. */
  readonly labelSelector: V1LabelSelector | undefined;
}

export interface Token {
  readonly token: string;
  readonly renewAt: string;
  readonly expiresAt: string;
}

/** A claim with the volume that it is bound to; that is not read before the claim names one. */
export interface BoundClaim {
  readonly claim: V1PersistentVolumeClaim;
  readonly volume: ObjectState<V1PersistentVolume>;
}

/** What stands behind each kind of reference. */
export interface Referred {
  readonly Secret: V1Secret;
  readonly ConfigMap: V1ConfigMap;
  readonly PersistentVolumeClaim: BoundClaim;
  readonly Service: V1Service;
  readonly Node: V1Node;
  readonly Token: Token;
  readonly ClusterTrustBundle: readonly V1beta1ClusterTrustBundle[];
}

export type ApiObject = Referred[ObjectRef['kind']];

export type ObjectState<T> =
  | { readonly state: 'present'; readonly object: T }
  /** The API server answered that there is none. */
  | { readonly state: 'absent' }
  /** The API server answered that we may not see it (or ask for it). */
  | { readonly state: 'denied'; readonly detail: string }
  | { readonly state: 'unknown'; readonly detail: string };

/** What is known of an object at this moment: of the kind that was asked for. */
export type ObjectLookup = (ref: ObjectRef) => ObjectState<ApiObject>;

/** How copies are made on this node. */
export interface CopyPolicy {
  /** Variables from a Secret: no copy, or their values in clear in the static pod, its manifest and its mirror pod in the API. */
  readonly secretEnv: 'refuse' | 'inline';
  /**
   * Where a copy's containers find the API server if they do not say so themselves; the kubelet tells static pods nothing before it has seen it.
   * By default what the cluster says: the address of the Service default/kubernetes, which only answers where something on the node routes to it.
   * `untold`: they are told nothing.
   */
  readonly kubernetesService?: { readonly host: string; readonly port: number } | 'untold';
  /** The node's `status.allocatable`: what a container without a limit is told that it may use. By default the node's object is asked. */
  readonly nodeAllocatable?: Readonly<Record<string, string>>;
}
