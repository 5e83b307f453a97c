/** What a machine needs for a real node, and what of it is missing here. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { missingForContainerd } from '../../support/containerd/containerd.ts';
import { findProgram } from '../../support/packages.ts';

export const KUBERNETES_PROGRAMS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kubelet'] as const;
/** Debian's containernetworking-plugins puts them here. */
export const CNI_DIRECTORY = '/usr/lib/cni';

export interface Machine {
  /** Folder of the Kubernetes programs. */
  readonly kubeBin: string;
  /** Disks of the nodes and the states that they start from. */
  readonly directory: string;
  /** The predecessor's daemon, where one is given to compare with. */
  readonly bootkube?: string;
  /** To make the static pods of a control plane with, where it is given. */
  readonly kubeadm?: string;
}

export type Found = { readonly state: 'ready'; readonly machine: Machine } | { readonly state: 'missing'; readonly reason: string };

/** From KUBE_BIN, E2E_DIR and BOOTKUBE_CHECKPOINT. */
export function findMachine(env: Readonly<Record<string, string | undefined>> = process.env): Found {
  const kubeBin = env['KUBE_BIN'];
  if (kubeBin === undefined || kubeBin === '')
    return missing(
      `KUBE_BIN is not set: expected a folder with ${KUBERNETES_PROGRAMS.join(', ')} (CONTRIBUTING.md says where they come from)`,
    );
  const programs = KUBERNETES_PROGRAMS.filter((name) => !existsSync(join(kubeBin, name)));
  if (programs.length > 0) return missing(`KUBE_BIN=${kubeBin} has no ${programs.join(', ')}`);
  const containerd = missingForContainerd();
  if (containerd !== undefined) return missing(containerd);
  const tools = ['kubectl', 'ip', 'nsenter', 'setpriv', 'unshare', 'buildah'].filter((name) => findProgram(name) === undefined);
  if (tools.length > 0) return missing(`not on the PATH: ${tools.join(', ')}`);
  if (!existsSync(join(CNI_DIRECTORY, 'bridge'))) return missing('not installed: containernetworking-plugins');
  const bootkube = env['BOOTKUBE_CHECKPOINT'] ?? join(kubeBin, 'bootkube-checkpoint');
  const kubeadm = join(kubeBin, 'kubeadm');
  return {
    state: 'ready',
    machine: {
      kubeBin,
      directory: env['E2E_DIR'] ?? '/var/tmp/pod-checkpointer-e2e',
      ...(existsSync(bootkube) && { bootkube }),
      ...(existsSync(kubeadm) && { kubeadm }),
    },
  };
}

function missing(reason: string): Found {
  return { state: 'missing', reason };
}
