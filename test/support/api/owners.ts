/** Owners on the embedded API server, and a source that follows them with a token of the checkpointer's account. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, onTestFinished } from 'vitest';
import type { OwnerState } from '../../../src/checkpoint/owner-wants.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../../../src/checkpoint/workload.ts';
import type { KubeObject } from '../../../src/embedded/apiserver/objects.ts';
import { createApiClient } from '../../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../../src/sources/api/kubeconfig.ts';
import { createOwnersSource } from '../../../src/sources/api/owners.ts';
import { type OwnersIdentity, ownersKubeconfig } from '../../../src/sources/api/owners-identity.ts';
import type { OwnersSource } from '../../../src/sources/snapshots.ts';
import { startCluster, type TestCluster } from '../embedded/cluster.ts';
import { bind, create, DAEMONSETS, daemonSet, MERGE, node, PODS, pod } from '../embedded/objects.ts';
import { until } from '../until.ts';
import { QUICK, recordLog } from './setup.ts';

export const DEPLOYMENTS = '/apis/apps/v1/namespaces/kube-system/deployments';
export const REPLICASETS = '/apis/apps/v1/namespaces/kube-system/replicasets';
const ACCOUNTS = '/api/v1/namespaces/kube-system/serviceaccounts';
export const KUBELET = 'system:node:n1';
export const ACCOUNT = 'system:serviceaccount:kube-system:pod-checkpointer';
export const NODES = '/api/v1/nodes';

export let cluster: TestCluster;
let auditLog: string;
export let token: string;

/** One cluster for a test file, with a Node and the account of the checkpointer. */
export function useCluster(): void {
  beforeAll(async () => {
    auditLog = path.join(process.env['TMPDIR'] ?? '/tmp', `owners-audit-${process.pid}.log`);
    cluster = await startCluster([`--audit-log-path=${auditLog}`]);
    await create(cluster.admin, ACCOUNTS, { metadata: { name: 'pod-checkpointer' } });
    await create(cluster.admin, NODES, node('n1'));
    token = await requestToken();
  });
  afterEach(() => faults([]));
  afterAll(async () => {
    await cluster.stop();
    await fs.rm(auditLog, { force: true });
  });
}

export const faults = (list: readonly object[]) => cluster.admin.request('PUT', '/embedded/faults', list);
export const patch = (url: string, body: object) => cluster.admin.request('PATCH', url, body, MERGE);
export const remove = (url: string) => cluster.admin.request('DELETE', url);

export function workload(name: string, kind = 'DaemonSet'): Workload {
  return { namespace: 'kube-system', group: kind === 'Pod' ? '' : 'apps', kind, name };
}

export async function requestToken(): Promise<string> {
  const answer = await create(cluster.admin, `${ACCOUNTS}/pod-checkpointer/token`, { spec: {} });
  return (answer['status'] as { token: string }).token;
}

/** A directory as the kubelet mounts it into a pod. */
export async function tokenDir(token: string): Promise<string> {
  const directory = await fs.mkdtemp(path.join(cluster.directory, 'token-'));
  await fs.writeFile(path.join(directory, 'token'), token);
  return directory;
}

export interface Running {
  readonly source: OwnersSource;
  wakes(): number;
  state(of: Workload): OwnerState | undefined;
  /** Every state of the owner that a wake-up showed. */
  seen(of: Workload): readonly string[];
}

export async function start(tracked: readonly Workload[], options: { ask?: boolean; identity?: OwnersIdentity } = {}): Promise<Running> {
  const kubelet = await loadKubeconfig(cluster.pki.kubeletConf);
  const config = await ownersKubeconfig(options.identity ?? { tokenDir: await tokenDir(token) }, kubelet, '/nowhere');
  const nodeClient = createApiClient(kubelet);
  const { log } = recordLog();
  const history: ReadonlyMap<WorkloadKey, OwnerState>[] = [];
  const source: OwnersSource = createOwnersSource({
    client: config && createApiClient(config),
    nodeClient,
    nodeName: 'n1',
    onChange: () => history.push(source.snapshot().owners),
    log,
    timing: QUICK,
  });
  onTestFinished(async () => {
    await source.stop();
    nodeClient.close();
  });
  track(source, tracked, options.ask);
  return {
    source,
    wakes: () => history.length,
    state: (of) => source.snapshot().owners.get(workloadKey(of)),
    seen: (of) => history.map((owners) => owners.get(workloadKey(of))?.state ?? ''),
  };
}

export function track(source: OwnersSource, tracked: readonly Workload[], ask = false): void {
  source.track(new Map(tracked.map((one) => [workloadKey(one), { workload: one, ask }])));
}

export async function makeSet(name: string, template: object = {}): Promise<KubeObject> {
  const made = await create(cluster.admin, DAEMONSETS, daemonSet(name, {}, template));
  onTestFinished(async () => {
    await remove(`${DAEMONSETS}/${name}`).catch(() => undefined);
  });
  return made;
}

/** A pod of the owner; with a node, bound there; with a time, Ready since then. */
export async function makePod(
  name: string,
  owner: KubeObject,
  labels: object,
  where: { node?: string; readySince?: string } = {},
): Promise<void> {
  const { apiVersion, kind, metadata } = owner;
  const ownerReferences = [{ apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true }];
  await create(cluster.admin, PODS, pod(name, {}, { labels, ownerReferences }));
  onTestFinished(async () => {
    await cluster.admin.request('DELETE', `${PODS}/${name}`, { gracePeriodSeconds: 0 }).catch(() => undefined);
  });
  if (where.node !== undefined) await bind(cluster.admin, name, where.node);
  if (where.readySince !== undefined) {
    const conditions = [{ type: 'Ready', status: 'True', lastTransitionTime: where.readySince }];
    await patch(`${PODS}/${name}/status`, { status: { phase: 'Running', conditions } });
  }
}

export const wants = (running: Running, of: Workload, expected: boolean) =>
  until(() => {
    const state = running.state(of);
    return state?.state === 'present' && state.wantsPodHere === expected;
  });
export const becomes = (running: Running, of: Workload, state: OwnerState['state']) => until(() => running.state(of)?.state === state);

async function auditLines(): Promise<{ requestURI: string; verb: string; user: { username: string } }[]> {
  const text = await fs.readFile(auditLog, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** What the user has asked for so far. */
export async function requests(user: string): Promise<string[]> {
  return (await auditLines()).filter((line) => line.user.username === user).map((line) => line.requestURI);
}

export async function watchesOf(name: string): Promise<number> {
  return (await auditLines()).filter((line) => line.verb === 'watch' && line.requestURI.includes(name)).length;
}

export async function lineCount(): Promise<number> {
  return (await auditLines()).length;
}
