import { expect, test } from 'vitest';
import { sendStatus } from '../support/api/fake-server.ts';
import { connect, pod, startServer, startSource } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

const ETCD = '/api/v1/namespaces/kube-system/pods/etcd';

async function started() {
  const server = await startServer();
  let wakes = 0;
  const running = startSource(await connect(server.url), {
    onChange: () => {
      wakes += 1;
    },
  });
  await until(() => running.state() === 'ok' && server.watches.length === 1);
  return {
    server,
    ...running,
    wakes: () => wakes,
    async answer(uid = 'uid-etcd') {
      await running.source.confirmAbsence('kube-system', 'etcd', uid);
      return running.source.snapshot().absences.get(uid);
    },
  };
}

type Server = Awaited<ReturnType<typeof startServer>>;

/** As the Node authorizer: a pod that is not there has no path from the node, so its GET is forbidden. */
function forbidGet(server: Server, list?: (response: Parameters<NonNullable<Server['hook']>>[1]) => void): void {
  server.hook = (request, response) => {
    if (request.path === ETCD) sendStatus(response, 403, 'Forbidden');
    else if (request.verb === 'list' && list !== undefined) list(response);
    else return false;
    return true;
  };
}

test('a pod that was never asked for has no answer', async () => {
  const { source } = await started();
  expect(source.snapshot().absences.get('uid-etcd')).toBeUndefined();
});

test('a pod is gone when its GET says 404', async () => {
  const { server, answer, wakes } = await started();
  const before = wakes();
  expect(await answer()).toBe('gone');
  expect(wakes()).toBe(before + 1);
  expect(server.count('list')).toBe(1);
});

test('a pod is gone when another uid has its name, and present under its own', async () => {
  const { server, source } = await started();
  // Not in any watch event that reaches the source: it is bound to another node.
  server.put({ ...pod('etcd', 'second'), spec: { nodeName: 'node-2' } });
  await source.confirmAbsence('kube-system', 'etcd', 'first');
  await source.confirmAbsence('kube-system', 'etcd', 'second');
  expect([...source.snapshot().absences]).toEqual([
    ['first', 'gone'],
    ['second', 'present'],
  ]);
});

test('a 404 that is not the answer of an API server proves nothing', async () => {
  const { server, answer } = await started();
  server.hook = (_, response) => {
    response.writeHead(404).end('404 page not found');
    return true;
  };
  expect(await answer()).toBe('unanswered');
});

test.each([401, 429, 500, 503])('HTTP %i proves nothing', async (status) => {
  const { server, answer } = await started();
  server.hook = (_, response) => {
    sendStatus(response, status, 'MadeUp');
    return true;
  };
  expect(await answer()).toBe('unanswered');
});

test('a pod whose GET is forbidden is gone when a fresh list holds another pod and not this one', async () => {
  const { server, answer } = await started();
  server.put(pod('dns'));
  forbidGet(server);
  expect(await answer()).toBe('gone');
  const list = server.requests.at(-1);
  expect(list?.verb).toBe('list');
  expect(Object.fromEntries(list?.query ?? [])).toEqual({ fieldSelector: 'spec.nodeName=node-1' });
});

test('a pod whose GET is forbidden is present when the fresh list holds it', async () => {
  const { server, answer } = await started();
  const elsewhere = { metadata: { name: 'etcd', namespace: 'kube-system', uid: 'uid-etcd', resourceVersion: '1' } };
  forbidGet(server, (response) => response.end(JSON.stringify({ metadata: { resourceVersion: '9' }, items: [elsewhere] })));
  expect(await answer()).toBe('present');
});

test('a pod whose GET is forbidden is not gone because the list is empty, or not answered', async () => {
  const { server, answer } = await started();
  forbidGet(server);
  expect(await answer()).toBe('unanswered');
  forbidGet(server, (response) => sendStatus(response, 503, 'ServiceUnavailable'));
  expect(await answer()).toBe('unanswered');
});

test('an answer is forgotten when the API server goes away, and when the pod is seen', async () => {
  const { server, source, answer, state, pods } = await started();
  expect(await answer()).toBe('gone');
  server.put(pod('etcd'));
  await until(() => pods()['etcd'] !== undefined);
  expect(source.snapshot().absences.size).toBe(0);

  expect(await answer('uid-other')).toBe('gone');
  await server.stop();
  await until(() => state() === 'unreachable');
  expect(source.snapshot().absences.size).toBe(0);
  expect(await answer()).toBeUndefined();
});

test('a pod is asked for once at a time', async () => {
  const { server, source } = await started();
  await Promise.all([1, 2, 3].map(() => source.confirmAbsence('kube-system', 'etcd', 'uid-etcd')));
  expect(server.count('get', ETCD)).toBe(1);
});

test('mirror pods alone do not show that the API server knows its pods: the kubelet posts them into an empty one', async () => {
  const { server, answer } = await started();
  const mirror = {
    ...pod('copy').metadata,
    resourceVersion: '8',
    annotations: { 'kubernetes.io/config.mirror': 'x', 'kubernetes.io/config.source': 'file' },
  };
  const list = (items: object[]) =>
    forbidGet(server, (response) => response.end(JSON.stringify({ metadata: { resourceVersion: '9' }, items })));
  const dns = { ...pod('dns'), metadata: { ...pod('dns').metadata, resourceVersion: '8' } };
  list([{ ...pod('copy'), metadata: mirror }]);
  expect(await answer()).toBe('unanswered');
  list([{ ...pod('copy'), metadata: mirror }, dns]);
  expect(await answer()).toBe('gone');
});
