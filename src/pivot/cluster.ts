/** What a pivot asks of the API server and tells it, as cluster administrator. Every call ends within its deadline. */
import type { V1DaemonSet, V1Lease, V1Node, V1Pod, V1Secret } from '@kubernetes/client-node';
import type { Answer } from '../sources/api/answer.ts';
import type { ApiClient, RequestOptions } from '../sources/api/client.ts';
import { type Component, fields, NAMESPACE } from './component.ts';
import { SELF_HOSTED, selfHostedLabel } from './daemonset.ts';

/** The API server answered, or did not, in a way that a request cannot go on from. */
export class ClusterError extends Error {
  override readonly name = 'ClusterError';
}

export interface Cluster {
  readonly server: string;
  /** Throws ClusterError with the reason where it is not ready. Over a connection of its own: whether a new one is taken is the question. */
  ready(): Promise<void>;
  /** Of the API server: `v1.36.2`. */
  version(): Promise<string>;
  node(name: string): Promise<V1Node | undefined>;
  /** Nodes that run the component as a pod of its DaemonSet, or are to. */
  assigned(component: Component): Promise<string[]>;
  /** Null takes the label away. */
  label(node: string, key: string, value: string | null): Promise<void>;
  /** Those of kube-system on the node. */
  pods(node: string): Promise<V1Pod[]>;
  daemonSet(name: string): Promise<V1DaemonSet | undefined>;
  /** The DaemonSet as it is stored. */
  createDaemonSet(daemonSet: V1DaemonSet, dryRun?: boolean): Promise<V1DaemonSet>;
  /** With its pods. One that is gone is no error. */
  deleteDaemonSet(name: string): Promise<void>;
  secret(name: string): Promise<V1Secret | undefined>;
  createSecret(secret: V1Secret): Promise<void>;
  deleteSecret(name: string): Promise<void>;
  lease(name: string): Promise<V1Lease | undefined>;
  /** False: somebody made one meanwhile. */
  createLease(lease: V1Lease): Promise<boolean>;
  deleteLease(name: string): Promise<void>;
  close(): void;
}

/** Milliseconds. An API server that is just starting holds requests back for some seconds. */
const HEAD_MS = 10_000;
const BODY_MS = 20_000;

const CORE = `/api/v1/namespaces/${NAMESPACE}`;
const DAEMON_SETS = `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`;
const LEASES = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`;

export function connectCluster(client: ApiClient, signal: AbortSignal): Cluster {
  const options = (query?: Readonly<Record<string, string>>): RequestOptions => ({
    signal,
    headTimeoutMs: HEAD_MS,
    bodyTimeoutMs: BODY_MS,
    ...(query === undefined ? {} : { query }),
  });
  const get = async <T>(path: string): Promise<T | undefined> => {
    const answer = await client.get(path, options());
    return isStatus(answer, 404) ? undefined : (bodyOf(answer) as T);
  };
  const items = async <T>(path: string, query: Readonly<Record<string, string>>): Promise<T[]> => {
    const list = fields(bodyOf(await client.get(path, options(query))))['items'];
    return Array.isArray(list) ? (list as T[]) : [];
  };
  const remove = async (path: string): Promise<void> => {
    const answer = await client.delete(path, { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background' }, options());
    if (!isStatus(answer, 404)) bodyOf(answer);
  };
  return {
    server: client.server,
    ready: async () => {
      const answer = await client.probe('/readyz', { ...options(), fresh: true });
      if (answer.kind !== 'ok') throw new ClusterError(answer.detail);
    },
    version: async () => String(fields(bodyOf(await client.get('/version', options())))['gitVersion']),
    node: (name) => get<V1Node>(`/api/v1/nodes/${name}`),
    assigned: async (component) => {
      const nodes = await items<V1Node>('/api/v1/nodes', { labelSelector: `${selfHostedLabel(component)}=${SELF_HOSTED}` });
      return nodes.map(({ metadata }) => metadata?.name ?? '');
    },
    label: async (node, key, value) => {
      bodyOf(await client.patch(`/api/v1/nodes/${node}`, { metadata: { labels: { [key]: value } } }, options()));
    },
    pods: (node) => items<V1Pod>(`${CORE}/pods`, { fieldSelector: `spec.nodeName=${node}` }),
    daemonSet: (name) => get<V1DaemonSet>(`${DAEMON_SETS}/${name}`),
    createDaemonSet: async (daemonSet, dryRun = false) => {
      const answer = await client.post(DAEMON_SETS, daemonSet, options(dryRun ? { dryRun: 'All' } : undefined));
      return bodyOf(answer) as V1DaemonSet;
    },
    deleteDaemonSet: (name) => remove(`${DAEMON_SETS}/${name}`),
    secret: (name) => get<V1Secret>(`${CORE}/secrets/${name}`),
    createSecret: async (secret) => {
      bodyOf(await client.post(`${CORE}/secrets`, secret, options()));
    },
    deleteSecret: (name) => remove(`${CORE}/secrets/${name}`),
    lease: (name) => get<V1Lease>(`${LEASES}/${name}`),
    createLease: async (lease) => {
      const answer = await client.post(LEASES, lease, options());
      if (isStatus(answer, 409)) return false;
      bodyOf(answer);
      return true;
    },
    deleteLease: (name) => remove(`${LEASES}/${name}`),
    close: () => client.close(),
  };
}

function isStatus(answer: Answer<unknown>, status: number): boolean {
  return answer.kind === 'status' && answer.status === status;
}

function bodyOf(answer: Answer<unknown>): unknown {
  if (answer.kind === 'ok') return answer.body;
  throw new ClusterError(answer.kind === 'denied' ? `${answer.detail}; give an administrator's --kubeconfig` : answer.detail);
}
