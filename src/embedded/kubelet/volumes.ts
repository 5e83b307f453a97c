/**
 * Volumes as directories under `<root-dir>/pods/<uid>/volumes`, where the kubelet has them too.
 *
 * What the kubelet renders it replaces as a whole (pkg/volume/util/atomic_writer.go): the files lie in a directory named by time, `..data` points
 * to it, each name of the volume points into `..data`; renaming a new `..data` over the old one changes all files at once.
 */
import { constants } from 'node:fs';
import { chmod, chown, lstat, mkdir, open, readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { V1Container, V1HostPathVolumeSource, V1Volume } from '@kubernetes/client-node';
import type { Pod } from './pod.ts';
import type { VolumeFile } from './volume-content.ts';

const PLUGINS = [
  ['secret', 'kubernetes.io~secret'],
  ['configMap', 'kubernetes.io~configmap'],
  ['downwardAPI', 'kubernetes.io~downward-api'],
  ['projected', 'kubernetes.io~projected'],
  ['emptyDir', 'kubernetes.io~empty-dir'],
] as const;

/** Plugins whose volumes are in memory on a real node and thus gone after a power cut. */
export const MEMORY_PLUGINS: readonly string[] = ['kubernetes.io~secret', 'kubernetes.io~projected'];

/** chown(2): (uid_t)-1 leaves the owner. */
const KEEP_OWNER = 0xffffffff;

export function podDirectory(rootDir: string, uid: string): string {
  return join(rootDir, 'pods', uid);
}

/** Where a volume lies on the host. @throws for one that the embedded kubelet cannot mount. */
export function volumePath(rootDir: string, pod: Pod, volume: V1Volume): string {
  if (volume.hostPath !== undefined) return volume.hostPath.path;
  const plugin = PLUGINS.find(([type]) => volume[type] !== undefined);
  if (plugin === undefined) throw new Error(`volume ${volume.name}: the embedded kubelet mounts no volumes of this type`);
  return join(podDirectory(rootDir, pod.metadata.uid), 'volumes', plugin[1], volume.name);
}

export interface HostMount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
}

/** Those of the pod's volumes, and behind them the files that the kubelet gives every container (makeMounts of pkg/kubelet/kubelet_pods.go). */
export function mountsOf(rootDir: string, pod: Pod, container: V1Container): HostMount[] {
  const mounts = volumeMounts(rootDir, pod, container);
  const taken = new Set(mounts.map(({ containerPath }) => containerPath));
  return [...mounts, ...ownMounts(rootDir, pod, container).filter(({ containerPath }) => !taken.has(containerPath))];
}

function ownMounts(rootDir: string, pod: Pod, container: V1Container): HostMount[] {
  const directory = podDirectory(rootDir, pod.metadata.uid);
  const termination = container.terminationMessagePath ?? '/dev/termination-log';
  return [
    { containerPath: '/etc/hosts', hostPath: join(directory, 'etc-hosts'), readonly: false },
    { containerPath: termination, hostPath: join(directory, 'containers', container.name, 'termination-log'), readonly: false },
  ];
}

export async function makeOwnFiles(rootDir: string, pod: Pod, container: V1Container): Promise<void> {
  for (const { hostPath } of ownMounts(rootDir, pod, container)) {
    await mkdir(dirname(hostPath), { recursive: true });
    await (await open(hostPath, constants.O_CREAT | constants.O_WRONLY, 0o644)).close();
  }
}

function volumeMounts(rootDir: string, pod: Pod, container: V1Container): HostMount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const volume = pod.spec.volumes?.find(({ name }) => name === mount.name);
    if (volume === undefined) throw new Error(`container ${container.name}: volume mount ${mount.name} names no volume of the pod`);
    return {
      containerPath: mount.mountPath,
      hostPath: join(volumePath(rootDir, pod, volume), mount.subPath ?? ''),
      readonly: mount.readOnly === true,
    };
  });
}

/** Makes the volume. `content` is what the kubelet renders into it, undefined where it renders nothing. */
export async function setUpVolume(rootDir: string, pod: Pod, volume: V1Volume, content: readonly VolumeFile[] | undefined): Promise<void> {
  if (volume.hostPath !== undefined) return checkHostPath(volume.hostPath);
  const directory = volumePath(rootDir, pod, volume);
  const group = pod.spec.securityContext?.fsGroup;
  await mkdir(directory, { recursive: true });
  await chmod(directory, group === undefined ? 0o777 : 0o2777);
  if (group !== undefined) await chown(directory, KEEP_OWNER, group);
  if (content !== undefined) await replaceContent(directory, content, group);
}

async function replaceContent(directory: string, files: readonly VolumeFile[], group: number | undefined): Promise<void> {
  const data = join(directory, '..data');
  const old = await readlink(data).catch(() => undefined);
  if (old !== undefined && (await holds(join(directory, old), files))) return;
  const name = `..${new Date().toISOString().replaceAll(/[-:.TZ]/g, '_')}${Math.random().toString().slice(2, 11)}`;
  const mode = (file: VolumeFile) => (group === undefined ? file.mode : file.mode | 0o440);
  await mkdir(join(directory, name), { mode: 0o755 });
  for (const file of files) {
    const path = join(directory, name, file.path);
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    await writeFile(path, file.bytes);
    await chmod(path, mode(file));
    if (group !== undefined) await chown(path, KEEP_OWNER, group);
  }
  await rm(`${data}_tmp`, { force: true });
  await symlink(name, `${data}_tmp`);
  await rename(`${data}_tmp`, data);
  for (const entry of new Set(files.map(({ path }) => path.split('/')[0] ?? ''))) {
    const link = join(directory, entry);
    if ((await lstat(link).catch(() => undefined)) === undefined) await symlink(join('..data', entry), link);
  }
  if (old !== undefined) await rm(join(directory, old), { recursive: true, force: true });
}

async function holds(directory: string, files: readonly VolumeFile[]): Promise<boolean> {
  const present = await Promise.all(
    files.map(async ({ path, bytes }) => (await readFile(join(directory, path)).catch(() => undefined))?.equals(bytes) === true),
  );
  if (present.includes(false)) return false;
  const count = await countFiles(directory);
  return count === files.length;
}

async function countFiles(directory: string): Promise<number> {
  return (await readdir(directory, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).length;
}

async function checkHostPath({ path, type }: V1HostPathVolumeSource): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  switch (type ?? '') {
    case 'DirectoryOrCreate':
      if (found === undefined) await mkdir(path, { recursive: true, mode: 0o755 });
      else if (!found.isDirectory()) throw new Error(`hostPath type check failed: ${path} is not a directory`);
      return;
    case 'FileOrCreate':
      if (found === undefined) await (await open(path, constants.O_CREAT | constants.O_WRONLY, 0o644)).close();
      else if (!found.isFile()) throw new Error(`hostPath type check failed: ${path} is not a file`);
      return;
    case 'Directory':
      if (found?.isDirectory() !== true) throw new Error(`hostPath type check failed: ${path} is not a directory`);
      return;
    case 'File':
      if (found?.isFile() !== true) throw new Error(`hostPath type check failed: ${path} is not a file`);
      return;
    case 'Socket':
      if (found?.isSocket() !== true) throw new Error(`hostPath type check failed: ${path} is not a socket file`);
      return;
    default:
  }
}
