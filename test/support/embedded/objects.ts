/** Objects for tests of the embedded API server, and shorthands for asking it. */
import type { KubeObject } from '../../../src/embedded/apiserver/objects.ts';
import { AnswerError, type ApiClient } from '../../../src/embedded/controllers/client.ts';

export const PODS = '/api/v1/namespaces/kube-system/pods';
export const SECRETS = '/api/v1/namespaces/kube-system/secrets';
export const CONFIGMAPS = '/api/v1/namespaces/kube-system/configmaps';
export const DAEMONSETS = '/apis/apps/v1/namespaces/kube-system/daemonsets';
export const MERGE = { contentType: 'application/merge-patch+json' };
export const STRATEGIC = { contentType: 'application/strategic-merge-patch+json' };

export function pod(name: string, spec: object = {}, meta: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'kube-system', ...meta },
    spec: { containers: [{ name: 'main', image: 'registry.example/main:1' }], ...spec },
  };
}

export function node(name: string, extra: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'kubernetes.io/hostname': name, 'node-role.kubernetes.io/control-plane': '' } },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
    ...extra,
  };
}

export function daemonSet(name: string, spec: object = {}, template: object = {}): object {
  const labels = { 'k8s-app': name };
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace: 'kube-system' },
    spec: {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'registry.example/main:1' }], ...template } },
      ...spec,
    },
  };
}

export interface KubeList {
  readonly metadata: { readonly resourceVersion: string; readonly continue?: string; readonly remainingItemCount?: number };
  readonly items: readonly KubeObject[];
}

export async function create(client: ApiClient, path: string, body: object): Promise<KubeObject> {
  return (await client.request('POST', path, body)) as KubeObject;
}

export async function get(client: ApiClient, path: string): Promise<KubeObject> {
  return (await client.request('GET', path)) as KubeObject;
}

export async function list(client: ApiClient, path: string): Promise<KubeList> {
  return (await client.request('GET', path)) as KubeList;
}

export function bind(client: ApiClient, name: string, to: string): Promise<unknown> {
  const body = { apiVersion: 'v1', kind: 'Binding', metadata: { name }, target: { kind: 'Node', name: to } };
  return client.request('POST', `${PODS}/${name}/binding`, body);
}

/** The status code of the refusal; throws when the request was not refused. */
export async function refusal(request: Promise<unknown>): Promise<number> {
  try {
    await request;
  } catch (error) {
    if (error instanceof AnswerError) return error.code;
    throw error;
  }
  throw new Error('expected a refusal, the request was answered');
}
