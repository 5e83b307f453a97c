/** What the kubelet would put into a volume that it fills from the API: secret, configMap, downwardAPI, and projected volumes. */
import type { V1DownwardAPIVolumeFile, V1KeyToPath, V1ResourceFieldSelector, V1Volume, V1VolumeProjection } from '@kubernetes/client-node';
import type { CopyToken, NamedRef } from '../copy-types.ts';
import { objectTitle, tokenRef, trustBundleRef } from '../references.ts';
import { belongsToOnePod, fieldValue, type ResourceValue, resourceValue } from './fields.ts';
import { groupOf, userOf } from './owners.ts';
import { safeRelativePath } from './paths.ts';
import { bytesAt, type DataRef, find, keysOf, type Rendering, refuse } from './rendering.ts';
import { trustAnchors } from './trust-bundles.ts';

export interface PayloadFile {
  readonly bytes: Uint8Array;
  readonly mode: number;
  /** Root where none is named. */
  readonly uid?: number;
  /** What it says is the parent's alone. */
  readonly ofOnePod?: boolean;
  readonly token?: Omit<CopyToken, 'path'>;
}

/** Files by their path in the volume. */
export type Payload = Map<string, PayloadFile>;

/** What the API server fills in where no `defaultMode` is set. */
const DEFAULT_MODE = 0o644;

/** The kinds of volumes that the kubelet fills from the API and that a copy carries as files. */
export function isFilledFromApi(volume: V1Volume): boolean {
  return Boolean(volume.secret ?? volume.configMap ?? volume.downwardAPI ?? volume.projected);
}

/** The files of a volume that is filled from the API; `field` is the volume's path in the pod. What cannot be had is noted in the rendering. */
export function payloadOf(r: Rendering, volume: V1Volume, field: string): Payload {
  const payload: Payload = new Map();
  if (volume.secret) {
    const { secretName, items, optional, defaultMode } = volume.secret;
    const ref: DataRef = { kind: 'Secret', namespace: r.namespace, name: secretName ?? '' };
    addObject(r, payload, { ref, items, optional, mode: defaultMode ?? DEFAULT_MODE, field: `${field}.secret` });
  } else if (volume.configMap) {
    const { name, items, optional, defaultMode } = volume.configMap;
    const ref: DataRef = { kind: 'ConfigMap', namespace: r.namespace, name: name ?? '' };
    addObject(r, payload, { ref, items, optional, mode: defaultMode ?? DEFAULT_MODE, field: `${field}.configMap` });
  } else if (volume.downwardAPI) {
    const { items, defaultMode } = volume.downwardAPI;
    addFields(r, payload, items ?? [], defaultMode ?? DEFAULT_MODE, `${field}.downwardAPI`);
  } else if (volume.projected) {
    const mode = volume.projected.defaultMode ?? DEFAULT_MODE;
    // In the order of the list: where two sources have one path, the kubelet keeps the later one.
    (volume.projected.sources ?? []).forEach((source, i) => {
      addProjection(r, payload, source, mode, `${field}.projected.sources[${i}]`);
    });
  }
  return payload;
}

function addProjection(r: Rendering, payload: Payload, source: V1VolumeProjection, mode: number, field: string): void {
  if (source.secret) {
    const { name, items, optional } = source.secret;
    const ref: DataRef = { kind: 'Secret', namespace: r.namespace, name: name ?? '' };
    addObject(r, payload, { ref, items, optional, mode, field: `${field}.secret` });
  } else if (source.configMap) {
    const { name, items, optional } = source.configMap;
    const ref: DataRef = { kind: 'ConfigMap', namespace: r.namespace, name: name ?? '' };
    addObject(r, payload, { ref, items, optional, mode, field: `${field}.configMap` });
  } else if (source.downwardAPI) {
    addFields(r, payload, source.downwardAPI.items ?? [], mode, `${field}.downwardAPI`);
  } else if (source.serviceAccountToken) {
    addToken(r, payload, source.serviceAccountToken, mode, `${field}.serviceAccountToken`);
  } else if (source.clusterTrustBundle) {
    addTrustBundle(r, payload, source.clusterTrustBundle, mode, `${field}.clusterTrustBundle`);
  } else {
    refuseProjection(r, source, field);
  }
}

type Source<K extends keyof V1VolumeProjection> = NonNullable<V1VolumeProjection[K]>;

function addToken(r: Rendering, payload: Payload, source: Source<'serviceAccountToken'>, mode: number, field: string): void {
  if (!r.parent.metadata?.uid) {
    refuse(
      r,
      'NoPodUid',
      'metadata.uid',
      'A token is bound to a pod by its uid, and this pod has none. Give the pod as the API server returns it.',
    );
    return;
  }
  const ref = tokenRef(r.parent, source);
  const found = find(r, ref, false);
  if (found.kind !== 'found') return;
  const { token, renewAt, expiresAt } = found.object;
  addFile(r, payload, source.path, new Uint8Array(Buffer.from(token, 'utf8')), mode, field, {
    ...privateTo(r),
    ofOnePod: true,
    token: {
      serviceAccount: ref.name,
      audience: ref.audience,
      podUid: ref.pod.uid,
      expirationSeconds: ref.expirationSeconds,
      renewAt,
      expiresAt,
    },
  });
}

function addTrustBundle(r: Rendering, payload: Payload, source: Source<'clusterTrustBundle'>, mode: number, field: string): void {
  const found = find(r, trustBundleRef(source), source.optional);
  if (found.kind === 'pending') return;
  // Bundles that may be missing are an empty file where they are.
  const text = found.kind === 'found' ? trustAnchors(found.object) : '';
  addFile(r, payload, source.path, new Uint8Array(Buffer.from(text, 'utf8')), mode, field, privateTo(r));
}

/** With a user or a group of its own the kubelet keeps a token to these, whatever the volume's mode says. */
function privateTo(r: Rendering): { readonly uid?: number; readonly restricted: boolean } {
  const user = userOf(r);
  return { ...(user !== undefined && { uid: user }), restricted: user !== undefined || groupOf(r) !== undefined };
}

function refuseProjection(r: Rendering, source: V1VolumeProjection, field: string): void {
  const kind = Object.keys(source)[0] ?? '';
  const advice = 'Mount what the pod needs from a Secret or a ConfigMap instead.';
  refuse(r, 'UnsupportedProjection', kind === '' ? field : `${field}.${kind}`, `This source is filled by the API server only. ${advice}`);
}

interface ObjectSource {
  readonly ref: DataRef;
  readonly items: readonly V1KeyToPath[] | undefined;
  readonly optional: boolean | undefined;
  readonly mode: number;
  readonly field: string;
}

function addObject(r: Rendering, payload: Payload, source: ObjectSource): void {
  const found = find(r, source.ref, source.optional);
  if (found.kind !== 'found') return;
  const { kind } = source.ref;
  if (source.items === undefined || source.items.length === 0) {
    for (const key of keysOf(kind, found.object)) {
      const bytes = bytesAt(kind, found.object, key);
      if (bytes !== undefined) addFile(r, payload, key, bytes, source.mode, source.field);
    }
    return;
  }
  source.items.forEach((item, i) => {
    const field = `${source.field}.items[${i}]`;
    const bytes = bytesAt(kind, found.object, item.key);
    if (bytes !== undefined) addFile(r, payload, item.path, bytes, item.mode ?? source.mode, field);
    else if (source.optional !== true)
      refuse(r, 'MissingKey', `${field}.key`, `${objectTitle(source.ref)} has no key "${item.key}". Add the key, or take the item out.`);
  });
}

function addFields(r: Rendering, payload: Payload, items: readonly V1DownwardAPIVolumeFile[], mode: number, volume: string): void {
  items.forEach((item, i) => {
    const field = `${volume}.items[${i}]`;
    const text = fieldText(r, item, field);
    const more = item.fieldRef && belongsToOnePod(item.fieldRef.fieldPath) ? { ofOnePod: true } : {};
    if (text !== undefined) addFile(r, payload, item.path, new Uint8Array(Buffer.from(text, 'utf8')), item.mode ?? mode, field, more);
  });
}

function fieldText(r: Rendering, item: V1DownwardAPIVolumeFile, field: string): string | undefined {
  if (item.fieldRef) {
    const text = fieldValue(r.parent, item.fieldRef.fieldPath);
    if (text === undefined)
      refuse(r, 'UnsupportedField', `${field}.fieldRef`, `"${item.fieldRef.fieldPath}" is not a field that a copy can carry. Take it out.`);
    return text;
  }
  if (!item.resourceFieldRef) {
    refuse(r, 'UnsupportedField', field, 'Neither fieldRef nor resourceFieldRef is set. Set one of them.');
    return undefined;
  }
  const value = resourceOf(r, item.resourceFieldRef);
  if (value === undefined) return undefined;
  if (value.kind === 'value') return value.text;
  const { resource, containerName } = item.resourceFieldRef;
  if (value.kind === 'needsNode')
    refuse(
      r,
      'ResourceLimitNotSet',
      `${field}.resourceFieldRef`,
      `Container "${containerName}" sets no ${resource}, and what the node can give is not known here. Set the limit.`,
    );
  else
    refuse(
      r,
      'UnsupportedField',
      `${field}.resourceFieldRef`,
      `"${resource}" of container "${containerName}" cannot be read. Take it out.`,
    );
  return undefined;
}

/** Undefined: the node's object is waited for. */
function resourceOf(r: Rendering, selector: V1ResourceFieldSelector): ResourceValue | undefined {
  const value = resourceValue(r.parent, selector, r.policy.nodeAllocatable);
  const nodeName = r.parent.spec?.nodeName;
  if (value.kind !== 'needsNode' || nodeName === undefined) return value;
  const ref: NamedRef & { readonly kind: 'Node' } = { kind: 'Node', namespace: '', name: nodeName };
  const found = find(r, ref, true);
  if (found.kind === 'pending') return undefined;
  return found.kind === 'none' ? value : resourceValue(r.parent, selector, found.object.status?.allocatable ?? {});
}

interface More extends Omit<PayloadFile, 'bytes' | 'mode'> {
  /** For owner and group only. */
  readonly restricted?: boolean;
}

function addFile(r: Rendering, payload: Payload, path: string, bytes: Uint8Array, mode: number, field: string, more: More = {}): void {
  const safe = safeRelativePath(path);
  if (safe === undefined) {
    refuse(r, 'UnsafePath', field, `The path ${JSON.stringify(path)} does not stay inside the volume. Use a relative path without "..".`);
  } else if (!Number.isInteger(mode) || mode < 0 || mode > 0o777) {
    refuse(r, 'InvalidMode', field, `The mode ${mode} is not one of 0 to 0777 (octal). Correct it.`);
  } else {
    const { restricted = false, ...rest } = more;
    payload.set(safe, { bytes, mode: restricted ? 0o600 : mode, ...rest });
  }
}
