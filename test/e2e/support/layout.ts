/** A node's disk: what is below one directory and survives its power cuts, and where the node sees it. */
import { join } from 'node:path';

export const NODE_NAME = 'node1';
export const ADDRESS = '10.99.0.1';
export const SERVER = `https://${ADDRESS}:6443`;
export const SERVICE_ADDRESS = '10.96.0.1';
export const SERVICE_RANGE = '10.96.0.0/16';
/** Where the boot id of a container's node is read: /proc in a container is the machine's. */
export const BOOT_ID_FILE = '/run/lock/boot_id';

/** Directory of the disk and where the node has it. The mount points that a machine lacks are made. */
export const MOUNTS: readonly (readonly [on: string, at: string])[] = [
  ['etc-kubernetes', '/etc/kubernetes'],
  ['etc-systemd', '/etc/systemd/system'],
  ['etc-cni', '/etc/cni/net.d'],
  ['opt', '/opt/pod-checkpointer'],
  ['store', '/var/lib/pod-checkpointer'],
  ['kubelet', '/var/lib/kubelet'],
  ['containerd', '/var/lib/containerd'],
  ['etcd', '/var/lib/etcd'],
  ['cni', '/var/lib/cni'],
  ['log-pods', '/var/log/pods'],
  ['log-containers', '/var/log/containers'],
];

export interface NodeFiles {
  readonly disk: string;
  readonly logs: string;
  readonly manifests: string;
  readonly pki: string;
  readonly store: string;
  readonly images: string;
  readonly containerdConfig: string;
  readonly bootUnit: string;
}

export function filesOf(directory: string): NodeFiles {
  const disk = join(directory, 'disk');
  return {
    disk,
    logs: join(directory, 'logs'),
    manifests: join(disk, 'etc-kubernetes/manifests'),
    pki: join(disk, 'etc-kubernetes/pki'),
    store: join(disk, 'store'),
    images: join(directory, 'images'),
    containerdConfig: join(disk, 'containerd.toml'),
    bootUnit: join(disk, 'etc-systemd/pod-checkpointer-boot.service'),
  };
}
