/** The complete copy of a pod as data: a static pod that names no API object, and every file it mounts. */
import type { V1ConfigMap, V1Pod, V1Secret } from '@kubernetes/client-node';
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

export interface Copy {
  /** SHA-256 over everything that matters, in a canonical form: a copy changes only if this changes. */
  readonly digest: Digest;
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

/** An object that a pod names. */
export interface ObjectRef {
  readonly kind: 'Secret' | 'ConfigMap';
  readonly namespace: string;
  readonly name: string;
}

export type ObjectState<T> =
  | { readonly state: 'present'; readonly object: T }
  /** The API server answered that there is none. */
  | { readonly state: 'absent' }
  | { readonly state: 'unknown'; readonly detail: string };

/** What is known of an object at this moment. */
export type ObjectLookup = (ref: ObjectRef) => ObjectState<V1Secret | V1ConfigMap>;

/** How copies are made on this node. */
export interface CopyPolicy {
  /** Variables from a Secret: no copy, or their values in clear in the static pod, its manifest and its mirror pod in the API. */
  readonly secretEnv: 'refuse' | 'inline';
  /** Where a copy's containers find the API server if they do not say so themselves; the kubelet tells static pods nothing before it has seen it. */
  readonly kubernetesService?: { readonly host: string; readonly port: number };
  /** The node's `status.allocatable`: what a container without a limit is told that it may use. */
  readonly nodeAllocatable?: Readonly<Record<string, string>>;
}
