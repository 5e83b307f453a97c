import { describe, expect, test } from 'vitest';
import type { ObjectRef } from '../../src/checkpoint/copy-types.ts';
import { createAuthority } from '../../src/embedded/pki.ts';
import { type FakeObject, sendStatus, statusObject } from '../support/api/fake-server.ts';
import { connect, pod, podWithSecret, QUICK, secret, startServer, startSource } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

const PODS = '/api/v1/pods';
const SECRETS = '/api/v1/namespaces/kube-system/secrets';
const TLS_SECRET: ObjectRef = { kind: 'Secret', namespace: 'kube-system', name: 'tls' };

async function started(options: Parameters<typeof startSource>[1] = {}) {
  const server = await startServer();
  server.put(pod('etcd'));
  const running = startSource(await connect(server.url), options);
  await until(() => running.state() === 'ok' && server.watches.length === 1);
  return { server, ...running };
}

describe('the pods of this node', () => {
  test('are listed once and then watched', async () => {
    const { server, pods } = await started();
    expect(pods()).toEqual({ etcd: 'uid-etcd' });
    server.put(pod('dns'));
    await until(() => pods()['dns'] === 'uid-dns');
    server.remove(pod('etcd'));
    await until(() => pods()['etcd'] === undefined);
    expect(server.count('list')).toBe(1);
    expect(server.requests.map((r) => r.query.get('fieldSelector'))).toEqual(['spec.nodeName=node-1', 'spec.nodeName=node-1']);
    expect(server.requests[1]?.user).toBe('system:node:node-1');
  });

  test('are asked for anew without a list when the watch ends after its time', async () => {
    const { server, pods } = await started();
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    server.watches[0]?.end();
    await until(() => server.count('watch') === 2 && server.watches.length === 1);
    server.put(pod('late'));
    await until(() => pods()['late'] !== undefined);
    expect(server.count('list')).toBe(1);
    expect(server.requests.at(-1)?.query.get('resourceVersion')).toBe('102');
  });

  test('in several pages are one list', async () => {
    const server = await startServer();
    server.hook = (request, response) => {
      if (request.verb !== 'list') return false;
      const second = request.query.get('continue') === 'next';
      const item = { ...pod(second ? 'b' : 'a'), metadata: { name: second ? 'b' : 'a', uid: second ? 'b' : 'a', resourceVersion: '1' } };
      response.end(JSON.stringify({ metadata: { resourceVersion: '7', ...(!second && { continue: 'next' }) }, items: [item] }));
      return true;
    };
    const { pods } = startSource(await connect(server.url));
    await until(() => server.watches.length === 1);
    expect(pods()).toEqual({ a: 'a', b: 'b' });
    expect(server.count('list')).toBe(2);
  });

  test('are kept whole when marked, without their spec otherwise, and never with managedFields', async () => {
    const { server, source, pods } = await started();
    server.put(pod('kept', 'uid-kept', { marked: true }));
    await until(() => pods()['kept'] !== undefined);
    const { pods: byUid } = source.snapshot();
    expect(byUid.get('uid-kept')?.spec?.containers).toHaveLength(1);
    expect(byUid.get('uid-etcd')?.spec).toEqual({ nodeName: 'node-1', containers: [] });
    expect(byUid.get('uid-etcd')?.status?.phase).toBe('Running');
    for (const kept of byUid.values()) expect(kept.metadata).not.toHaveProperty('managedFields');
  });

  test('of a snapshot stay as they were when it was handed out', async () => {
    const { server, source, pods } = await started();
    const before = source.snapshot();
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect([...before.pods.keys()]).toEqual(['uid-etcd']);
  });
});

describe('a pod made again under its name', () => {
  test('is another pod in the watch, also where its deletion was not seen', async () => {
    const { server, pods } = await started();
    server.remove(pod('etcd'));
    server.put(pod('etcd', 'second'));
    await until(() => pods()['etcd'] === 'second');
    server.put(pod('etcd', 'third'));
    await until(() => pods()['etcd'] === 'third');
    expect(Object.values(pods())).toEqual(['third']);
  });

  test('is another pod across a new list', async () => {
    const { server, source, pods } = await started();
    await server.stop();
    await until(() => source.snapshot().state.state === 'unreachable');
    server.remove(pod('etcd'));
    server.put(pod('etcd', 'second'));
    server.compact();
    await server.start();
    await until(() => pods()['etcd'] === 'second');
    expect(source.snapshot().pods.size).toBe(1);
  });
});

describe('the watch', () => {
  test('is resumed after HTTP 500, without a new list', async () => {
    const { server, pods, state, lines } = await started();
    let refusals = 0;
    server.hook = (request, response) => {
      if (request.verb !== 'watch' || refusals === 3) return false;
      refusals += 1;
      sendStatus(response, 500, 'InternalError');
      return true;
    };
    server.watches[0]?.end();
    await until(() => state() === 'unreachable');
    await until(() => state() === 'ok');
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(server.count('list')).toBe(1);
    expect(lines.map((l) => l['msg'])).toEqual(['API server: ok', 'API server: unreachable', 'API server: ok']);
  });

  test('is resumed after a TCP reset in the middle of a line, and misses nothing', async () => {
    const { server, pods, lines } = await started();
    const [watch] = server.watches;
    watch?.write('{"type":"ADDED","object":{"metadata":{"na');
    watch?.reset();
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(server.count('list')).toBe(1);
    expect(lines.map((l) => l['msg'])).toEqual(['API server: ok']);
  });

  test('starts from a new list after 410 Gone as status', async () => {
    const { server, pods } = await started();
    server.advance(10);
    server.compact();
    server.watches[0]?.end();
    await until(() => server.count('list') === 2 && server.watches.length === 1);
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(pods()).toEqual({ etcd: 'uid-etcd', dns: 'uid-dns' });
  });

  test('starts from a new list after 410 Gone in the stream', async () => {
    const { server, pods, state } = await started();
    server.watches[0]?.event('ERROR', statusObject(410, 'Expired'));
    await until(() => server.count('list') === 2 && server.watches.length === 1);
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(state()).toBe('ok');
  });

  test('is resumed without a list after another error in the stream', async () => {
    const { server, pods } = await started();
    server.watches[0]?.event('ERROR', statusObject(500, 'InternalError'));
    await until(() => server.count('watch') === 2);
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(server.count('list')).toBe(1);
  });

  test('is resumed from the version of the last bookmark', async () => {
    const { server } = await started();
    server.advance(50);
    server.bookmark();
    server.watches[0]?.end();
    await until(() => server.count('watch') === 2);
    expect(server.requests.at(-1)?.query.get('resourceVersion')).toBe('151');
    expect(server.requests.at(-1)?.query.get('allowWatchBookmarks')).toBe('true');
  });

  test('goes on although its subscriber throws', async () => {
    const { server, pods, lines } = await started({
      onChange: () => {
        throw new Error('a broken subscriber');
      },
    });
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    server.put(pod('late'));
    await until(() => pods()['late'] !== undefined);
    expect(server.count('watch')).toBe(1);
    expect(JSON.stringify(lines)).toContain('a broken subscriber');
  });

  test('starts from a new list after a line that is no JSON', async () => {
    const { server, pods } = await started();
    server.watches[0]?.write('<html>\n');
    await until(() => server.count('list') === 2);
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
  });

  test('starts from a new list after a line too long to be an object', async () => {
    const server = await startServer();
    const { pods, lines } = startSource(await connect(server.url, { limits: { body: 1_000_000, line: 10_000 } }));
    await until(() => server.watches.length === 1);
    server.watches[0]?.write('x'.repeat(10_001));
    await until(() => server.count('list') === 2 && server.watches.length === 1);
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(lines.find((l) => l['state'] === 'unreachable')?.['detail']).toContain('a line of more than 10000 bytes');
  });

  test('understands lines that are cut anywhere, also inside a character', async () => {
    const { server, pods } = await started();
    const object = { ...pod('ключ-🔑'), metadata: { name: 'ключ-🔑', namespace: 'kube-system', uid: 'cut', resourceVersion: '200' } };
    const bytes = Buffer.from(`${JSON.stringify({ type: 'ADDED', object })}\n`);
    for (const byte of bytes) {
      server.watches[0]?.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    await until(() => pods()['ключ-🔑'] === 'cut');
  });

  test('that a server keeps ending at once is not asked for in a tight loop', async () => {
    const { server } = await started({ timing: { ...QUICK, firstDelay: 50, maxDelay: 400 } });
    server.hook = (request, response) => {
      if (request.verb !== 'watch') return false;
      server.openWatch(request, response).end();
      return true;
    };
    server.watches[0]?.end();
    await until(() => server.count('watch') === 5);
    const before = performance.now();
    await until(() => server.count('watch') === 6);
    expect(performance.now() - before).toBeGreaterThan(150);
  });
});

describe('a server that was told to end and leaves its watches open', () => {
  const leaving = (server: { put(object: FakeObject): unknown }, marked: boolean) => {
    const dying = pod('kube-apiserver', 'uid-apiserver', { marked });
    server.put({ ...dying, metadata: { ...dying.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } });
  };

  test('is asked while a marked pod is on its way out, and found to be away', async () => {
    const { server, state, pods } = await started();
    leaving(server, true);
    await until(() => pods()['kube-apiserver'] !== undefined);
    expect(state()).toBe('ok');
    server.closePort();
    await until(() => state() === 'unreachable');
    expect(server.count('list')).toBe(1);
  });

  test('is not asked for any other reason', async () => {
    const { server, state, pods } = await started();
    leaving(server, false);
    await until(() => pods()['kube-apiserver'] !== undefined);
    const asked = server.requests.length;
    leaving(server, true);
    await until(() => server.requests.length > asked);
    expect(state()).toBe('ok');
  });
});

describe('a watch that goes silent', () => {
  const SILENT = { ...QUICK, silentAfter: 60, replaceAfter: 400, maxDelay: 20 };

  test('is kept while bookmarks come', async () => {
    const { server } = await started({ timing: { ...SILENT, silentAfter: 300 } });
    for (let i = 0; i < 20; i += 1) {
      server.bookmark();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    expect(server.count('watch')).toBe(1);
    expect(server.count('get', '/readyz')).toBe(0);
  });

  test('means unreachable when /readyz has no good answer, and is replaced once it has', async () => {
    const { server, state, pods } = await started({ timing: { ...SILENT, replaceAfter: 10_000, headTimeout: 150 } });
    let healthy = false;
    // The process hangs: connections are accepted, nothing is answered, nothing is reset.
    server.hook = () => !healthy;
    await until(() => state() === 'unreachable');
    healthy = true;
    await until(() => state() === 'ok');
    server.put(pod('dns'));
    await until(() => pods()['dns'] !== undefined);
    expect(server.count('list')).toBe(1);
  });

  test('is replaced from the last version although /readyz answers, the second time from a new list', async () => {
    const { server, state } = await started({ timing: SILENT });
    await until(() => server.count('watch') === 2);
    expect(server.count('get', '/readyz')).toBeGreaterThan(1);
    expect(server.count('list')).toBe(1);
    expect(server.requests.at(-1)?.query.get('resourceVersion')).toBe('101');
    await until(() => server.count('watch') === 3);
    expect(server.count('list')).toBe(2);
    expect(state()).toBe('ok');
  });
});

describe('the state', () => {
  test('is unknown before the first answer', async () => {
    const server = await startServer();
    server.hook = () => true;
    const { state, source } = startSource(await connect(server.url));
    await until(() => server.requests.length === 1);
    expect(state()).toBe('unknown');
    expect(source.snapshot().object(TLS_SECRET)).toEqual({ state: 'unknown', detail: 'the API server has not answered yet' });
  });

  test.each([
    [401, 'denied'],
    [403, 'denied'],
    [404, 'unreachable'],
    [429, 'unreachable'],
    [500, 'unreachable'],
    [503, 'unreachable'],
  ])('after HTTP %i for the list is %s, and ok with the next answer', async (status, expected) => {
    const server = await startServer();
    server.put(pod('etcd'));
    server.hook = (_, response) => {
      sendStatus(response, status, 'MadeUp', { 'retry-after': '0' });
      return true;
    };
    const { state, source, pods } = startSource(await connect(server.url));
    await until(() => state() === expected);
    expect(source.snapshot().state).toMatchObject({ detail: `HTTP ${status} for ${PODS}: made up: MadeUp` });
    expect(server.count('watch')).toBe(0);
    server.hook = undefined;
    await until(() => state() === 'ok');
    expect(pods()).toEqual({ etcd: 'uid-etcd' });
  });

  test('is unreachable while the connection is refused, and ok after its return, with the real delays', async () => {
    const server = await startServer();
    await server.stop();
    const { state, source } = startSource(await connect(server.url), { timing: { ...QUICK, refusedDelay: 250 } });
    await until(() => state() === 'unreachable');
    expect(source.snapshot().state).toMatchObject({ detail: expect.stringContaining('connection refused') });
    await server.start();
    await until(() => state() === 'ok');
  });

  test('is unreachable, with the reason, when the server has a certificate of another authority', async () => {
    const server = await startServer();
    const { state, source } = startSource(await connect(server.url, { trust: await createAuthority('another-ca') }));
    await until(() => state() === 'unreachable');
    expect(source.snapshot().state).toMatchObject({
      detail: expect.stringMatching(/TLS: the server could not be verified with .*kubelet\.conf/),
    });
    expect(server.requests).toEqual([]);
  });

  test('keeps the pods that were last read while it is not ok', async () => {
    const { server, state, pods } = await started();
    await server.stop();
    await until(() => state() === 'unreachable');
    expect(pods()).toEqual({ etcd: 'uid-etcd' });
  });
});

describe('an object', () => {
  test('is watched by its name while a marked pod names it, and only then', async () => {
    const { server, source } = await started();
    server.put(secret('tls', { key: 'djE=' }));
    server.put(pod('unmarked', 'uid-unmarked', { volumes: [{ name: 'v', secret: { secretName: 'tls' } }] }));
    server.put(podWithSecret('apiserver', 'tls'));
    await until(() => source.snapshot().object(TLS_SECRET).state === 'present');
    const asked = () => server.requests.filter((r) => r.path === SECRETS).map((r) => r.query.get('fieldSelector'));
    await until(() => asked().length === 2);
    expect(asked()).toEqual(['metadata.name=tls', 'metadata.name=tls']);

    server.put(secret('tls', { key: 'djI=' }));
    await until(() => JSON.stringify(source.snapshot().object(TLS_SECRET)).includes('djI='));

    server.remove(podWithSecret('apiserver', 'tls'));
    await until(() => server.watches.length === 1);
    expect(source.snapshot().object(TLS_SECRET)).toMatchObject({ state: 'unknown' });
    expect(server.count('list', SECRETS)).toBe(1);
  });

  test('is asked for when the API server is ready, each time that it is back; its pods are there before', async () => {
    const gates: (() => void)[] = [];
    const ready = () => new Promise<void>((resolve) => gates.push(resolve));
    const { server, source, state, pods } = await started({ ready });
    server.put(secret('tls'));
    server.put(podWithSecret('apiserver', 'tls'));
    await until(() => pods()['apiserver'] !== undefined);
    expect(source.snapshot().object(TLS_SECRET)).toEqual({ state: 'unknown', detail: 'the API server answers and is not ready yet' });
    expect(server.count('list', SECRETS)).toBe(0);
    gates.shift()?.();
    await until(() => source.snapshot().object(TLS_SECRET).state === 'present');

    // Gone and back: the watches of objects wait, and what was waited for before counts for nothing.
    let away = true;
    server.hook = (_, response) => {
      if (away) sendStatus(response, 500, 'InternalError');
      return away;
    };
    for (const watch of [...server.watches]) watch.end();
    await until(() => state() === 'unreachable');
    const before = server.count('watch', SECRETS);
    away = false;
    await until(() => state() === 'ok' && gates.length === 1);
    expect(server.count('watch', SECRETS)).toBe(before);
    gates.shift()?.();
    await until(() => server.count('watch', SECRETS) > before);
  });

  test('that does not exist is absent, and present when it is made', async () => {
    const { server, source } = await started();
    server.put(podWithSecret('apiserver', 'tls', true));
    await until(() => source.snapshot().object(TLS_SECRET).state === 'absent');
    server.put(secret('tls'));
    await until(() => source.snapshot().object(TLS_SECRET).state === 'present');
    server.remove(secret('tls'));
    await until(() => source.snapshot().object(TLS_SECRET).state === 'absent');
  });

  test('that is denied denies nothing else, and is asked for again', async () => {
    const { server, source, state, lines } = await started();
    let known = false;
    server.hook = (request, response) => {
      // The Node authorizer learns of a pod a moment after its event reached us.
      if (request.path !== SECRETS || known) return false;
      sendStatus(response, 403, 'Forbidden');
      return true;
    };
    server.put(secret('tls'));
    server.put(podWithSecret('apiserver', 'tls'));
    await until(() => JSON.stringify(source.snapshot().object(TLS_SECRET)).includes('HTTP 403'));
    expect(source.snapshot().object(TLS_SECRET)).toEqual({
      state: 'denied',
      detail: expect.stringMatching(/HTTP 403 .*; needed: list and watch on secrets "tls" in namespace kube-system$/),
    });
    expect(state()).toBe('ok');
    known = true;
    await until(() => source.snapshot().object(TLS_SECRET).state === 'present');
    expect(lines.map((l) => l['msg'])).toEqual(['API server: ok', 'object denied', 'object readable again']);
  });

  test('is unknown while the API server is away, though it was read before, and current again without a list', async () => {
    const { server, source, state, lines } = await started();
    server.put(secret('tls', { key: 'c2VjcmV0LXZhbHVl' }));
    server.put(podWithSecret('apiserver', 'tls'));
    await until(() => server.watches.length === 2 && source.snapshot().object(TLS_SECRET).state === 'present');
    await server.stop();
    await until(() => state() === 'unreachable');
    expect(source.snapshot().object(TLS_SECRET)).toMatchObject({ state: 'unknown', detail: expect.stringContaining('refused') });
    await server.start();
    await until(() => server.watches.length === 2 && source.snapshot().object(TLS_SECRET).state === 'present');
    expect(server.count('list')).toBe(2);
    // One line for each change of the state, none of it with data.
    expect(lines.map((l) => l['msg'])).toEqual(['API server: ok', 'API server: unreachable', 'API server: ok']);
    expect(JSON.stringify(lines)).not.toContain('c2VjcmV0');
  });
});

test('a quiet node costs the API server nothing but the open watches', async () => {
  const { server } = await started();
  server.put(secret('tls'));
  server.put(podWithSecret('apiserver', 'tls'));
  await until(() => server.watches.length === 2);
  const before = server.requests.length;
  for (let i = 0; i < 10; i += 1) {
    server.bookmark();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(server.requests.length).toBe(before);
  expect(server.count('list')).toBe(2);
  for (const watch of server.watches) {
    const seconds = Number(watch.request.query.get('timeoutSeconds'));
    expect(seconds).toBeGreaterThanOrEqual(300);
    expect(seconds).toBeLessThanOrEqual(600);
  }
});
