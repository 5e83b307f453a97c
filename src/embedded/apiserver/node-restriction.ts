/** The NodeRestriction admission plugin: what a node may write, judged by the object and not only by its name. */
import type { ClusterState, User } from './authorize.ts';
import { asPod, type KubeObject } from './objects.ts';
import { referencesOf } from './references.ts';
import type { ResourceRequest } from './request.ts';
import { type ApiError, forbidden } from './status.ts';

const MIRROR = 'kubernetes.io/config.mirror';

/** Why a node's write is refused, undefined when it is not (or when it is not a node's). */
export function restrictNode(
  user: User,
  request: ResourceRequest,
  body: KubeObject | undefined,
  state: ClusterState,
): ApiError | undefined {
  if (!user.groups.includes('system:nodes')) return undefined;
  const node = user.name.slice('system:node:'.length);
  const refuse = (message: string) => forbidden(request.resource, request.name || (body?.metadata.name ?? ''), message);
  if (request.resource.plural === 'nodes' && request.verb === 'create' && body !== undefined && body.metadata.name !== node)
    return refuse(`node "${node}" is not allowed to modify node "${body.metadata.name}"`);
  if (request.resource.plural !== 'pods') return undefined;
  if (request.verb === 'create' && request.subresource === '')
    return body === undefined ? undefined : restrictPodCreation(node, body, refuse);
  if (!['delete', 'update', 'patch', 'create'].includes(request.verb)) return undefined;
  const bound = state.pod(request.namespace, request.name)?.spec.nodeName;
  // One that does not exist is answered with 404 by the write itself.
  if (bound === undefined && state.pod(request.namespace, request.name) === undefined) return undefined;
  const doing =
    request.verb === 'delete' ? 'delete pods' : request.subresource === 'eviction' ? 'evict pods' : 'update pod status for pods';
  return bound === node ? undefined : refuse(`node "${node}" can only ${doing} with spec.nodeName set to itself`);
}

function restrictPodCreation(node: string, body: KubeObject, refuse: (message: string) => ApiError): ApiError | undefined {
  const pod = asPod(body);
  if (pod.metadata.annotations?.[MIRROR] === undefined)
    return refuse(`pod does not have "${MIRROR}" annotation, node "${node}" can only create mirror pods`);
  if (pod.spec.nodeName !== node) return refuse(`node "${node}" can only create pods with spec.nodeName set to itself`);
  if ((pod.spec.serviceAccountName ?? '') !== '') return refuse(`node "${node}" can not create pods that reference a service account`);
  const references = referencesOf(pod);
  for (const kind of ['secrets', 'configmaps', 'persistentvolumeclaims'] as const)
    if (references[kind].size > 0) return refuse(`node "${node}" can not create pods that reference ${kind}`);
  return undefined;
}
