/** Writes that several controllers make, each taken into the informer at once. */
import type { KubeObject, Pod } from '../apiserver/objects.ts';
import { AnswerError, type ApiClient } from './client.ts';
import type { Informer } from './informer.ts';

const MERGE = { contentType: 'application/merge-patch+json' };

/** Deletes the pod if it is still the same; one that is gone is no error. */
export async function removePod(client: ApiClient, pods: Informer, pod: Pod): Promise<void> {
  const { namespace, name, uid } = pod.metadata;
  const body = { preconditions: { uid } };
  const answer = await unlessGone(() => client.request('DELETE', `/api/v1/namespaces/${namespace}/pods/${name}`, body));
  const left = answer as KubeObject | undefined;
  if (left?.metadata.deletionTimestamp !== undefined) pods.absorb(left);
  else if (left !== undefined) pods.forget(left);
}

/** Writes the status of an object of apps/v1. */
export async function reportStatus(
  client: ApiClient,
  informer: Informer,
  plural: string,
  object: KubeObject,
  status: object,
): Promise<void> {
  const path = `/apis/apps/v1/namespaces/${object.metadata.namespace}/${plural}/${object.metadata.name}/status`;
  const answer = await unlessGone(() => client.request('PATCH', path, { status }, MERGE));
  if (answer !== undefined) informer.absorb(answer as KubeObject);
}

/** Undefined when the object is gone. */
export async function unlessGone(request: () => Promise<unknown>): Promise<unknown> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof AnswerError && error.code === 404) return undefined;
    throw error;
  }
}
