/**
 * Who may do what: the Node authorizer's rules for system:node:<name>, fixed rules for the control plane's own users, everything for
 * system:masters. Pure: the state it asks is given.
 */
import type { Pod } from './objects.ts';
import { type References, referencesOf } from './references.ts';
import type { ApiRequest, ResourceRequest, Verb } from './request.ts';
import { requiredField } from './selectors.ts';
import { qualified } from './status.ts';

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

export type Decision = { readonly allowed: true } | { readonly allowed: false; readonly reason: string };

export interface ClusterState {
  pod(namespace: string, name: string): Pod | undefined;
  podsOnNode(node: string): Iterable<Pod>;
  /** The claims that are bound to a PersistentVolume. */
  claimsOf(volume: string): readonly { readonly namespace: string; readonly name: string }[];
}

/** Open to everyone, as the role system:public-info-viewer makes them. */
const PUBLIC_PATHS = /^\/(healthz|livez|readyz|version)(\/|$)/;
const DISCOVERY_PATHS = /^\/(api|apis|openapi)(\/|$)/;

const ALLOWED: Decision = { allowed: true };
const READ: readonly Verb[] = ['get', 'list', 'watch'];
const WRITE: readonly Verb[] = ['create', 'update', 'patch'];

export function isPublic(request: ApiRequest): boolean {
  return request.kind === 'path' && PUBLIC_PATHS.test(request.path);
}

export function authorize(user: User, request: ApiRequest, state: ClusterState): Decision {
  if (isPublic(request) || user.groups.includes('system:masters')) return ALLOWED;
  if (request.kind === 'path') return DISCOVERY_PATHS.test(request.path) && request.verb === 'get' ? ALLOWED : denied(user, request, '');
  const node =
    user.groups.includes('system:nodes') && user.name.startsWith('system:node:') ? user.name.slice('system:node:'.length) : undefined;
  if (node !== undefined) return authorizeNode(user, node, request, state);
  const rules = RULES[user.name] ?? [];
  const wanted = request.subresource === '' ? qualified(request.resource) : `${qualified(request.resource)}/${request.subresource}`;
  const granted = rules.some(
    ({ resources, verbs }) => verbs.includes(request.verb) && (resources.includes('*') || resources.includes(wanted)),
  );
  return granted ? ALLOWED : denied(user, request, '');
}

interface Rule {
  readonly resources: readonly string[];
  readonly verbs: readonly Verb[];
}

/** What manifests/base/rbac.yaml lets the checkpointer read beside pods. */
const READ_OWNERS = ['daemonsets.apps', 'deployments.apps', 'replicasets.apps', 'statefulsets.apps'];
const OWNERS = [...READ_OWNERS, 'controllerrevisions.apps'];

/** What the roles of these users come to in the resources that there are here. */
const RULES: Readonly<Record<string, readonly Rule[]>> = {
  'system:kube-controller-manager': [
    { resources: ['*'], verbs: READ },
    { resources: ['pods', ...OWNERS, 'events', 'leases.coordination.k8s.io', 'nodes'], verbs: [...WRITE, 'delete'] },
    { resources: ['pods/status', 'nodes/status', ...OWNERS.map((owner) => `${owner}/status`), 'serviceaccounts/token'], verbs: WRITE },
  ],
  'system:kube-scheduler': [
    { resources: ['pods', 'nodes', 'namespaces', 'services', 'persistentvolumes', 'persistentvolumeclaims', ...OWNERS], verbs: READ },
    { resources: ['pods/binding', 'events'], verbs: ['create'] },
    { resources: ['pods/status', 'events'], verbs: ['update', 'patch'] },
    { resources: ['pods'], verbs: ['delete'] },
    { resources: ['leases.coordination.k8s.io'], verbs: ['get', ...WRITE] },
  ],
  'system:serviceaccount:kube-system:pod-checkpointer': [{ resources: ['pods', ...READ_OWNERS], verbs: READ }],
};

function authorizeNode(user: User, node: string, request: ResourceRequest, state: ClusterState): Decision {
  const { verb, name, namespace, subresource } = request;
  const deny = (reason: string) => denied(user, request, reason);
  const unrelated = () => deny(`no relationship found between node '${node}' and this object`);
  const what = subresource === '' ? qualified(request.resource) : `${qualified(request.resource)}/${subresource}`;
  switch (what) {
    case 'pods':
      if (verb === 'create') return ALLOWED;
      if (verb === 'delete') return ALLOWED;
      if (verb === 'list' || verb === 'watch')
        return requiredField(request.selector, 'spec.nodeName') === node
          ? ALLOWED
          : deny('can only list/watch pods with spec.nodeName field selector');
      // A pod that does not exist has no edge to the node either: forbidden, not "not found".
      if (verb === 'get') return state.pod(namespace, name)?.spec.nodeName === node ? ALLOWED : unrelated();
      return deny('');
    case 'pods/status':
      return verb === 'update' || verb === 'patch' ? ALLOWED : deny('');
    case 'pods/eviction':
      return verb === 'create' ? ALLOWED : deny('');
    case 'nodes':
      if (verb === 'create') return ALLOWED;
      if (verb === 'delete' || verb === 'deletecollection') return deny('');
      return name === node ? ALLOWED : deny(`node '${node}' cannot read '${name}', only its own Node object`);
    case 'nodes/status':
      return (verb === 'update' || verb === 'patch') && name === node ? ALLOWED : deny('');
    case 'secrets':
    case 'configmaps':
    case 'persistentvolumeclaims':
      if (what === 'persistentvolumeclaims' ? verb !== 'get' : !READ.includes(verb)) return deny('can only read resources of this type');
      if (name === '' || namespace === '') return deny('No Object name found');
      return isReferenced(what, namespace, name, state.podsOnNode(node)) ? ALLOWED : unrelated();
    case 'persistentvolumes':
      if (verb !== 'get') return deny('can only get individual resources of this type');
      return state
        .claimsOf(name)
        .some((claim) => isReferenced('persistentvolumeclaims', claim.namespace, claim.name, state.podsOnNode(node)))
        ? ALLOWED
        : unrelated();
    case 'serviceaccounts/token':
      if (verb !== 'create') return deny('can only create tokens for individual service accounts');
      return usesServiceAccount(namespace, name, state.podsOnNode(node)) ? ALLOWED : unrelated();
    case 'services':
      return READ.includes(verb) ? ALLOWED : deny('');
    case 'events':
      return WRITE.includes(verb) ? ALLOWED : deny('');
    case 'leases.coordination.k8s.io':
      if (namespace !== 'kube-node-lease') return deny(`can only access leases in the "kube-node-lease" system namespace`);
      return verb === 'create' || (name === node && verb !== 'list' && verb !== 'watch')
        ? ALLOWED
        : deny('can only access node lease with the same name as the requesting node');
    default:
      return deny('');
  }
}

function isReferenced(kind: keyof References, namespace: string, name: string, pods: Iterable<Pod>): boolean {
  for (const pod of pods) if (pod.metadata.namespace === namespace && referencesOf(pod)[kind].has(name)) return true;
  return false;
}

function usesServiceAccount(namespace: string, name: string, pods: Iterable<Pod>): boolean {
  for (const pod of pods) if (pod.metadata.namespace === namespace && (pod.spec.serviceAccountName ?? 'default') === name) return true;
  return false;
}

function denied(user: User, request: ApiRequest, reason: string): Decision {
  const end = reason === '' ? '' : `: ${reason}`;
  if (request.kind === 'path') return { allowed: false, reason: `User "${user.name}" cannot ${request.verb} path "${request.path}"${end}` };
  const { resource, subresource, namespace } = request;
  const what = subresource === '' ? resource.plural : `${resource.plural}/${subresource}`;
  const where = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  return {
    allowed: false,
    reason: `User "${user.name}" cannot ${request.verb} resource "${what}" in API group "${resource.group}" ${where}${end}`,
  };
}
