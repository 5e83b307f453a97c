/** Writes Events. The Node authorizer lets a node create, patch and update them in every namespace. */
import { eventBody, eventName, eventNamespace, type PendingEvent, wholeSeconds } from '../../report/events.ts';
import type { Answer } from './answer.ts';
import type { ApiClient, RequestOptions } from './client.ts';

export function createEvent(
  client: Pick<ApiClient, 'post'>,
  event: PendingEvent,
  nodeName: string,
  options: RequestOptions,
): Promise<Answer<unknown>> {
  return client.post(eventsPath(eventNamespace(event)), eventBody(event, nodeName), options);
}

/** An event that was made before has happened again. `count`: how often in all. 404: the API server has forgotten it (after an hour). */
export function repeatEvent(
  client: Pick<ApiClient, 'patch'>,
  known: PendingEvent,
  { message, last, count }: Pick<PendingEvent, 'message' | 'last' | 'count'>,
  options: RequestOptions,
): Promise<Answer<unknown>> {
  const path = `${eventsPath(eventNamespace(known))}/${encodeURIComponent(eventName(known))}`;
  return client.patch(path, { message, count, lastTimestamp: wholeSeconds(last) }, options);
}

const eventsPath = (namespace: string) => `/api/v1/namespaces/${encodeURIComponent(namespace)}/events`;
