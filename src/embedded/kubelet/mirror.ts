/** Mirror pods: what the API server shows of static pods (pkg/kubelet/pod/mirror_client.go, tryReconcileMirrorPods). */
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import type { Log } from '../log.ts';
import { deletePod } from './objects.ts';
import { CONFIG_HASH, CONFIG_MIRROR, CONFIG_SOURCE, fullName, type Pod } from './pod.ts';

/** A mirror stands for a static pod when its hash is the static pod's: another manifest makes another mirror. */
export function isMirrorOf(mirror: Pod, pod: Pod): boolean {
  return fullName(mirror) === fullName(pod) && mirror.metadata.annotations?.[CONFIG_MIRROR] === pod.metadata.annotations?.[CONFIG_HASH];
}

export function mirrorOf(pod: Pod, node: { readonly name: string; readonly uid: string }): object {
  const { name, namespace, labels, annotations } = pod.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels === undefined ? {} : { labels }),
      annotations: { ...annotations, [CONFIG_SOURCE]: 'file', [CONFIG_MIRROR]: annotations?.[CONFIG_HASH] ?? '' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid, controller: true }],
    },
    spec: pod.spec,
  };
}

/** Deletes a mirror that is another pod's or terminating, and makes the one that is missing. */
export async function reconcileMirror(
  client: ApiClient,
  node: { readonly name: string; readonly uid: string } | undefined,
  pod: Pod,
  mirror: Pod | undefined,
  log: Log,
): Promise<void> {
  let missing = mirror === undefined;
  if (mirror !== undefined && (mirror.metadata.deletionTimestamp !== undefined || !isMirrorOf(mirror, pod))) {
    await deletePod(client, mirror.metadata.namespace, mirror.metadata.name, mirror.metadata.uid);
    missing = true;
  }
  if (!missing || node === undefined) return;
  try {
    await client.request('POST', `/api/v1/namespaces/${pod.metadata.namespace}/pods`, mirrorOf(pod, node));
    log(`mirror pod ${fullName(pod)} created`);
  } catch (error) {
    if (!(error instanceof AnswerError && error.code === 409)) throw error;
  }
}
