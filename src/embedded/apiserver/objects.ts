/** Kubernetes objects as the embedded API server handles them: plain JSON, never changed once stored. */
import type { V1OwnerReference, V1PodSpec, V1PodStatus } from '@kubernetes/client-node';

export interface Meta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid?: string;
  resourceVersion?: string;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  generation?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: V1OwnerReference[];
  finalizers?: string[];
}

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: Meta;
  spec?: unknown;
  status?: unknown;
}

export interface Pod extends KubeObject {
  spec: V1PodSpec;
  status?: V1PodStatus;
}

export type JsonMap = Record<string, unknown>;

export function isMap(value: unknown): value is JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value at a path of field names, undefined where the path ends early. */
export function fieldAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, field) => (isMap(at) ? at[field] : undefined), value);
}

/** A pod as stored: validation has seen to its spec. */
export function asPod(object: KubeObject): Pod {
  return { ...object, spec: (object.spec ?? { containers: [] }) as V1PodSpec } as Pod;
}

/** The object without the named fields of its metadata. */
export function withoutMeta(object: KubeObject, fields: readonly (keyof Meta)[]): KubeObject {
  const metadata = { ...object.metadata };
  for (const field of fields) delete metadata[field];
  return { ...object, metadata };
}

/** RFC 3339 with whole seconds, as metav1.Time is written. */
export function timestamp(millis: number): string {
  return new Date(millis).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** JSON with sorted keys: the same value gives the same text. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item ?? null)).join(',')}]`;
  if (!isMap(value)) return JSON.stringify(value) ?? 'null';
  const fields = Object.keys(value).sort();
  const present = fields.filter((field) => value[field] !== undefined);
  return `{${present.map((field) => `${JSON.stringify(field)}:${canonical(value[field])}`).join(',')}}`;
}

export function sameValue(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}
