/** Claims whose volume is a directory of this node: the copy mounts the directory itself. Every other volume needs the API server, a driver or a controller. */
import { posix } from 'node:path';
import type { V1PersistentVolume, V1Volume } from '@kubernetes/client-node';
import { claimRef } from '../references.ts';
import { change, lookUp, type Rendering, refuse, waitFor } from './rendering.ts';
import { warn } from './warnings.ts';

/** The host directory in the place of the claim; undefined when it was refused or is waited for. `field` is the volume's path in the pod. */
export function claimedVolume(r: Rendering, volume: V1Volume, field: string): V1Volume | undefined {
  const where = `${field}.persistentVolumeClaim`;
  const name = volume.persistentVolumeClaim?.claimName ?? '';
  const ref = claimRef(r.parent, name);
  const found = lookUp(r, ref);
  if (found.state === 'denied') {
    const permission = `get on persistentvolumeclaims in namespace ${r.namespace}`;
    refuse(
      r,
      'ClaimForbidden',
      where,
      `The claim "${name}" may not be read (${found.detail}). Grant the checkpointer's identity ${permission}.`,
    );
    return undefined;
  }
  if (found.state !== 'present') {
    waitFor(r, ref);
    return undefined;
  }
  const { claim, volume: bound } = found.object;
  const volumeName = claim.spec?.volumeName ?? '';
  if (volumeName === '' || bound.state === 'unknown' || bound.state === 'absent') {
    waitFor(r, ref, volumeName === '' ? ' (not bound)' : ` (its PersistentVolume ${volumeName})`);
    return undefined;
  }
  if (bound.state === 'denied') {
    const permission = 'get on persistentvolumes';
    refuse(
      r,
      'ClaimForbidden',
      where,
      `The volume "${volumeName}" may not be read (${bound.detail}). Grant the checkpointer's identity ${permission}.`,
    );
    return undefined;
  }
  const hostPath = directoryOf(r, bound.object, volumeName, where);
  if (hostPath === undefined) return undefined;
  change(r, where, `the claim "${name}" is bound to the directory ${hostPath.path} of this node: hostPath`);
  return { name: volume.name, hostPath };
}

function directoryOf(r: Rendering, { spec }: V1PersistentVolume, name: string, field: string): V1Volume['hostPath'] | undefined {
  const reject = (why: string) => {
    refuse(
      r,
      'PersistentVolumeClaim',
      field,
      `Its volume "${name}" ${why}. Use a claim bound to a directory of the node (local or hostPath), or a hostPath.`,
    );
    return undefined;
  };
  const source = spec?.local ?? spec?.hostPath;
  if (source === undefined) return reject(`is of the kind ${sourceOf(spec)}, which needs the API server, a driver or a controller`);
  if (!source.path.startsWith('/')) return reject('has a path that is not absolute');
  if (spec?.volumeMode === 'Block') return reject('is a block device');
  // Mount options belong to the kubelet's own mount of the volume; a hostPath has none.
  if ((spec?.mountOptions ?? []).length > 0) return reject(`has mount options (${spec?.mountOptions?.join(',')})`);
  // A local volume whose path is a device is formatted, if need be, and mounted by the kubelet, with a file system of its choice where none is named.
  if (spec?.local) {
    if (spec.local.fsType) return reject(`is a device with a file system (${spec.local.fsType})`);
    if (isDevicePath(source.path)) return reject(`is the device ${source.path}, which the kubelet formats and mounts`);
    warn(r, 'LocalVolumePath', field);
    // A device, after all, is refused by the type.
    return { path: source.path, type: 'Directory' };
  }
  return { path: source.path, type: spec?.hostPath?.type ?? '' };
}

/** Names in /dev that are no devices but file systems, mounted on every Linux. */
const MOUNTED_IN_DEV = /^\/dev\/(shm|mqueue|hugepages[^/]*|pts)(\/|$)/;

function isDevicePath(path: string): boolean {
  const normal = posix.normalize(path);
  return normal.startsWith('/dev/') && !MOUNTED_IN_DEV.test(normal);
}

const NOT_SOURCES = new Set([
  'accessModes',
  'capacity',
  'claimRef',
  'mountOptions',
  'nodeAffinity',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'volumeAttributesClassName',
  'volumeMode',
]);

function sourceOf(spec: V1PersistentVolume['spec']): string {
  return Object.keys(spec ?? {}).find((key) => !NOT_SOURCES.has(key)) ?? 'unknown';
}
