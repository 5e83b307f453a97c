/** Which identity reads owners: one of its own, beside the node's, that may read owners and pods and nothing else. */
import { access } from 'node:fs/promises';
import path from 'node:path';
import { type Kubeconfig, loadKubeconfig } from './kubeconfig.ts';

/** Where the kubelet mounts a pod's ServiceAccount token. */
export const POD_TOKEN_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

export interface OwnersIdentity {
  /** A kubeconfig file; goes before a token. */
  readonly kubeconfig?: string;
  /** A directory that holds a file `token`; undefined: that of the pod, where there is one. */
  readonly tokenDir?: string;
}

/**
 * A token is for the API server that the node's kubeconfig names, verified as that says, and read again whenever its file changes (credentials.ts).
 * Undefined: there is no such identity here.
 * @param podTokenDir for a process whose file system is not that of a pod
 * @throws KubeconfigError for a kubeconfig that cannot be used. A token that cannot be read, or has ended, leaves owners unknown.
 */
export async function ownersKubeconfig(
  given: OwnersIdentity,
  node: Kubeconfig,
  podTokenDir = POD_TOKEN_DIR,
): Promise<Kubeconfig | undefined> {
  if (given.kubeconfig !== undefined) return loadKubeconfig(given.kubeconfig);
  if (given.tokenDir !== undefined) return withToken(node, given.tokenDir);
  return (await exists(path.join(podTokenDir, 'token'))) ? withToken(node, podTokenDir) : undefined;
}

function withToken(node: Kubeconfig, directory: string): Kubeconfig {
  return { ...node, login: { kind: 'tokenFile', path: path.resolve(directory, 'token') } };
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
