import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { OwnerState } from '../../src/checkpoint/owner-wants.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../../src/checkpoint/workload.ts';
import type { KubeObject } from '../../src/embedded/apiserver/objects.ts';
import { createApiClient } from '../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { createOwnersSource } from '../../src/sources/api/owners.ts';
import { type OwnersIdentity, ownersKubeconfig } from '../../src/sources/api/owners-identity.ts';
import type { OwnersSource } from '../../src/sources/snapshots.ts';
import { QUICK, recordLog } from '../support/api/setup.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { bind, create, DAEMONSETS, daemonSet, MERGE, node, PODS, pod } from '../support/embedded/objects.ts';
import { until } from '../support/until.ts';

const DEPLOYMENTS = '/apis/apps/v1/namespaces/kube-system/deployments';
const REPLICASETS = '/apis/apps/v1/namespaces/kube-system/replicasets';
const ACCOUNTS = '/api/v1/namespaces/kube-system/serviceaccounts';
const KUBELET = 'system:node:n1';
const ACCOUNT = 'system:serviceaccount:kube-system:pod-checkpointer';
const NODES = '/api/v1/nodes';

let cluster: TestCluster;
let auditLog: string;
let token: string;
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

const faults = (list: readonly object[]) => cluster.admin.request('PUT', '/embedded/faults', list);
const patch = (url: string, body: object) => cluster.admin.request('PATCH', url, body, MERGE);
const remove = (url: string) => cluster.admin.request('DELETE', url);

function workload(name: string, kind = 'DaemonSet'): Workload {
  return { namespace: 'kube-system', group: kind === 'Pod' ? '' : 'apps', kind, name };
}

async function requestToken(): Promise<string> {
  const answer = await create(cluster.admin, `${ACCOUNTS}/pod-checkpointer/token`, { spec: {} });
  return (answer['status'] as { token: string }).token;
}

/** A directory as the kubelet mounts it into a pod. */
async function tokenDir(token: string): Promise<string> {
  const directory = await fs.mkdtemp(path.join(cluster.directory, 'token-'));
  await fs.writeFile(path.join(directory, 'token'), token);
  return directory;
}

interface Running {
  readonly source: OwnersSource;
  readonly lines: readonly Record<string, unknown>[];
  wakes(): number;
  state(of: Workload): OwnerState | undefined;
  /** Every state of the owner that a wake-up showed. */
  seen(of: Workload): readonly string[];
}

async function start(tracked: readonly Workload[], options: { ask?: boolean; identity?: OwnersIdentity } = {}): Promise<Running> {
  const kubelet = await loadKubeconfig(cluster.pki.kubeletConf);
  const config = await ownersKubeconfig(options.identity ?? { tokenDir: await tokenDir(token) }, kubelet, '/nowhere');
  const nodeClient = createApiClient(kubelet);
  const { log, lines } = recordLog();
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
    lines,
    wakes: () => history.length,
    state: (of) => source.snapshot().owners.get(workloadKey(of)),
    seen: (of) => history.map((owners) => owners.get(workloadKey(of))?.state ?? ''),
  };
}

function track(source: OwnersSource, tracked: readonly Workload[], ask = false): void {
  source.track(new Map(tracked.map((one) => [workloadKey(one), { workload: one, ask }])));
}

async function makeSet(name: string, template: object = {}): Promise<KubeObject> {
  const made = await create(cluster.admin, DAEMONSETS, daemonSet(name, {}, template));
  onTestFinished(async () => {
    await remove(`${DAEMONSETS}/${name}`).catch(() => undefined);
  });
  return made;
}

/** A pod of the owner; with a node, bound there; with a time, Ready since then. */
async function makePod(name: string, owner: KubeObject, labels: object, where: { node?: string; readySince?: string } = {}): Promise<void> {
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

const wants = (running: Running, of: Workload, expected: boolean) =>
  until(() => {
    const state = running.state(of);
    return state?.state === 'present' && state.wantsPodHere === expected;
  });
const becomes = (running: Running, of: Workload, state: OwnerState['state']) => until(() => running.state(of)?.state === state);

describe('an owner that is there', () => {
  test('is known by its uid, and of its pods nothing while nobody asks', async () => {
    const set = await makeSet('there');
    const running = await start([workload('there')]);
    expect(running.state(workload('there'))).toEqual({ state: 'unknown', detail: 'not read yet' });
    await becomes(running, workload('there'), 'present');
    expect(running.state(workload('there'))).toEqual({
      state: 'present',
      uid: set.metadata.uid,
      deleting: false,
      wantsPodHere: true,
      pods: { state: 'unknown', detail: 'not asked for' },
    });
  });

  test('wants no pod here any more when its node selector, the label of the node or a taint says so', async () => {
    await makeSet('choosy', { nodeSelector: { 'kubernetes.io/hostname': 'n1' } });
    const choosy = workload('choosy');
    const running = await start([choosy]);
    await wants(running, choosy, true);
    const selector = (nodeSelector: object) => patch(`${DAEMONSETS}/choosy`, { spec: { template: { spec: { nodeSelector } } } });
    await selector({ 'kubernetes.io/hostname': 'n2' });
    await wants(running, choosy, false);
    await selector({ 'kubernetes.io/hostname': 'n1' });
    await wants(running, choosy, true);
    const label = (value: string) => patch(`${NODES}/n1`, { metadata: { labels: { 'kubernetes.io/hostname': value } } });
    await label('other');
    await wants(running, choosy, false);
    await label('n1');
    await wants(running, choosy, true);
    await patch(`${NODES}/n1`, { spec: { taints: [{ key: 'maintenance', effect: 'NoExecute' }] } });
    await wants(running, choosy, false);
    await patch(`${NODES}/n1`, { spec: { taints: [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }] } });
    await wants(running, choosy, true);
    await patch(`${NODES}/n1`, { spec: { taints: null } });
  });

  test('wants nothing while it is being deleted, and is gone after that', async () => {
    await makeSet('leaving');
    await patch(`${DAEMONSETS}/leaving`, { metadata: { finalizers: ['example.com/held'] } });
    const running = await start([workload('leaving')]);
    await becomes(running, workload('leaving'), 'present');
    await remove(`${DAEMONSETS}/leaving`);
    await wants(running, workload('leaving'), false);
    expect(running.state(workload('leaving'))).toMatchObject({ state: 'present', deleting: true });
    await patch(`${DAEMONSETS}/leaving`, { metadata: { finalizers: null } });
    await becomes(running, workload('leaving'), 'gone');
  });

  test('is not asked about any more once it is not tracked', async () => {
    await makeSet('dropped');
    const running = await start([workload('dropped')]);
    await becomes(running, workload('dropped'), 'present');
    track(running.source, []);
    expect(running.source.snapshot().owners.size).toBe(0);
  });
});

describe('an owner that is not there', () => {
  test('is gone, with the uid it had, and another one under its name is present with another uid', async () => {
    const first = await makeSet('again');
    const running = await start([workload('again')]);
    await becomes(running, workload('again'), 'present');
    await remove(`${DAEMONSETS}/again`);
    await becomes(running, workload('again'), 'gone');
    expect(running.state(workload('again'))).toEqual({ state: 'gone', uid: first.metadata.uid });
    const second = await makeSet('again');
    await becomes(running, workload('again'), 'present');
    expect(running.state(workload('again'))).toMatchObject({ uid: second.metadata.uid });
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
  });

  test('is gone without a uid when nobody ever saw it', async () => {
    const running = await start([workload('never')]);
    await becomes(running, workload('never'), 'gone');
    expect(running.state(workload('never'))).toEqual({ state: 'gone' });
  });

  test('is not gone because a list is empty, and the list is made anew', async () => {
    await makeSet('hidden');
    await faults([{ kind: 'empty', user: ACCOUNT }]);
    const running = await start([workload('hidden')]);
    // Two rounds of: an empty list, and a GET that finds it.
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/hidden')).length >= 2);
    expect(running.state(workload('hidden'))?.state).toBe('unknown');
    await faults([]);
    await becomes(running, workload('hidden'), 'present');
    expect(running.seen(workload('hidden'))).not.toContain('gone');
  });

  test('is not gone while the GET is refused', async () => {
    await faults([{ kind: 'status', code: 403, user: ACCOUNT, verb: 'get', resource: 'daemonsets.apps' }]);
    const running = await start([workload('refused')]);
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/refused')).length >= 2);
    expect(running.state(workload('refused'))?.state).toBe('unknown');
    await faults([]);
    await becomes(running, workload('refused'), 'gone');
  });

  test('that was a Deployment is not gone while a ReplicaSet of it is left', async () => {
    const labels = { app: 'left', 'pod-template-hash': '5f7c9d6b8' };
    const spec = {
      replicas: 1,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a:1' }] } },
    };
    await create(cluster.admin, REPLICASETS, { metadata: { name: 'left-5f7c9d6b8', labels }, spec });
    const running = await start([workload('left', 'Deployment')]);
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/deployments/left')).length >= 2);
    expect(running.state(workload('left', 'Deployment'))?.state).toBe('unknown');
    await remove(`${REPLICASETS}/left-5f7c9d6b8`);
    await becomes(running, workload('left', 'Deployment'), 'gone');
  });
});

describe('no answer', () => {
  test('of an API server that is away makes everything unknown, what is gone has to be confirmed anew', async () => {
    await makeSet('stays');
    const [stays, went] = [workload('stays'), workload('went')];
    const running = await start([stays, went], { ask: true });
    await becomes(running, stays, 'present');
    await becomes(running, went, 'gone');
    await cluster.server.end('SIGKILL');
    await until(() => [stays, went].every((of) => running.state(of)?.state === 'unknown'));
    expect(running.state(went)).toMatchObject({ detail: expect.stringContaining('unreachable') });
    const asked = async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/went')).length;
    const before = await asked();
    await cluster.restart();
    await becomes(running, stays, 'present');
    await becomes(running, went, 'gone');
    await until(async () => (await asked()) > before);
  });

  test('of an API server that is away: one watch looks for its return, the others wait, and all end when they are told to', async () => {
    await makeSet('waiting');
    await faults([{ kind: 'status', code: 500 }]);
    const before = (await requests(ACCOUNT)).length;
    const nodesBefore = (await requests(KUBELET)).length;
    const running = await start([workload('waiting'), workload('too')], { identity: { tokenDir: await tokenDir(token) } });
    await until(async () => (await requests(KUBELET)).length >= nodesBefore + 6);
    expect((await requests(ACCOUNT)).length - before).toBeLessThanOrEqual(4);
    await running.source.stop();
  });

  test.each([401, 403, 500])('but HTTP %i leaves the owner unknown until the right one comes', async (code) => {
    await makeSet('behind');
    await faults([{ kind: 'status', code, user: ACCOUNT }]);
    const running = await start([workload('behind')]);
    await until(() => /HTTP/.test(JSON.stringify(running.state(workload('behind')))));
    expect(running.state(workload('behind'))).toMatchObject({
      state: 'unknown',
      detail: expect.stringContaining(`${code === 500 ? 'unreachable' : 'denied'}: HTTP ${code}`),
    });
    await faults([]);
    await becomes(running, workload('behind'), 'present');
  });

  test('to a token that does not count, until the file holds another one', async () => {
    await makeSet('rotated');
    const directory = await tokenDir('of yesterday');
    const running = await start([workload('rotated')], { identity: { tokenDir: directory } });
    await until(() => /denied: HTTP 401/.test(JSON.stringify(running.state(workload('rotated')))));
    await fs.writeFile(path.join(directory, 'token.new'), await requestToken());
    await fs.rename(path.join(directory, 'token.new'), path.join(directory, 'token'));
    await becomes(running, workload('rotated'), 'present');
  });

  test('where there is no token at all names its file', async () => {
    const running = await start([workload('without')], { identity: { tokenDir: '/nowhere' } });
    await until(() => /token \/nowhere\/token cannot be read/.test(JSON.stringify(running.state(workload('without')))));
  });

  test('without an identity, and nothing is sent', async () => {
    const running = await start([workload('unasked'), workload('bare', 'Pod')], { identity: {} });
    expect(running.state(workload('unasked'))).toEqual({ state: 'unknown', detail: 'no identity that may read owners was given' });
    expect(running.state(workload('bare', 'Pod'))).toEqual({ state: 'none' });
    expect((await requests(ACCOUNT)).filter((uri) => uri.includes('unasked'))).toEqual([]);
  });

  test('to a kubeconfig is the same: it goes before a token', async () => {
    await makeSet('by-file');
    const running = await start([workload('by-file')], { identity: { kubeconfig: cluster.pki.adminConf, tokenDir: '/nowhere' } });
    await becomes(running, workload('by-file'), 'present');
  });
});

const READY = '2030-01-01T00:00:00Z';

describe('the pods of an owner', () => {
  test('are known while somebody asks: Ready ones on all nodes, pending ones of this', async () => {
    const set = await makeSet('asked');
    const labels = { 'k8s-app': 'asked' };
    await makePod('asked-elsewhere', set, labels, { node: 'n2', readySince: READY });
    await makePod('asked-unbound', set, labels);
    await create(cluster.admin, PODS, pod('asked-mirror', {}, { labels }));
    const asked = workload('asked');
    const running = await start([asked], { ask: true });
    const ready = { name: 'asked-elsewhere', node: 'n2', since: Date.parse(READY) };
    const pending = { name: 'asked-unbound', bound: false };
    await until(() => JSON.stringify(running.state(asked)).includes('asked-unbound'));
    expect(running.state(asked)).toMatchObject({ pods: { state: 'ok', ready: [ready], pending: [pending] } });
    await patch(`${PODS}/asked-elsewhere/status`, { status: { conditions: [{ type: 'Ready', status: 'False' }] } });
    await until(() => {
      const state = running.state(asked);
      return state?.state === 'present' && state.pods.state === 'ok' && state.pods.ready.length === 0;
    });
    track(running.source, [asked]);
    expect(running.state(asked)).toMatchObject({ pods: { state: 'unknown', detail: 'not asked for' } });
    track(running.source, [asked], true);
    await until(() => JSON.stringify(running.state(asked)).includes('asked-unbound'));
  });

  test('of a Deployment are those of its ReplicaSets', async () => {
    const labels = { app: 'web' };
    const template = { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a:1' }] } };
    const spec = { replicas: 1, selector: { matchLabels: labels }, template };
    const deployment = await create(cluster.admin, DEPLOYMENTS, { metadata: { name: 'web' }, spec });
    const ownerReferences = [{ apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', uid: deployment.metadata.uid, controller: true }];
    const set = await create(cluster.admin, REPLICASETS, { metadata: { name: 'web-1', labels, ownerReferences }, spec });
    const stray = await create(cluster.admin, REPLICASETS, { metadata: { name: 'stray', labels }, spec });
    await makePod('web-1-a', set, labels, { node: 'n1', readySince: READY });
    await makePod('stray-a', stray, labels, { node: 'n1', readySince: READY });
    const web = workload('web', 'Deployment');
    const running = await start([web], { ask: true });
    await until(() => JSON.stringify(running.state(web)).includes('web-1-a'));
    expect(running.state(web)).toMatchObject({
      wantsPodHere: true,
      pods: { state: 'ok', ready: [{ name: 'web-1-a', node: 'n1' }], pending: [] },
    });
    await patch(`${DEPLOYMENTS}/web`, { spec: { replicas: 0 } });
    await wants(running, web, false);
  });

  test('follow the selector of an owner that was made again', async () => {
    await makeSet('moved');
    const moved = workload('moved');
    const running = await start([moved], { ask: true });
    await until(() => JSON.stringify(running.state(moved)).includes('"ok"'));
    await remove(`${DAEMONSETS}/moved`);
    const labels = { 'k8s-app': 'moved-2' };
    const spec = {
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a:1' }] } },
    };
    const second = await create(cluster.admin, DAEMONSETS, daemonSet('moved', spec));
    await makePod('moved-x', second, labels, { node: 'n2', readySince: READY });
    await until(() => JSON.stringify(running.state(moved)).includes('moved-x'));
    await remove(`${DAEMONSETS}/moved`);
  });

  test('that cannot be read are unknown, the owner is not', async () => {
    await makeSet('half');
    await faults([{ kind: 'status', code: 403, user: ACCOUNT, resource: 'pods' }]);
    const running = await start([workload('half')], { ask: true });
    await until(() => JSON.stringify(running.state(workload('half'))).includes('pods: denied'));
    expect(running.state(workload('half'))).toMatchObject({ state: 'present', pods: { state: 'unknown' } });
  });
});

describe('a quiet node', () => {
  test('sends no request for 3 s, and is not woken by what its kubelet and the controllers report of themselves', async () => {
    await makeSet('quiet');
    const tracked = [workload('quiet'), workload('absent'), workload('bare', 'Pod')];
    const running = await start(tracked, { ask: true });
    await becomes(running, workload('absent'), 'gone');
    await until(() => JSON.stringify(running.state(workload('quiet'))).includes('"ok"'));
    // Each of the three is open: the Node's, the DaemonSet's and its pods', and that of the one that is absent.
    await until(async () => (await watchesOf('quiet')) === 2 && (await watchesOf('absent')) === 1);
    const [sent, wakes] = [await lineCount(), running.wakes()];
    const from = performance.now();
    await patch(`${NODES}/n1/status`, { status: { nodeInfo: { kubeletVersion: 'v1.36.2' } } });
    await patch(`${DAEMONSETS}/quiet/status`, { status: { numberReady: 1 } });
    await new Promise((resolve) => setTimeout(resolve, 3_000 - (performance.now() - from)));
    // The two patches are the test's own.
    expect((await lineCount()) - sent).toBe(2);
    expect(running.wakes()).toBe(wakes);
  });
});

async function auditLines(): Promise<{ requestURI: string; verb: string; user: { username: string } }[]> {
  const text = await fs.readFile(auditLog, 'utf8');
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/** What the user has asked for so far. */
async function requests(user: string): Promise<string[]> {
  return (await auditLines()).filter((line) => line.user.username === user).map((line) => line.requestURI);
}

async function watchesOf(name: string): Promise<number> {
  return (await auditLines()).filter((line) => line.verb === 'watch' && line.requestURI.includes(name)).length;
}

async function lineCount(): Promise<number> {
  return (await auditLines()).length;
}
