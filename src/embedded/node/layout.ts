/**
 * Where the files of an embedded node lie. One directory stands for the node's root: `etc` and `var` are its disk and outlive a power cut, `run` is
 * in memory and is empty after every boot, `log` is beside the node and keeps what its programs said.
 */
import { createServer } from 'node:net';
import { join } from 'node:path';

export interface Layout {
  readonly root: string;
  readonly kubernetes: string;
  readonly manifests: string;
  readonly adminConf: string;
  readonly kubeletConf: string;
  readonly etcd: string;
  readonly kubelet: string;
  readonly podLogs: string;
  readonly criState: string;
  readonly checkpointDir: string;
  readonly run: string;
  readonly criSocket: string;
  readonly bootIdFile: string;
  /** The checkpointer's leader lock. */
  readonly lockFile: string;
  readonly kubeletLockFile: string;
  readonly images: string;
  readonly log: string;
}

/** Longest path of a unix socket: sun_path has 108 bytes with its end. */
const MAX_SOCKET_PATH = 107;

/** @throws when the directory's path is too long for a socket in it. */
export function layoutOf(root: string): Layout {
  const layout: Layout = {
    root,
    kubernetes: join(root, 'etc/kubernetes'),
    manifests: join(root, 'etc/kubernetes/manifests'),
    adminConf: join(root, 'etc/kubernetes/admin.conf'),
    kubeletConf: join(root, 'etc/kubernetes/kubelet.conf'),
    etcd: join(root, 'var/lib/etcd'),
    kubelet: join(root, 'var/lib/kubelet'),
    podLogs: join(root, 'var/log/pods'),
    criState: join(root, 'var/lib/cri'),
    checkpointDir: join(root, 'var/lib/pod-checkpointer'),
    run: join(root, 'run'),
    criSocket: join(root, 'run/cri.sock'),
    bootIdFile: join(root, 'run/boot_id'),
    lockFile: join(root, 'run/lock/pod-checkpointer.lock'),
    kubeletLockFile: join(root, 'run/lock/kubelet.lock'),
    images: join(root, 'etc/images.json'),
    log: join(root, 'log'),
  };
  if (layout.criSocket.length > MAX_SOCKET_PATH)
    throw new Error(
      `${root}: too long a path for a unix socket below it; choose a directory of at most ${MAX_SOCKET_PATH - 13} characters`,
    );
  return layout;
}

/** Directories of the disk. The checkpoint directory is not among them: the daemon makes it. */
export function diskDirectories(layout: Layout): string[] {
  return [layout.manifests, join(layout.kubernetes, 'pki'), layout.etcd, layout.kubelet, layout.podLogs, layout.criState, layout.log];
}

export interface Ports {
  readonly apiserver: number;
  readonly controllerManager: number;
  readonly scheduler: number;
  /** Of the checkpointer that leads: metrics and health. */
  readonly checkpointer: number;
}

/** Ports of 127.0.0.1 that are free now; held together while they are chosen, so that they differ. */
export async function freePorts(): Promise<Ports> {
  const servers = [createServer(), createServer(), createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            const address = server.address();
            resolve(typeof address === 'object' && address !== null ? address.port : 0);
          });
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  const [apiserver = 0, controllerManager = 0, scheduler = 0, checkpointer = 0] = ports;
  return { apiserver, controllerManager, scheduler, checkpointer };
}
