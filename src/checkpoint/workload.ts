/**
 * Workload identity: what is protected is namespace + controlling owner, not a pod. Pod names change with every rollout; the workload does not.
 */

import { createHash } from 'node:crypto';
import type { V1ObjectMeta, V1Pod } from '@kubernetes/client-node';

export type WorkloadKey = string & { readonly __brand: 'WorkloadKey' };

export interface Workload {
  readonly namespace: string;
  /** API group of the controlling owner, '' for the core group (a bare pod). */
  readonly group: string;
  /** Kind of the controlling owner as Kubernetes spells it: DaemonSet, Deployment, StatefulSet, Pod … */
  readonly kind: string;
  readonly name: string;
}

/** `kube-system/DaemonSet/kube-apiserver`; owners of other groups than Kubernetes' own carry the group: `ns/CloneSet.apps.kruise.io/name`. */
export function workloadKey(w: Workload): WorkloadKey {
  return `${w.namespace}/${qualifiedKind(w)}/${w.name}` as WorkloadKey;
}

function qualifiedKind(w: Workload): string {
  return w.group === '' || w.group === 'apps' || w.group === 'batch' ? w.kind : `${w.kind}.${w.group}`;
}

/** The controlling owner of a pod. A ReplicaSet made by a Deployment stands for that Deployment (its name is the Deployment's plus the template hash). */
export function workloadOf(pod: V1Pod): Workload {
  const meta = requireIdentity(pod.metadata);
  const owner = pod.metadata?.ownerReferences?.find((ref) => ref.controller === true);
  if (owner === undefined) return { namespace: meta.namespace, group: '', kind: 'Pod', name: meta.name };
  const group = owner.apiVersion.includes('/') ? (owner.apiVersion.split('/')[0] ?? '') : '';
  const hash = pod.metadata?.labels?.['pod-template-hash'];
  if (owner.kind === 'ReplicaSet' && hash !== undefined && owner.name.endsWith(`-${hash}`)) {
    return { namespace: meta.namespace, group, kind: 'Deployment', name: owner.name.slice(0, -hash.length - 1) };
  }
  return { namespace: meta.namespace, group, kind: owner.kind, name: owner.name };
}

function requireIdentity(meta: V1ObjectMeta | undefined): { namespace: string; name: string } {
  if (meta?.name === undefined || meta.namespace === undefined)
    throw new Error('a pod without metadata.name or metadata.namespace: expected a pod as the API server returns it');
  return { namespace: meta.namespace, name: meta.name };
}

/** What the API server appends to a generateName: five of these characters (apimachinery `rand.SafeEncodeString`), the base cut to 58. */
const SUFFIX = '[bcdfghjklmnpqrstvwxz2456789]{5}';
/** A pod template's hash is written with the same characters. */
const HASH = '[bcdfghjklmnpqrstvwxz2456789]{1,10}';
const GENERATE_NAME_BASE = 58;

/**
 * Whether a pod of this name, in the workload's namespace, is one that the workload's controller makes. With the API server away the container
 * runtime knows a pod's name and labels, not its owner; Kubernetes' naming rules give the owner back.
 */
export function ownsPodName(w: Workload, podName: string): boolean {
  switch (w.kind) {
    case 'Pod':
      return podName === w.name;
    case 'StatefulSet':
      return matches(w.name, '-[0-9]+', podName);
    case 'Deployment':
      return (
        matches(w.name, `-${HASH}-${SUFFIX}`, podName) ||
        matches(`${w.name}-`.slice(0, GENERATE_NAME_BASE), `[a-z0-9-]*${SUFFIX}`, podName, w.name.length >= GENERATE_NAME_BASE - 11)
      );
    case 'DaemonSet':
    case 'ReplicaSet':
      return matches(`${w.name}-`.slice(0, GENERATE_NAME_BASE), SUFFIX, podName);
    default:
      return podName === w.name || podName.startsWith(`${w.name}-`);
  }
}

function matches(base: string, suffix: string, name: string, enabled = true): boolean {
  return enabled && name.startsWith(base) && new RegExp(`^${suffix}$`).test(name.slice(base.length));
}

const SHORT_KIND: Readonly<Record<string, string>> = {
  DaemonSet: 'ds',
  Deployment: 'deploy',
  StatefulSet: 'sts',
  ReplicaSet: 'rs',
  Pod: 'pod',
  Job: 'job',
};

/**
 * The workload's part of a copy's pod name. Distinct for two workloads that share a name. A pod's name has at most 253 characters; this part
 * at most 160, so that generation, activation and the node's name (up to 76) fit behind it.
 */
export function copyBaseName(w: Workload): string {
  const kind = SHORT_KIND[qualifiedKind(w)] ?? `${w.kind.toLowerCase().slice(0, 20)}-${shortHash(qualifiedKind(w))}`;
  const name = `${w.name}-${kind}`;
  if (name.length <= 160) return name;
  // A cut that ends in a dot or a dash would not be a DNS subdomain with a dash behind it.
  return `${w.name.slice(0, 120).replace(/[.-]+$/, '')}-${shortHash(w.name)}-${kind}`;
}

/** A file name for the workload: namespace and kind hold no dot, so the first two dots separate. */
export function workloadFileName(w: Workload): string {
  const kind = SHORT_KIND[qualifiedKind(w)] ?? `${w.kind.toLowerCase()}-${shortHash(qualifiedKind(w))}`;
  const name = `${w.namespace}.${kind}.${w.name}`;
  return name.length <= 200 ? name : `${name.slice(0, 180)}.${shortHash(name)}`;
}

function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
