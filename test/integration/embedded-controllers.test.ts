import * as http from 'node:http';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { asPod, type KubeObject, type Pod } from '../../src/embedded/apiserver/objects.ts';
import { type RunningProgram, startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { create, DAEMONSETS, daemonSet, get, list, MERGE, node, PODS, pod, refusal, STRATEGIC } from '../support/embedded/objects.ts';
import { until } from '../support/until.ts';

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startCluster();
  await create(cluster.admin, '/api/v1/nodes', node('n1'));
});
afterEach(() => cluster.stop());

async function startManager(): Promise<RunningProgram> {
  const manager = cluster.start('kube-controller-manager', [
    `--kubeconfig=${cluster.pki.controllerManagerConf}`,
    '--secure-port=0',
    '--bind-address=127.0.0.1',
  ]);
  await manager.says(/Serving health/);
  return manager;
}

async function startScheduler(): Promise<RunningProgram> {
  const scheduler = cluster.start('kube-scheduler', [
    `--kubeconfig=${cluster.pki.schedulerConf}`,
    '--secure-port=0',
    '--bind-address=127.0.0.1',
  ]);
  await scheduler.says(/Serving health/);
  return scheduler;
}

async function pods(): Promise<Pod[]> {
  return (await list(cluster.admin, PODS)).items.map((item) => asPod(item));
}

/** What a kubelet would report. */
async function report(name: string, ready: boolean, phase = 'Running'): Promise<void> {
  const conditions = [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: new Date().toISOString() }];
  await cluster.admin.request('PATCH', `${PODS}/${name}/status`, { status: { phase, conditions } }, STRATEGIC);
}

/** What a kubelet does when a pod's containers have ended. */
async function confirmDeletion(name: string): Promise<void> {
  await cluster.admin.request('DELETE', `${PODS}/${name}`, { gracePeriodSeconds: 0 });
}

/** Waits for one pod on the node that is none of those known. */
function newPod(known: readonly Pod[]): Promise<Pod> {
  return until(async () =>
    (await pods()).find((item) => item.spec.nodeName === 'n1' && known.every((other) => other.metadata.uid !== item.metadata.uid)),
  );
}

function changeImage(name: string, image: string, path = DAEMONSETS): Promise<unknown> {
  const template = { spec: { containers: [{ name: 'main', image }] } };
  return cluster.admin.request('PATCH', `${path}/${name}`, { spec: { template } }, STRATEGIC);
}

test('a DaemonSet gets one bound pod on each matching node, and says so in its status', async () => {
  await create(cluster.admin, '/api/v1/nodes', node('worker', { metadata: { name: 'worker' } }));
  await startManager();
  await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('apiserver', {}, { nodeSelector: { 'node-role.kubernetes.io/control-plane': '' } }));
  const made = await newPod([]);
  expect(made.metadata.name).toMatch(/^apiserver-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
  expect(made.metadata.labels).toMatchObject({ 'k8s-app': 'apiserver', 'controller-revision-hash': expect.any(String) });
  expect(made.metadata.ownerReferences).toMatchObject([{ kind: 'DaemonSet', name: 'apiserver', controller: true }]);
  await report(made.metadata.name, true);
  const set = await until(async () => {
    const now = (await get(cluster.admin, `${DAEMONSETS}/apiserver`)) as KubeObject & { status?: { numberAvailable?: number } };
    return now.status?.numberAvailable === 1 ? now : undefined;
  });
  expect(set.status).toMatchObject({ desiredNumberScheduled: 1, numberReady: 1, updatedNumberScheduled: 1, numberUnavailable: 0 });
  expect(await pods()).toHaveLength(1);
});

test('a deleted pod is made again once its kubelet has confirmed, a failed one is deleted and made again', async () => {
  await startManager();
  await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('proxy'));
  const first = await newPod([]);
  await cluster.admin.request('DELETE', `${PODS}/${first.metadata.name}`);
  await confirmDeletion(first.metadata.name);
  const second = await newPod([first]);
  await report(second.metadata.name, false, 'Failed');
  const third = await newPod([first, second]);
  expect((await pods()).map((item) => item.metadata.name)).toEqual([third.metadata.name]);
});

test('a new template replaces the old pod: deleted first, made again when it is gone', async () => {
  await startManager();
  await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('scheduler'));
  const old = await newPod([]);
  await report(old.metadata.name, true);
  await changeImage('scheduler', 'registry.example/main:2');
  await until(async () => (await get(cluster.admin, `${PODS}/${old.metadata.name}`)).metadata.deletionTimestamp);
  expect(await pods()).toHaveLength(1);
  await confirmDeletion(old.metadata.name);
  const fresh = await newPod([old]);
  expect(fresh.spec.containers[0]?.image).toBe('registry.example/main:2');
  expect(fresh.metadata.labels?.['controller-revision-hash']).not.toBe(old.metadata.labels?.['controller-revision-hash']);
});

test('with maxSurge the new pod comes first and the old one goes when the new one is available', async () => {
  await startManager();
  await startScheduler();
  const updateStrategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  await create(cluster.admin, DAEMONSETS, daemonSet('surging', { updateStrategy }));
  const old = await newPod([]);
  await report(old.metadata.name, true);
  await changeImage('surging', 'registry.example/main:2');
  const fresh = await newPod([old]);
  expect((await get(cluster.admin, `${PODS}/${old.metadata.name}`)).metadata.deletionTimestamp).toBeUndefined();
  await report(fresh.metadata.name, true);
  await until(async () => (await get(cluster.admin, `${PODS}/${old.metadata.name}`)).metadata.deletionTimestamp);
});

test('OnDelete leaves the old pod alone', async () => {
  await startManager();
  await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('ondelete', { updateStrategy: { type: 'OnDelete' } }));
  const old = await newPod([]);
  await report(old.metadata.name, true);
  await changeImage('ondelete', 'registry.example/main:2');
  await until(
    async () =>
      ((await get(cluster.admin, `${DAEMONSETS}/ondelete`)) as { status?: { observedGeneration?: number } }).status?.observedGeneration ===
      2,
  );
  expect((await pods()).map((item) => item.metadata)).toMatchObject([{ name: old.metadata.name }]);
  expect((await pods())[0]?.metadata.deletionTimestamp).toBeUndefined();
});

test("a deleted DaemonSet's pods are deleted, one deleted with Orphan leaves them to the next of its kind", async () => {
  await startManager();
  await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('kept'));
  await create(cluster.admin, DAEMONSETS, daemonSet('dropped'));
  const kept = await until(async () =>
    (await pods()).find((item) => item.metadata.name.startsWith('kept-') && item.spec.nodeName === 'n1'),
  );
  const dropped = await until(async () =>
    (await pods()).find((item) => item.metadata.name.startsWith('dropped-') && item.spec.nodeName === 'n1'),
  );
  await cluster.admin.request('DELETE', `${DAEMONSETS}/kept`, { propagationPolicy: 'Orphan' });
  await cluster.admin.request('DELETE', `${DAEMONSETS}/dropped`, { propagationPolicy: 'Background' });
  await until(async () => (await get(cluster.admin, `${PODS}/${dropped.metadata.name}`)).metadata.deletionTimestamp);
  await until(async () => (await list(cluster.admin, DAEMONSETS)).items.length === 0);
  expect((await get(cluster.admin, `${PODS}/${kept.metadata.name}`)).metadata).toMatchObject({ ownerReferences: [] });
  const again = await create(cluster.admin, DAEMONSETS, daemonSet('kept'));
  await until(
    async () => (await get(cluster.admin, `${PODS}/${kept.metadata.name}`)).metadata.ownerReferences?.[0]?.uid === again.metadata.uid,
  );
});

test('a Deployment keeps its replicas in a ReplicaSet of its template, and rolls to a new one as pods become available', async () => {
  const path = '/apis/apps/v1/namespaces/kube-system/deployments';
  const labels = { 'k8s-app': 'manager' };
  const template = { metadata: { labels }, spec: { containers: [{ name: 'main', image: 'registry.example/main:1' }] } };
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
  await startManager();
  await startScheduler();
  const spec = { replicas: 2, selector: { matchLabels: labels }, strategy, template };
  await create(cluster.admin, path, { metadata: { name: 'manager' }, spec });
  const first = await until(async () => {
    const now = await pods();
    return now.length === 2 && now.every((item) => item.spec.nodeName === 'n1') ? now : undefined;
  });
  for (const item of first) {
    expect(item.metadata.name).toMatch(/^manager-[bcdfghjklmnpqrstvwxz2456789]{1,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$/);
    expect(item.metadata.name).toContain(`manager-${item.metadata.labels?.['pod-template-hash']}-`);
    expect(item.metadata.ownerReferences).toMatchObject([{ kind: 'ReplicaSet', controller: true }]);
    await report(item.metadata.name, true);
  }
  await changeImage('manager', 'registry.example/main:2', path);
  // What the kubelet does, pod by pod, until only the new ones are left.
  const running: number[] = [];
  await until(async () => {
    const now = await pods();
    for (const item of now) {
      if (item.metadata.deletionTimestamp !== undefined) await confirmDeletion(item.metadata.name);
      else if (item.spec.nodeName === 'n1' && item.status?.phase === 'Pending') await report(item.metadata.name, true);
    }
    running.push(now.filter((item) => item.status?.phase === 'Running' && item.metadata.deletionTimestamp === undefined).length);
    return now.length === 2 && now.every((item) => item.spec.containers[0]?.image === 'registry.example/main:2');
  });
  expect(Math.min(...running)).toBeGreaterThanOrEqual(2);
  await cluster.admin.request('DELETE', `${path}/manager`, { propagationPolicy: 'Background' });
  await until(async () => (await pods()).every((item) => item.metadata.deletionTimestamp !== undefined));
});

test('a pod that wants a host port that is taken on the only node stays pending until it is free', async () => {
  await startScheduler();
  const ports = { containers: [{ name: 'a', image: 'b:1', ports: [{ containerPort: 6443, hostPort: 6443 }] }] };
  await create(cluster.admin, PODS, pod('holder', { ...ports, nodeName: 'n1' }));
  await create(cluster.admin, PODS, pod('waiter', ports));
  const waiting = await until(async () => {
    const now = asPod(await get(cluster.admin, `${PODS}/waiter`));
    return now.status?.conditions?.some((condition) => condition.reason === 'Unschedulable') ? now : undefined;
  });
  expect(waiting.status?.conditions?.[0]?.message).toMatch(/free ports/);
  await confirmDeletion('holder');
  await until(async () => asPod(await get(cluster.admin, `${PODS}/waiter`)).spec.nodeName === 'n1');
});

test("a pod waits for a node that is ready, a DaemonSet's pod does not", async () => {
  await startManager();
  await startScheduler();
  await cluster.admin.request('PATCH', '/api/v1/nodes/n1/status', { status: { conditions: [{ type: 'Ready', status: 'False' }] } }, MERGE);
  await create(cluster.admin, PODS, pod('plain'));
  await create(cluster.admin, DAEMONSETS, daemonSet('early'));
  const made = await newPod([]);
  expect(made.metadata.name).toMatch(/^early-/);
  await cluster.admin.request('PATCH', '/api/v1/nodes/n1/status', { status: { conditions: [{ type: 'Ready', status: 'True' }] } }, MERGE);
  await until(async () => asPod(await get(cluster.admin, `${PODS}/plain`)).spec.nodeName === 'n1');
});

test('controller manager and scheduler outlive the API server and go on when it is back', async () => {
  const manager = await startManager();
  const scheduler = await startScheduler();
  await create(cluster.admin, DAEMONSETS, daemonSet('first'));
  await newPod([]);
  const before = await pods();
  await cluster.server.end('SIGKILL');
  await cluster.restart();
  await create(cluster.admin, DAEMONSETS, daemonSet('second'));
  const made = await newPod(before);
  expect(made.metadata.name).toMatch(/^second-/);
  expect(await manager.end('SIGTERM')).toBe(0);
  expect(await scheduler.end('SIGTERM')).toBe(0);
});

test('both start before there is an API server', async () => {
  await cluster.server.end('SIGKILL');
  await startManager();
  await startScheduler();
  await cluster.restart();
  await create(cluster.admin, DAEMONSETS, daemonSet('late'));
  expect((await newPod([])).metadata.name).toMatch(/^late-/);
});

test('each holds its port alone: a second one ends with 1; its health is served there', async () => {
  for (const [name, conf] of [
    ['kube-controller-manager', cluster.pki.controllerManagerConf],
    ['kube-scheduler', cluster.pki.schedulerConf],
  ] as const) {
    const flags = [`--kubeconfig=${conf}`, '--bind-address=127.0.0.1'];
    const first = cluster.start(name, [...flags, '--secure-port=0']);
    const [, port = ''] = await first.says(/Serving health on 127\.0\.0\.1:(\d+)/);
    const second = cluster.start(name, [...flags, `--secure-port=${port}`]);
    expect(await second.ended).toBe(1);
    expect(second.stderr()).toMatch(/EADDRINUSE/);
    const code = await new Promise((resolve) =>
      http.get(`http://127.0.0.1:${port}/healthz`, (response) => resolve(response.resume().statusCode)),
    );
    expect(code).toBe(200);
  }
});

test('an unknown flag and a missing kubeconfig end with 1', async () => {
  const unknown = cluster.start('kube-scheduler', ['--bogus']);
  expect(await unknown.ended).toBe(1);
  expect(unknown.stderr()).toMatch(/unknown flag: --bogus/);
  const missing = cluster.start('kube-controller-manager', ['--kubeconfig=/nonexistent/conf']);
  expect(await missing.ended).toBe(1);
  expect(missing.stderr()).toMatch(/\/nonexistent\/conf/);
  expect(await refusal(get(cluster.admin, `${PODS}/none`))).toBe(404);
});
