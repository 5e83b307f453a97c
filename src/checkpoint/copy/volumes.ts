/** Volumes of the copy: those that the kubelet fills from the API become directories of the generation, the local ones stay. */
import { posix } from 'node:path';
import type { V1Container, V1Volume } from '@kubernetes/client-node';
import { type CopyDirectory, type CopyFile, GENERATION_DIR } from '../copy-types.ts';
import { claimedVolume } from './claims.ts';
import { groupOf } from './owners.ts';
import { isDnsLabel, parentsOf, safeRelativePath } from './paths.ts';
import { isFilledFromApi, type Payload, payloadOf } from './payload.ts';
import { change, type Rendering, refuse } from './rendering.ts';
import { subPathOf } from './sub-paths.ts';

export interface RenderedVolumes {
  readonly volumes: readonly V1Volume[];
  /** Names of the volumes that became directories and were read-only by themselves: their mounts have to say so. */
  readonly readOnly: ReadonlySet<string>;
  readonly files: readonly CopyFile[];
  readonly directories: readonly CopyDirectory[];
}

/** Volumes that need neither the API server nor a controller (attaching a disk is a controller's work) and stay as they are. */
const LOCAL = new Set(['hostPath', 'emptyDir', 'nfs', 'image']);

/** The kubelet makes these volumes as it makes an emptyDir, writable for all (and mounts them read-only); on a disk for ConfigMaps, else in memory. */
const VOLUME_MODE = { disk: 0o777, memory: 0o1777 };
/** Directories in them. */
const DIRECTORY_MODE = 0o755;

const SETGID = 0o2000;

export function renderVolumes(r: Rendering, containers: readonly V1Container[]): RenderedVolumes {
  const volumes: V1Volume[] = [];
  const readOnly = new Set<string>();
  const files: CopyFile[] = [];
  const directories: CopyDirectory[] = [];
  (r.parent.spec?.volumes ?? []).forEach((volume, i) => {
    const field = `spec.volumes[${i}]`;
    if (volume.persistentVolumeClaim) {
      // Where there is no answer there is no copy; the mounts still have to find a volume.
      volumes.push(claimedVolume(r, volume, field) ?? { name: volume.name, emptyDir: {} });
      if (volume.persistentVolumeClaim.readOnly === true) readOnly.add(volume.name);
    } else if (!isFilledFromApi(volume)) {
      volumes.push(localVolume(r, volume, field));
    } else if (!isDnsLabel(volume.name) || volumes.some((other) => other.name === volume.name)) {
      refuse(r, 'InvalidVolumeName', `${field}.name`, `${JSON.stringify(volume.name)} is not a name of one volume. Use a DNS label, once.`);
    } else {
      readOnly.add(volume.name);
      volumes.push({ name: volume.name, hostPath: { path: `${GENERATION_DIR}/files/${volume.name}`, type: 'Directory' } });
      const kind = Object.keys(volume).find((key) => key !== 'name') ?? '';
      change(r, `${field}.${kind}`, 'its files are part of the copy: hostPath, mounted read-only');
      const payload = payloadOf(r, volume, field);
      noteInstance(r, volume.name, payload);
      const mountPoints = mountPointsIn(r, volume.name, payload, containers, field);
      const tree = treeOf(r, volume, payload, mountPoints, field);
      files.push(...tree.files);
      directories.push(...tree.directories);
    }
  });
  return { volumes, readOnly, files: files.sort(byPath), directories: directories.sort(byPath) };
}

function noteInstance(r: Rendering, volume: string, payload: Payload): void {
  for (const [name, { ofOnePod, token }] of payload) {
    const path = `${volume}/${name}`;
    if (ofOnePod === true) r.ofOnePod.files.add(path);
    if (token !== undefined) r.ofOnePod.tokens.push({ path, ...token });
  }
}

function byPath(a: { readonly path: string }, b: { readonly path: string }): number {
  return a.path < b.path ? -1 : Number(a.path > b.path);
}

function localVolume(r: Rendering, volume: V1Volume, field: string): V1Volume {
  const kinds = Object.entries(volume).flatMap(([kind, source]) => (kind === 'name' || source === undefined ? [] : [kind]));
  for (const kind of kinds) if (!LOCAL.has(kind)) refuseVolume(r, kind, `${field}.${kind}`);
  // Anything else than an absolute path could later be taken for a path into the generation.
  if (volume.hostPath && !volume.hostPath.path.startsWith('/'))
    refuse(r, 'UnsafePath', `${field}.hostPath.path`, `${JSON.stringify(volume.hostPath.path)} is not an absolute path. Make it one.`);
  if (!volume.image) return volume;
  if (volume.image.pullPolicy !== 'IfNotPresent')
    change(r, `${field}.image.pullPolicy`, 'IfNotPresent: the registry may not be reachable when the node stands alone');
  return { ...volume, image: { ...volume.image, pullPolicy: 'IfNotPresent' } };
}

const REFUSED: Readonly<Record<string, { readonly code: string; readonly why: string }>> = {
  csi: { code: 'CsiVolume', why: 'A CSI volume needs its CSIDriver object from the API server.' },
  ephemeral: { code: 'EphemeralVolume', why: 'An ephemeral volume is a claim that a controller makes.' },
};

function refuseVolume(r: Rendering, kind: string, field: string): void {
  const { code, why } = (Object.hasOwn(REFUSED, kind) ? REFUSED[kind] : undefined) ?? {
    code: 'UnsupportedVolume',
    why: `A ${kind} volume needs the API server or a controller.`,
  };
  refuse(r, code, field, `${why} Use a hostPath, emptyDir or nfs volume.`);
}

/** Paths in a volume, each with whether only this one pod has it there. */
type MountPoints = ReadonlyMap<string, { readonly ofOnePod: boolean }>;

/**
 * Directories that mounts need inside this volume. It is mounted read-only, so the runtime cannot make them: where another volume is mounted
 * below this one the kubelet makes the mount point beforehand, and for a subPath that does not exist it makes a directory.
 */
function mountPointsIn(r: Rendering, name: string, payload: Payload, containers: readonly V1Container[], field: string): MountPoints {
  const points = new Map<string, { readonly ofOnePod: boolean }>();
  const want = (path: string, ofOnePod = false): void => {
    const safe = safeRelativePath(path);
    if (safe === undefined)
      refuse(r, 'UnsafePath', field, `A container mounts ${JSON.stringify(path)} of this volume. Use a relative path without "..".`);
    // A file of the payload is what a mount of a single file lies upon, or what a subPath names.
    else if (!payload.has(safe)) points.set(safe, { ofOnePod: ofOnePod && points.get(safe)?.ofOnePod !== false });
  };
  for (const container of containers) {
    const { volumeMounts = [] } = container;
    const paths = volumeMounts.map((mount) => trimSlash(posix.normalize(mount.mountPath)));
    volumeMounts.forEach((mount, i) => {
      if (mount.name !== name) return;
      if (mount.subPath) want(mount.subPath);
      if (mount.subPathExpr) wantExpanded(r, container, mount.subPathExpr, field, want);
      const own = `${paths[i] ?? ''}/`;
      const below = paths.filter((path) => path.startsWith(own) && path !== own);
      // Of mounts within mounts only the outer one lies in this volume.
      for (const path of below) if (!below.some((other) => path.startsWith(`${other}/`))) want(path.slice(own.length));
    });
  }
  return points;
}

function wantExpanded(
  r: Rendering,
  container: V1Container,
  expression: string,
  field: string,
  want: (path: string, ofOnePod: boolean) => void,
): void {
  const subPath = subPathOf(r, container, expression);
  if (subPath.kind === 'path' && subPath.path !== '') want(subPath.path, subPath.ofOnePod);
  if (subPath.kind !== 'unknown') return;
  const why = `A container mounts ${JSON.stringify(expression)} of this volume, and ${subPath.variable} is a Secret's, or known only where the copy runs`;
  refuse(r, 'UnknownSubPath', field, `${why}: the kubelet would make a directory in its files. Use subPath, or a variable with a value.`);
}

function trimSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path;
}

interface Tree {
  readonly files: readonly CopyFile[];
  readonly directories: readonly CopyDirectory[];
}

function treeOf(r: Rendering, { name, configMap }: V1Volume, payload: Payload, mountPoints: MountPoints, field: string): Tree {
  const shared = [...mountPoints].flatMap(([path, { ofOnePod }]) => (ofOnePod ? [] : [path]));
  const ofAll = new Set([...shared, ...[...payload.keys(), ...shared].flatMap(parentsOf)]);
  const inside = new Set([...ofAll, ...[...mountPoints.keys()].flatMap((path) => [...parentsOf(path), path])]);
  for (const path of inside) if (!ofAll.has(path)) r.ofOnePod.directories.add(`${name}/${path}`);
  for (const path of payload.keys()) {
    if (inside.has(path))
      refuse(r, 'PathConflict', field, `${JSON.stringify(path)} would have to be a file and a directory. Give one of them another path.`);
  }
  const group = groupOf(r);
  const directoryOf = (mode: number) => ({ mode: group === undefined ? mode : mode | 0o550 | SETGID, uid: 0, gid: group ?? 0 });
  const directory = directoryOf(DIRECTORY_MODE);
  return {
    directories: [
      { path: name, ...directoryOf(configMap ? VOLUME_MODE.disk : VOLUME_MODE.memory) },
      ...[...inside].map((path) => ({ path: `${name}/${path}`, ...directory })),
    ],
    files: [...payload].map(([path, { bytes, mode, uid = 0 }]) => ({
      path: `${name}/${path}`,
      bytes,
      mode: group === undefined ? mode : mode | 0o440,
      uid,
      gid: group ?? 0,
    })),
  };
}
