import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { bind, CONFIGMAPS, create, get, list, MERGE, PODS, pod, SECRETS } from '../support/embedded/objects.ts';
import { startWatching } from '../support/embedded/watching.ts';
import { until } from '../support/until.ts';

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startCluster(['--watch-bookmark-interval=50ms', '--watch-cache-size=5']);
});
afterAll(() => cluster.stop());

test('a watch from a list goes on where the list ended', async () => {
  const path = '/api/v1/namespaces/default/configmaps';
  await create(cluster.admin, path, { metadata: { name: 'before' } });
  const { metadata } = await list(cluster.admin, path);
  await create(cluster.admin, path, { metadata: { name: 'after' } });
  const watching = startWatching(cluster.admin, `${path}?resourceVersion=${metadata.resourceVersion}`);
  await watching.changes(1);
  await cluster.admin.request('PATCH', `${path}/after`, { data: { a: '1' } }, MERGE);
  await cluster.admin.request('DELETE', `${path}/before`);
  expect(await watching.changes(3)).toEqual(['ADDED after', 'MODIFIED after', 'DELETED before']);
  const versions = watching.events.map((event) => Number(event.object.metadata.resourceVersion));
  expect(versions).toEqual(versions.toSorted((a, b) => a - b));
  watching.stop();
});

test('a watch without a resourceVersion begins with what there is', async () => {
  const path = '/api/v1/namespaces/kube-public/configmaps';
  await create(cluster.admin, path, { metadata: { name: 'here' } });
  const watching = startWatching(cluster.admin, `${path}?resourceVersion=0`);
  expect(await watching.changes(1)).toEqual(['ADDED here']);
  watching.stop();
});

test('a watch of one node sees a pod come when it is bound there and not before', async () => {
  const watching = startWatching(cluster.admin, '/api/v1/pods?fieldSelector=spec.nodeName%3Dn7');
  await create(cluster.admin, PODS, pod('comes'));
  await bind(cluster.admin, 'comes', 'n7');
  await cluster.admin.request('DELETE', `${PODS}/comes`, { gracePeriodSeconds: 0 });
  expect(await watching.changes(2)).toEqual(['ADDED comes', 'DELETED comes']);
  watching.stop();
});

test('an object that stops matching a label selector is reported as deleted', async () => {
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'labelled', labels: { a: '1' } } });
  const watching = startWatching(cluster.admin, `${CONFIGMAPS}?labelSelector=a%3D1`);
  await watching.changes(1);
  await cluster.admin.request('PATCH', `${CONFIGMAPS}/labelled`, { metadata: { labels: { a: '2' } } }, MERGE);
  expect(await watching.changes(2)).toEqual(['ADDED labelled', 'DELETED labelled']);
  watching.stop();
});

test('bookmarks tell a quiet watch how far the store has come', async () => {
  const watching = startWatching(cluster.admin, `${SECRETS}?fieldSelector=metadata.name%3Dquiet&allowWatchBookmarks=true`);
  const other = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'other' } });
  const bookmark = await until(() =>
    watching.events.find(
      (event) => event.type === 'BOOKMARK' && Number(event.object.metadata.resourceVersion) >= Number(other.metadata.resourceVersion),
    ),
  );
  expect(bookmark.object.kind).toBe('Secret');
  expect(await watching.changes(0)).toEqual([]);
  watching.stop();
});

test('no bookmarks come unasked, and a watch ends after timeoutSeconds', async () => {
  const watching = startWatching(cluster.admin, `${SECRETS}?timeoutSeconds=1`);
  await watching.ended;
  expect(watching.events).toEqual([]);
});

test('a streamed list ends with a bookmark that says so', async () => {
  await create(cluster.admin, SECRETS, { metadata: { name: 'streamed' } });
  const query = 'sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Dstreamed';
  const watching = startWatching(cluster.admin, `${SECRETS}?${query}`);
  await until(() => watching.events.length >= 2);
  expect(watching.events[0]).toMatchObject({ type: 'ADDED', object: { metadata: { name: 'streamed' } } });
  expect(watching.events[1]).toMatchObject({
    type: 'BOOKMARK',
    object: { metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } },
  });
  watching.stop();
});

test('a watch from before what the cache holds gets 410 as an event', async () => {
  const { metadata } = await list(cluster.admin, CONFIGMAPS);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'busy' } });
  for (let i = 0; i < 6; i++) await cluster.admin.request('PATCH', `${CONFIGMAPS}/busy`, { data: { i: String(i) } }, MERGE);
  const watching = startWatching(cluster.admin, `${CONFIGMAPS}?resourceVersion=${metadata.resourceVersion}`);
  await watching.ended;
  expect(watching.events).toHaveLength(1);
  expect(watching.events[0]).toMatchObject({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } });
});

test('SIGTERM closes the port at once and leaves open watches alone; the server ends with the last of them, with exit code 0', async () => {
  const watching = startWatching(cluster.admin, CONFIGMAPS);
  await watching.changes(1);
  let over = false;
  void watching.ended
    .finally(() => {
      over = true;
    })
    .catch(() => undefined);
  const ended = cluster.server.end('SIGTERM');
  await until(() =>
    get(cluster.admin, CONFIGMAPS).then(
      () => false,
      (error: unknown) => String(error).includes('ECONNREFUSED'),
    ),
  );
  expect(over).toBe(false);
  watching.stop();
  expect(await ended).toBe(0);
  await cluster.restart();
  expect((await get(cluster.admin, `${CONFIGMAPS}/busy`)).metadata.name).toBe('busy');
});
