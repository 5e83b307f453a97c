import * as https from 'node:https';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiClient, createClient } from '../../src/embedded/controllers/client.ts';
import { createAuthority, createClientCertificate } from '../../src/embedded/pki.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import {
  bind,
  CONFIGMAPS,
  create,
  DAEMONSETS,
  daemonSet,
  get,
  list,
  MERGE,
  node,
  PODS,
  pod,
  refusal,
  SECRETS,
} from '../support/embedded/objects.ts';
import { startWatching } from '../support/embedded/watching.ts';

let cluster: TestCluster;
let kubelet: ApiClient;
beforeAll(async () => {
  cluster = await startCluster();
  kubelet = await cluster.as('system:node:n1', ['system:nodes']);
  for (const name of ['mine', 'unreferenced', 'of-n2'])
    await create(cluster.admin, SECRETS, { metadata: { name }, stringData: { a: 'b' } });
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'env' } });
  const volumes = [{ name: 'v', projected: { sources: [{ secret: { name: 'mine' } }] } }];
  const containers = [{ name: 'a', image: 'b:1', envFrom: [{ configMapRef: { name: 'env' } }] }];
  await create(cluster.admin, PODS, pod('here', { volumes, containers }));
  await create(cluster.admin, PODS, pod('there', { volumes: [{ name: 'v', secret: { secretName: 'of-n2' } }] }));
  await bind(cluster.admin, 'here', 'n1');
  await bind(cluster.admin, 'there', 'n2');
  await create(cluster.admin, DAEMONSETS, daemonSet('owner'));
  await create(cluster.admin, '/api/v1/nodes', node('n1'));
  await create(cluster.admin, '/api/v1/nodes', node('n2'));
});
afterAll(() => cluster.stop());

function anonymousGet(path: string, client: { cert?: string; key?: string } = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { ca: cluster.pki.authority.certificate, agent: false, ...client };
    https
      .get(`https://127.0.0.1:${cluster.port}${path}`, options, (response) => resolve(response.resume().statusCode ?? 0))
      .on('error', reject);
  });
}

test('without a certificate there are health and version, everything else is unauthorized', async () => {
  for (const path of ['/readyz', '/livez', '/healthz', '/version']) expect(await anonymousGet(path)).toBe(200);
  expect(await anonymousGet('/api/v1/pods')).toBe(401);
  expect(await anonymousGet('/api')).toBe(401);
});

test('a certificate of another authority is unauthorized', async () => {
  const client = await createClientCertificate(await createAuthority('kubernetes'), 'kubernetes-admin', ['system:masters']);
  expect(await anonymousGet('/api/v1/pods', { cert: client.certificate, key: client.key })).toBe(401);
});

test('a user that no rule names is forbidden', async () => {
  const nobody = await cluster.as('somebody', []);
  expect(await refusal(list(nobody, PODS))).toBe(403);
});

test('a node lists and watches pods by its own name only', async () => {
  const own = await list(kubelet, '/api/v1/pods?fieldSelector=spec.nodeName%3Dn1');
  expect(own.items.map((item) => item.metadata.name)).toEqual(['here']);
  const watching = startWatching(kubelet, '/api/v1/pods?fieldSelector=spec.nodeName%3Dn1');
  expect(await watching.changes(1)).toEqual(['ADDED here']);
  watching.stop();
  expect(await refusal(list(kubelet, '/api/v1/pods'))).toBe(403);
  expect(await refusal(list(kubelet, '/api/v1/pods?fieldSelector=spec.nodeName%3Dn2'))).toBe(403);
});

test('a node gets its own pods; others, and those that do not exist, are forbidden', async () => {
  expect((await get(kubelet, `${PODS}/here`)).metadata.name).toBe('here');
  expect(await refusal(get(kubelet, `${PODS}/there`))).toBe(403);
  expect(await refusal(get(kubelet, `${PODS}/never`))).toBe(403);
});

test('a node reads single Secrets and ConfigMaps that its pods name, by get, list or watch', async () => {
  expect(await get(kubelet, `${SECRETS}/mine`)).toMatchObject({ data: { a: 'Yg==' } });
  expect((await list(kubelet, `${SECRETS}?fieldSelector=metadata.name%3Dmine`)).items).toHaveLength(1);
  const watching = startWatching(kubelet, `${CONFIGMAPS}?fieldSelector=metadata.name%3Denv`);
  expect(await watching.changes(1)).toEqual(['ADDED env']);
  watching.stop();
});

test('a node may not read Secrets that no pod of its own names, nor all of them, nor write any', async () => {
  expect(await refusal(get(kubelet, `${SECRETS}/unreferenced`))).toBe(403);
  expect(await refusal(get(kubelet, `${SECRETS}/of-n2`))).toBe(403);
  expect(await refusal(get(kubelet, `${SECRETS}/missing`))).toBe(403);
  expect(await refusal(list(kubelet, SECRETS))).toBe(403);
  expect(await refusal(list(kubelet, '/api/v1/secrets?fieldSelector=metadata.name%3Dmine'))).toBe(403);
  expect(await refusal(kubelet.request('PATCH', `${SECRETS}/mine`, {}, MERGE))).toBe(403);
});

test('a node reads no owners', async () => {
  expect(await refusal(get(kubelet, `${DAEMONSETS}/owner`))).toBe(403);
});

test('a node patches its own Node and its status, and reads the Node but not the status', async () => {
  expect((await get(kubelet, '/api/v1/nodes/n1')).metadata.name).toBe('n1');
  await kubelet.request('PATCH', '/api/v1/nodes/n1/status', { status: { conditions: [] } }, MERGE);
  expect(await refusal(get(kubelet, '/api/v1/nodes/n1/status'))).toBe(403);
  expect(await refusal(get(kubelet, '/api/v1/nodes/n2'))).toBe(403);
  expect(await refusal(kubelet.request('PATCH', '/api/v1/nodes/n2/status', {}, MERGE))).toBe(403);
});

test('a node reports the status of its own pods and deletes them', async () => {
  await create(cluster.admin, PODS, pod('leaving', { nodeName: 'n1' }));
  await kubelet.request('PATCH', `${PODS}/leaving/status`, { status: { phase: 'Running' } }, MERGE);
  await kubelet.request('DELETE', `${PODS}/leaving`, { gracePeriodSeconds: 0 });
  expect(await refusal(kubelet.request('PATCH', `${PODS}/there/status`, { status: {} }, MERGE))).toBe(403);
  expect(await refusal(kubelet.request('DELETE', `${PODS}/there`))).toBe(403);
});

test('a node creates mirror pods for itself and no others', async () => {
  const mirror = { annotations: { 'kubernetes.io/config.mirror': 'hash' } };
  await create(kubelet, PODS, pod('static-n1', { nodeName: 'n1' }, mirror));
  expect(await refusal(create(kubelet, PODS, pod('plain', { nodeName: 'n1' })))).toBe(403);
  expect(await refusal(create(kubelet, PODS, pod('static-n2', { nodeName: 'n2' }, mirror)))).toBe(403);
  const volumes = [{ name: 'v', secret: { secretName: 'unreferenced' } }];
  expect(await refusal(create(kubelet, PODS, pod('curious-n1', { nodeName: 'n1', volumes }, mirror)))).toBe(403);
});

test('a node writes events and its own lease', async () => {
  await create(kubelet, '/api/v1/namespaces/kube-system/events', { metadata: { generateName: 'here.' }, reason: 'Started' });
  const leases = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
  await create(kubelet, leases, { metadata: { name: 'n1' }, spec: {} });
  await kubelet.request('PATCH', `${leases}/n1`, { spec: { renewTime: '2030-01-01T00:00:00.000000Z' } }, MERGE);
  expect(await refusal(get(kubelet, `${leases}/n2`))).toBe(403);
});

test("the checkpointer's service account reads owners and pods and no Secrets", async () => {
  const account = await cluster.as('system:serviceaccount:kube-system:pod-checkpointer', ['system:serviceaccounts']);
  expect((await list(account, DAEMONSETS)).items).toHaveLength(1);
  expect(await refusal(get(account, `${SECRETS}/mine`))).toBe(403);
  expect(await refusal(account.request('DELETE', `${PODS}/here`))).toBe(403);
});

test('the scheduler binds pods and the controller manager makes them, not the other way round', async () => {
  const scheduler = await cluster.as('system:kube-scheduler', []);
  const manager = await cluster.as('system:kube-controller-manager', []);
  await create(manager, PODS, pod('work'));
  expect(await refusal(create(scheduler, PODS, pod('work2')))).toBe(403);
  expect(await refusal(bind(manager, 'work', 'n1'))).toBe(403);
  await bind(scheduler, 'work', 'n1');
});

test('a token or a plain text in place of a certificate is unauthorized', async () => {
  const client = createClient({
    server: new URL(`https://127.0.0.1:${cluster.port}`),
    ca: Buffer.from(cluster.pki.authority.certificate),
    certificate: undefined,
    key: undefined,
    token: 'nonsense',
  });
  expect(await refusal(list(client, PODS))).toBe(401);
  client.close();
});
