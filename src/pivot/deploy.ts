/** Deploys the checkpointer from its manifest, where it is missing. What is there already is left as it is. */

import { loadAll } from 'js-yaml';
import type { Answer } from '../sources/api/answer.ts';
import type { ApiClient } from '../sources/api/client.ts';
import { fields } from './component.ts';

const COLLECTIONS: Readonly<Record<string, (namespace: string) => string>> = {
  ServiceAccount: (namespace) => `/api/v1/namespaces/${namespace}/serviceaccounts`,
  ConfigMap: (namespace) => `/api/v1/namespaces/${namespace}/configmaps`,
  DaemonSet: (namespace) => `/apis/apps/v1/namespaces/${namespace}/daemonsets`,
  ClusterRole: () => '/apis/rbac.authorization.k8s.io/v1/clusterroles',
  ClusterRoleBinding: () => '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings',
  Role: (namespace) => `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/roles`,
  RoleBinding: (namespace) => `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/rolebindings`,
};

export interface Deployable {
  readonly kind: string;
  readonly name: string;
  readonly collection: string;
  readonly object: object;
}

/** Throws an Error that names the object that cannot be deployed. Lists are taken apart. */
export function deployables(text: string, file: string): Deployable[] {
  return loadAll(text)
    .flatMap((document: unknown): unknown[] => {
      const { kind, items } = fields(document);
      return kind === 'List' && Array.isArray(items) ? items : document === null || document === undefined ? [] : [document];
    })
    .map((object) => {
      const { kind, metadata } = fields(object);
      const { name, namespace } = fields(metadata);
      const collection = typeof kind === 'string' ? COLLECTIONS[kind]?.(typeof namespace === 'string' ? namespace : 'default') : undefined;
      if (typeof kind !== 'string' || typeof name !== 'string' || collection === undefined)
        throw new Error(
          `${file}: ${String(kind)} ${String(name)} cannot be deployed here: expected the checkpointer's manifest (kustomize build manifests/base)`,
        );
      return { kind, name, collection, object: fields(object) };
    });
}

/** Says what was made. Throws with the API server's words. */
export async function deploy(client: ApiClient, objects: readonly Deployable[], signal: AbortSignal): Promise<string[]> {
  const made: string[] = [];
  for (const { kind, name, collection, object } of objects) {
    const answer: Answer<unknown> = await client.post(collection, object, { signal, headTimeoutMs: 10_000, bodyTimeoutMs: 20_000 });
    if (answer.kind === 'ok') made.push(`${kind} ${name}`);
    else if (!(answer.kind === 'status' && answer.status === 409)) throw new Error(`${kind} ${name}: ${answer.detail}`);
  }
  return made;
}
