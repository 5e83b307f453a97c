/** What the parts of one copy share: the parent, the objects it names, and what was found on the way. */
import type { V1ConfigMap, V1Pod, V1Secret } from '@kubernetes/client-node';
import type { CopyPolicy, CopyToken, NamedRef, ObjectLookup, ObjectRef, ObjectState, Referred, Refusal, Warning } from '../copy-types.ts';
import { objectTitle } from '../references.ts';
import { own } from './own.ts';

export interface Rendering {
  readonly parent: V1Pod;
  readonly namespace: string;
  readonly policy: CopyPolicy;
  readonly lookup: ObjectLookup;
  /** Filled while the copy is made; a copy with refusals is not used. */
  readonly refusals: Refusal[];
  /** What the copy may do otherwise than its parent. */
  readonly warnings: Warning[];
  /** Titles of objects that have to be read before a copy can be made. */
  readonly waiting: Set<string>;
  /** Those of them that the API server refuses to the checkpointer. */
  readonly denied: Set<string>;
  /** What the copy has otherwise than its parent, and by which rule. */
  readonly changes: Change[];
  readonly ofOnePod: OfOnePod;
}

export interface Change {
  /** Path of the field in the parent, or in the copy where it was added. */
  readonly field: string;
  readonly rule: string;
}

/** What belongs to the parent alone and not to every pod of its spec. */
export interface OfOnePod {
  /** Paths of files. */
  readonly files: Set<string>;
  /** Paths of directories that mounts need because of one of the variables. */
  readonly directories: Set<string>;
  /** Variables, as they stand in the copy. */
  readonly variables: Set<object>;
  /** Fields of the pod's spec. */
  readonly spec: Set<'hostname'>;
  readonly tokens: CopyToken[];
}

export function refuse(r: Rendering, code: string, field: string, message: string): void {
  r.refusals.push({ code, field, message });
}

export function change(r: Rendering, field: string, rule: string): void {
  r.changes.push({ field, rule });
}

/** `none`: there is no such object and the pod can do without. `pending`: it was noted as waited for. */
export type Found<T> = { readonly kind: 'found'; readonly object: T } | { readonly kind: 'none' } | { readonly kind: 'pending' };

/** Looks an object up. One that is absent although it is needed is waited for, as the kubelet waits with the pod's start. */
export function find<R extends ObjectRef>(r: Rendering, ref: R, optional: boolean | undefined): Found<Referred[R['kind']]> {
  const found = lookUp(r, ref);
  if (found.state === 'present') return { kind: 'found', object: found.object };
  if (found.state === 'absent' && optional === true) return { kind: 'none' };
  if (found.state === 'denied') waitForPermission(r, ref, found.detail);
  else waitFor(r, ref);
  return { kind: 'pending' };
}

export function lookUp<R extends ObjectRef>(r: Rendering, ref: R): ObjectState<Referred[R['kind']]> {
  // A lookup answers with what it was asked for; a function type cannot say so for every kind.
  return r.lookup(ref) as ObjectState<Referred[R['kind']]>;
}

export function waitFor(r: Rendering, ref: ObjectRef, why = ''): void {
  r.waiting.add(`${objectTitle(ref)}${why}`);
}

function waitForPermission(r: Rendering, ref: ObjectRef, detail: string): void {
  const why = ` (${detail})`;
  waitFor(r, ref, why);
  r.denied.add(`${objectTitle(ref)}${why}`);
}

/** The kinds of objects that are keys with values. */
export type DataKind = 'Secret' | 'ConfigMap';
export type DataRef = NamedRef & { readonly kind: DataKind };

/** Text values of a ConfigMap; the values of a Secret, which are base64 in the API, decoded. */
export function bytesOf(kind: DataKind, value: string): Uint8Array {
  return viewOf(Buffer.from(value, kind === 'Secret' ? 'base64' : 'utf8'));
}

/** The same bytes, not a copy of them: a Secret may have a MiB. */
function viewOf(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

/** The value of one key as the kubelet finds it: a ConfigMap's `data` before its `binaryData`. */
export function bytesAt(kind: DataKind, object: V1Secret | V1ConfigMap, key: string): Uint8Array | undefined {
  const text = own(object.data, key);
  if (text !== undefined) return bytesOf(kind, text);
  const binary = kind === 'ConfigMap' && 'binaryData' in object ? own(object.binaryData, key) : undefined;
  return binary === undefined ? undefined : viewOf(Buffer.from(binary, 'base64'));
}

/** Every key of the object, sorted. */
export function keysOf(kind: DataKind, object: V1Secret | V1ConfigMap): string[] {
  const binary = kind === 'ConfigMap' && 'binaryData' in object ? Object.keys(object.binaryData ?? {}) : [];
  return [...new Set([...Object.keys(object.data ?? {}), ...binary])].sort();
}
