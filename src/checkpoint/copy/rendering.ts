/** What the parts of one copy share: the parent, the objects it names, and what was found on the way. */
import type { V1ConfigMap, V1Pod, V1Secret } from '@kubernetes/client-node';
import type { CopyPolicy, ObjectLookup, ObjectRef, Refusal } from '../copy-types.ts';
import { objectTitle } from '../references.ts';

export interface Rendering {
  readonly parent: V1Pod;
  readonly namespace: string;
  readonly policy: CopyPolicy;
  readonly lookup: ObjectLookup;
  /** Filled while the copy is made; a copy with refusals is not used. */
  readonly refusals: Refusal[];
  /** Titles of objects that have to be read before a copy can be made. */
  readonly waiting: Set<string>;
}

export function refuse(r: Rendering, code: string, field: string, message: string): void {
  r.refusals.push({ code, field, message });
}

/** `none`: there is no such object and the pod can do without. `pending`: it was noted as waited for. */
export type Found =
  | { readonly kind: 'found'; readonly object: V1Secret | V1ConfigMap }
  | { readonly kind: 'none' }
  | { readonly kind: 'pending' };

/** Looks an object up. One that is absent although it is needed is waited for, as the kubelet waits with the pod's start. */
export function find(r: Rendering, ref: ObjectRef, optional: boolean | undefined): Found {
  const found = r.lookup(ref);
  if (found.state === 'present') return { kind: 'found', object: found.object };
  if (found.state === 'absent' && optional === true) return { kind: 'none' };
  r.waiting.add(objectTitle(ref));
  return { kind: 'pending' };
}

/** Text values of a ConfigMap; the values of a Secret, which are base64 in the API, decoded. */
export function bytesOf(kind: ObjectRef['kind'], value: string): Uint8Array {
  return new Uint8Array(Buffer.from(value, kind === 'Secret' ? 'base64' : 'utf8'));
}

/** The value of one key as the kubelet finds it: a ConfigMap's `data` before its `binaryData`. */
export function bytesAt(kind: ObjectRef['kind'], object: V1Secret | V1ConfigMap, key: string): Uint8Array | undefined {
  const text = own(object.data, key);
  if (text !== undefined) return bytesOf(kind, text);
  const binary = kind === 'ConfigMap' && 'binaryData' in object ? own(object.binaryData, key) : undefined;
  return binary === undefined ? undefined : new Uint8Array(Buffer.from(binary, 'base64'));
}

/** Every key of the object, sorted. */
export function keysOf(kind: ObjectRef['kind'], object: V1Secret | V1ConfigMap): string[] {
  const binary = kind === 'ConfigMap' && 'binaryData' in object ? Object.keys(object.binaryData ?? {}) : [];
  return [...new Set([...Object.keys(object.data ?? {}), ...binary])].sort();
}

/** Keys come from the cluster: `constructor` or `__proto__` must not find something of JavaScript's. */
export function own(map: Readonly<Record<string, string>> | undefined, key: string): string | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}
