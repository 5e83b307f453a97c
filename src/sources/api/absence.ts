/** Whether a pod is really gone. Only this may retire anything (design rule 6): a pod missing from a list proves nothing. */
import type { V1Pod } from '@kubernetes/client-node';
import type { Absence } from '../../checkpoint/model.ts';
import { isStatic } from '../../checkpoint/selection.ts';
import type { ApiClient, RequestOptions } from './client.ts';
import { listPage } from './wire.ts';

export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/**
 * GET of the pod by name: 404 or another uid means gone.
 *
 * The node's own identity gets 403 instead of 404. The Node authorizer allows a pod's GET by a path in its graph from the node to the pod; the path
 * goes with the pod, so for a pod that is gone there is nothing to allow. 403 may also mean that the authorizer does not know the pod yet, or that
 * we may not ask at all. Therefore the node's pods are then listed anew, with a quorum read, and the pod counts as gone only if that list is answered,
 * lacks the uid and holds another pod: a list that is empty may come from an API server that has lost, or not yet loaded, what it knew.
 */
export async function askForPod(client: ApiClient, nodeName: string, pod: PodIdentity, deadlines: RequestOptions): Promise<Absence> {
  const path = `/api/v1/namespaces/${encodeURIComponent(pod.namespace)}/pods/${encodeURIComponent(pod.name)}`;
  const answer = await client.get(path, deadlines);
  if (answer.kind === 'ok') {
    const uid = (answer.body as V1Pod | null)?.metadata?.uid;
    if (typeof uid !== 'string') return 'unanswered';
    return uid === pod.uid ? 'present' : 'gone';
  }
  // The reason tells the API server's answer about the pod from a 404 of whatever else may stand in between.
  if (answer.kind === 'status' && answer.status === 404 && answer.reason === 'NotFound') return 'gone';
  if (answer.kind === 'denied' && answer.status === 403) return searchNode(client, nodeName, pod.uid, deadlines);
  return 'unanswered';
}

/** No resourceVersion and no limit: the whole list, as etcd has it. */
async function searchNode(client: ApiClient, nodeName: string, uid: string, deadlines: RequestOptions): Promise<Absence> {
  const answer = await client.get('/api/v1/pods', { ...deadlines, query: { fieldSelector: `spec.nodeName=${nodeName}` } });
  const page = answer.kind === 'ok' ? listPage<V1Pod>(answer.body) : undefined;
  if (page === undefined || page.continue !== undefined) return 'unanswered';
  // Mirror pods do not count: the kubelet posts them anew into an API server that has lost everything.
  if (!page.items.some(([, found]) => !isStatic(found))) return 'unanswered';
  return page.items.some(([found]) => found === uid) ? 'present' : 'gone';
}
