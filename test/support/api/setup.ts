/** A fake API server with its certificates, and sources and clients connected to it. All end with the test. */

import type { V1Pod } from '@kubernetes/client-node';
import { type Logger, pino } from 'pino';
import { onTestFinished } from 'vitest';
import { objectReferences } from '../../../src/checkpoint/references.ts';
import {
  type Authority,
  createAuthority,
  createClientCertificate,
  createServerCertificate,
  kubeconfigFor,
} from '../../../src/embedded/pki.ts';
import { type ApiClient, type ClientLimits, createApiClient } from '../../../src/sources/api/client.ts';
import { createCredentials } from '../../../src/sources/api/credentials.ts';
import { parseKubeconfig } from '../../../src/sources/api/kubeconfig.ts';
import { type ApiSourceOptions, createApiSource } from '../../../src/sources/api/source.ts';
import { TIMING, type Timing } from '../../../src/sources/api/timing.ts';
import type { ApiSource } from '../../../src/sources/snapshots.ts';
import { FakeApiServer, type FakeObject } from './fake-server.ts';

export const NODE = 'node-1';

let authority: Promise<Authority> | undefined;

/** One CA for a test file: keys take time. */
export function testAuthority(): Promise<Authority> {
  authority ??= createAuthority('test-ca');
  return authority;
}

export async function startServer(): Promise<FakeApiServer> {
  const ca = await testAuthority();
  const pair = await createServerCertificate(ca, 'kube-apiserver', ['127.0.0.1', 'localhost']);
  const server = new FakeApiServer(pair, ca.certificate);
  await server.start();
  onTestFinished(() => server.stop());
  return server;
}

/** The text of a kubeconfig for a node's own identity. */
export async function nodeKubeconfig(url: string, trust?: Authority): Promise<string> {
  const ca = await testAuthority();
  const client = await createClientCertificate(ca, `system:node:${NODE}`, ['system:nodes']);
  return kubeconfigFor(url, (trust ?? ca).certificate, `system:node:${NODE}`, client);
}

export async function connect(url: string, options: { trust?: Authority; limits?: ClientLimits } = {}): Promise<ApiClient> {
  const config = parseKubeconfig(await nodeKubeconfig(url, options.trust), '/etc/kubernetes/kubelet.conf');
  const client = createApiClient(config, createCredentials(config), options.limits);
  onTestFinished(() => client.close());
  return client;
}

/** The real proportions, a hundred times as fast where a test would have to wait. */
export const QUICK: Timing = { ...TIMING, refusedDelay: 20, firstDelay: 10, maxDelay: 50, headTimeout: 1_000, bodyTimeout: 2_000 };

export interface Recorded {
  readonly log: Logger;
  readonly lines: Record<string, unknown>[];
}

export function recordLog(): Recorded {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { log, lines };
}

export interface Running {
  readonly source: ApiSource;
  readonly lines: Record<string, unknown>[];
  /** Names of the pods in the snapshot, with their uids. */
  pods(): Record<string, string>;
  state(): string;
}

export function startSource(client: ApiClient, options: Partial<ApiSourceOptions> = {}): Running {
  const { log, lines } = recordLog();
  const source = createApiSource({
    client,
    nodeName: NODE,
    references: objectReferences,
    onChange: () => undefined,
    log,
    timing: QUICK,
    ...options,
  });
  onTestFinished(() => source.stop());
  return {
    source,
    lines,
    pods: () => Object.fromEntries([...source.snapshot().pods].map(([uid, pod]) => [pod.metadata?.name ?? '', uid])),
    state: () => source.snapshot().state.state,
  };
}

export function pod(
  name: string,
  uid = `uid-${name}`,
  extra: { marked?: boolean; volumes?: NonNullable<V1Pod['spec']>['volumes'] } = {},
): FakeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'kube-system',
      uid,
      managedFields: [{ manager: 'kubelet' }],
      ...(extra.marked === true && { annotations: { 'checkpointer.alpha.coreos.com/checkpoint': 'true' } }),
    },
    spec: {
      nodeName: NODE,
      containers: [{ name: 'main', image: 'main:1' }],
      ...(extra.volumes !== undefined && { volumes: extra.volumes }),
    },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] },
  };
}

/** A marked pod that mounts this Secret. */
export function podWithSecret(name: string, secretName: string, optional = false): FakeObject {
  return pod(name, `uid-${name}`, { marked: true, volumes: [{ name: 'data', secret: { secretName, ...(optional && { optional }) } }] });
}

export function secret(name: string, data: Record<string, string> = {}, uid = `uid-secret-${name}`): FakeObject {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'kube-system', uid }, type: 'Opaque', data };
}
