import { afterAll, beforeAll, expect, test } from 'vitest';
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
  PODS,
  pod,
  refusal,
  SECRETS,
  STRATEGIC,
} from '../support/embedded/objects.ts';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster();
});
afterAll(() => cluster.stop());

test('a created pod has a uid, a creation time, a generation, a resourceVersion and the defaults that a kubelet reads', async () => {
  const created = await create(
    cluster.admin,
    PODS,
    pod('defaults', { hostNetwork: true, containers: [{ name: 'a', image: 'x/y', ports: [{ containerPort: 80 }] }] }),
  );
  expect(created.metadata).toMatchObject({ name: 'defaults', namespace: 'kube-system', generation: 1 });
  expect(created.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
  expect(created.metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  expect(Number(created.metadata.resourceVersion)).toBeGreaterThan(0);
  expect(created.spec).toMatchObject({
    restartPolicy: 'Always',
    dnsPolicy: 'ClusterFirst',
    terminationGracePeriodSeconds: 30,
    priority: 0,
    containers: [{ imagePullPolicy: 'Always', ports: [{ containerPort: 80, hostPort: 80, protocol: 'TCP' }] }],
  });
  expect(created.status).toMatchObject({ phase: 'Pending', qosClass: 'BestEffort' });
  expect(await get(cluster.admin, `${PODS}/defaults`)).toEqual(created);
});

test('priorityClassName becomes the priority; a class that there is not is forbidden', async () => {
  const created = await create(cluster.admin, PODS, pod('critical', { priorityClassName: 'system-node-critical' }));
  expect(created.spec).toMatchObject({ priority: 2000001000 });
  expect(await refusal(create(cluster.admin, PODS, pod('classless', { priorityClassName: 'nope' })))).toBe(403);
});

test('generateName makes a name with five characters of the suffix alphabet', async () => {
  const body = { metadata: { generateName: 'gen-' }, spec: { containers: [{ name: 'a', image: 'b:1' }] } };
  const created = await create(cluster.admin, PODS, body);
  expect(created.metadata.name).toMatch(/^gen-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
});

test('a second object of the same name is refused, in a missing namespace too, and without what it needs', async () => {
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'twice' } });
  expect(await refusal(create(cluster.admin, CONFIGMAPS, { metadata: { name: 'twice' } }))).toBe(409);
  expect(await refusal(create(cluster.admin, '/api/v1/namespaces/nowhere/configmaps', { metadata: { name: 'a' } }))).toBe(404);
  expect(await refusal(create(cluster.admin, PODS, pod('empty', { containers: [] })))).toBe(422);
  expect(await refusal(create(cluster.admin, PODS, pod('Bad_Name')))).toBe(422);
  expect(await refusal(get(cluster.admin, `${PODS}/none`))).toBe(404);
  expect(await refusal(get(cluster.admin, '/api/v1/nonsense'))).toBe(404);
});

test('an update with an old resourceVersion is a conflict, with the current one it is stored', async () => {
  const first = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'versions' }, data: { a: '1' } });
  const second = { ...first, data: { a: '2' } };
  await cluster.admin.request('PUT', `${CONFIGMAPS}/versions`, second);
  expect(await refusal(cluster.admin.request('PUT', `${CONFIGMAPS}/versions`, { ...first, data: { a: '3' } }))).toBe(409);
  expect(await get(cluster.admin, `${CONFIGMAPS}/versions`)).toMatchObject({ data: { a: '2' } });
});

test('an update of nothing makes no new resourceVersion', async () => {
  const first = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'same' }, data: { a: '1' } });
  const again = await cluster.admin.request('PUT', `${CONFIGMAPS}/same`, first);
  expect(again).toEqual(first);
});

test('stringData of a Secret is stored as base64 data', async () => {
  const created = await create(cluster.admin, SECRETS, { metadata: { name: 'plain' }, stringData: { key: 'value' } });
  expect(created).toMatchObject({ type: 'Opaque', data: { key: Buffer.from('value').toString('base64') } });
  expect(created).not.toHaveProperty('stringData');
});

test('a spec and its status are written apart, and only the spec counts generations', async () => {
  const created = await create(cluster.admin, DAEMONSETS, daemonSet('apart'));
  const path = `${DAEMONSETS}/apart`;
  await cluster.admin.request('PATCH', `${path}/status`, { spec: { minReadySeconds: 9 }, status: { numberReady: 1 } }, MERGE);
  const reported = await get(cluster.admin, path);
  expect(reported.spec).toEqual(created.spec);
  expect(reported).toMatchObject({ status: { numberReady: 1 }, metadata: { generation: 1 } });
  await cluster.admin.request('PATCH', path, { spec: { minReadySeconds: 5 }, status: { numberReady: 7 } }, MERGE);
  expect(await get(cluster.admin, path)).toMatchObject({
    spec: { minReadySeconds: 5 },
    status: { numberReady: 1 },
    metadata: { generation: 2 },
  });
});

test('merge, strategic merge and JSON patches each work in their own way', async () => {
  await create(cluster.admin, PODS, pod('patched', {}, { labels: { a: '1', b: '2' } }));
  const path = `${PODS}/patched`;
  expect(await cluster.admin.request('PATCH', path, { metadata: { labels: { a: null, c: '3' } } }, MERGE)).toMatchObject({
    metadata: { labels: { b: '2', c: '3' } },
  });
  const condition = (type: string, status: string) => ({ status: { conditions: [{ type, status }] } });
  await cluster.admin.request('PATCH', `${path}/status`, condition('Ready', 'False'), STRATEGIC);
  await cluster.admin.request('PATCH', `${path}/status`, condition('Initialized', 'True'), STRATEGIC);
  const patched = await cluster.admin.request('PATCH', `${path}/status`, condition('Ready', 'True'), STRATEGIC);
  expect(patched).toMatchObject({
    status: {
      conditions: [
        { type: 'Ready', status: 'True' },
        { type: 'Initialized', status: 'True' },
      ],
    },
  });
  const steps = [
    { op: 'test', path: '/metadata/labels/b', value: '2' },
    { op: 'replace', path: '/spec/containers/0/image', value: 'registry.example/main:2' },
  ];
  expect(await cluster.admin.request('PATCH', path, steps, { contentType: 'application/json-patch+json' })).toMatchObject({
    spec: { containers: [{ image: 'registry.example/main:2' }] },
    metadata: { generation: 2 },
  });
  expect(await refusal(cluster.admin.request('PATCH', path, { spec: { hostNetwork: true } }, MERGE))).toBe(422);
  expect(await refusal(cluster.admin.request('PATCH', path, {}, { contentType: 'application/apply-patch+yaml' }))).toBe(415);
});

test('a bound pod is deleted gracefully: it goes when its kubelet confirms, and a second delete does not lengthen its time', async () => {
  const path = `${PODS}/graceful`;
  await create(cluster.admin, PODS, pod('graceful', { terminationGracePeriodSeconds: 20 }));
  await bind(cluster.admin, 'graceful', 'n1');
  const deleted = (await cluster.admin.request('DELETE', path)) as { metadata: { deletionTimestamp: string } };
  expect(deleted).toMatchObject({ metadata: { deletionGracePeriodSeconds: 20 } });
  expect(Date.parse(deleted.metadata.deletionTimestamp)).toBeGreaterThan(Date.now() + 15_000);
  await cluster.admin.request('DELETE', path, { gracePeriodSeconds: 100 });
  expect(await get(cluster.admin, path)).toEqual(deleted);
  await cluster.admin.request('DELETE', path, { gracePeriodSeconds: 0 });
  expect(await refusal(get(cluster.admin, path))).toBe(404);
});

test('a pod without a node, and one that has ended, are deleted at once', async () => {
  await create(cluster.admin, PODS, pod('unbound'));
  await cluster.admin.request('DELETE', `${PODS}/unbound`);
  expect(await refusal(get(cluster.admin, `${PODS}/unbound`))).toBe(404);
  await create(cluster.admin, PODS, pod('ended', { nodeName: 'n1' }));
  await cluster.admin.request('PATCH', `${PODS}/ended/status`, { status: { phase: 'Failed' } }, MERGE);
  await cluster.admin.request('DELETE', `${PODS}/ended`);
  expect(await refusal(get(cluster.admin, `${PODS}/ended`))).toBe(404);
});

test('a deletion whose uid is another is a conflict', async () => {
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'guarded' } });
  const request = cluster.admin.request('DELETE', `${CONFIGMAPS}/guarded`, {
    preconditions: { uid: '00000000-0000-0000-0000-000000000000' },
  });
  expect(await refusal(request)).toBe(409);
});

test('an object with a finalizer stays until the finalizer is taken away', async () => {
  const path = `${CONFIGMAPS}/finalized`;
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'finalized', finalizers: ['example.org/hold'] } });
  await cluster.admin.request('DELETE', path);
  expect((await get(cluster.admin, path)).metadata.deletionTimestamp).toBeDefined();
  await cluster.admin.request('PATCH', path, { metadata: { finalizers: null } }, MERGE);
  expect(await refusal(get(cluster.admin, path))).toBe(404);
});

test('a pod is bound once', async () => {
  await create(cluster.admin, PODS, pod('bound'));
  await bind(cluster.admin, 'bound', 'n1');
  expect(await get(cluster.admin, `${PODS}/bound`)).toMatchObject({
    spec: { nodeName: 'n1' },
    status: { conditions: [{ type: 'PodScheduled', status: 'True' }] },
  });
  expect(await refusal(bind(cluster.admin, 'bound', 'n2'))).toBe(409);
});

test('lists select by fields and by labels, and refuse fields that cannot be selected by', async () => {
  const namespace = '/api/v1/namespaces/default/pods';
  const make = (name: string, nodeName: string, labels: object) =>
    create(cluster.admin, namespace, { metadata: { name, labels }, spec: { nodeName, containers: [{ name: 'a', image: 'b:1' }] } });
  await make('one', 'n1', { app: 'x' });
  await make('two', 'n2', { app: 'y', tier: 'control' });
  const names = async (query: string) => (await list(cluster.admin, `${namespace}?${query}`)).items.map((item) => item.metadata.name);
  expect(await names('fieldSelector=spec.nodeName%3Dn1')).toEqual(['one']);
  expect(await names('fieldSelector=spec.nodeName!%3Dn1')).toEqual(['two']);
  expect(await names('fieldSelector=metadata.name%3Dtwo,metadata.namespace%3Ddefault')).toEqual(['two']);
  expect(await names('fieldSelector=status.phase%3DRunning')).toEqual([]);
  expect(await names('labelSelector=app%3Dx')).toEqual(['one']);
  expect(await names(`labelSelector=${encodeURIComponent('app in (x,y),tier')}`)).toEqual(['two']);
  expect(await names(`labelSelector=${encodeURIComponent('!tier')}`)).toEqual(['one']);
  expect(await refusal(list(cluster.admin, `${namespace}?fieldSelector=spec.hostname%3Da`))).toBe(400);
});

test('a list in chunks shows one state of the store, whatever changes between the chunks', async () => {
  const path = '/api/v1/namespaces/kube-public/configmaps';
  for (const name of ['a', 'b', 'c', 'd', 'e']) await create(cluster.admin, path, { metadata: { name } });
  const first = await list(cluster.admin, `${path}?limit=2`);
  expect(first.items.map((item) => item.metadata.name)).toEqual(['a', 'b']);
  expect(first.metadata.remainingItemCount).toBe(3);
  await cluster.admin.request('DELETE', `${path}/d`);
  await create(cluster.admin, path, { metadata: { name: 'cc' } });
  const second = await list(cluster.admin, `${path}?limit=10&continue=${first.metadata.continue}`);
  expect(second.items.map((item) => item.metadata.name)).toEqual(['c', 'd', 'e']);
  expect(second.metadata).toEqual({ resourceVersion: first.metadata.resourceVersion });
  expect(await refusal(list(cluster.admin, `${path}?continue=nonsense`))).toBe(400);
});

test('a list at a resourceVersion that is not there yet is a timeout', async () => {
  expect(await refusal(list(cluster.admin, `${PODS}?resourceVersion=999999`))).toBe(504);
});
