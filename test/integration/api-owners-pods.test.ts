import { describe, expect, test } from 'vitest';
import {
  ACCOUNT,
  becomes,
  cluster,
  DEPLOYMENTS,
  faults,
  lineCount,
  makePod,
  makeSet,
  NODES,
  patch,
  REPLICASETS,
  remove,
  start,
  track,
  useCluster,
  wants,
  watchesOf,
  workload,
} from '../support/api/owners.ts';
import { create, DAEMONSETS, daemonSet, PODS, pod } from '../support/embedded/objects.ts';
import { until } from '../support/until.ts';

useCluster();

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
