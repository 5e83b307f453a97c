import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { CONFIGMAPS, create, get, list, MERGE, PODS, refusal } from '../support/embedded/objects.ts';
import { startWatching } from '../support/embedded/watching.ts';
import { until } from '../support/until.ts';

let cluster: TestCluster;
beforeEach(async () => {
  cluster = await startCluster(['--permit-port-sharing']);
});
afterEach(() => cluster.stop());

test('SIGKILL loses nothing that was answered', async () => {
  const created = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'kept' }, data: { a: '1' } });
  const patched = await cluster.admin.request('PATCH', `${CONFIGMAPS}/kept`, { data: { b: '2' } }, MERGE);
  expect(await cluster.server.end('SIGKILL')).toBe('SIGKILL');
  await expect(get(cluster.admin, `${CONFIGMAPS}/kept`)).rejects.toThrow(/ECONNREFUSED|hang up|ECONNRESET/);
  await cluster.restart();
  expect(await get(cluster.admin, `${CONFIGMAPS}/kept`)).toEqual(patched);
  const next = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'next' } });
  expect(Number(next.metadata.resourceVersion)).toBeGreaterThan(Number(created.metadata.resourceVersion) + 1);
});

test('a watch goes on over a restart if nothing changed, and gets 410 if something did', async () => {
  const { metadata } = await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'a' } });
  await cluster.server.end('SIGKILL');
  await cluster.restart();
  const same = startWatching(cluster.admin, `${CONFIGMAPS}?resourceVersion=${metadata.resourceVersion}`);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'b' } });
  expect(await same.changes(1)).toEqual(['ADDED b']);
  await cluster.server.end('SIGKILL');
  await cluster.restart();
  const late = startWatching(cluster.admin, `${CONFIGMAPS}?resourceVersion=${metadata.resourceVersion}`);
  await late.ended;
  expect(late.events[0]).toMatchObject({ type: 'ERROR', object: { code: 410 } });
});

test('two servers that permit it share port and data: a watch at one sees what is written at the other', async () => {
  const watching = startWatching(cluster.admin, CONFIGMAPS);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'first' } });
  await watching.changes(1);
  const first = cluster.server;
  await cluster.restart();
  // The kernel chooses the server of a new connection: ask until both have been written to.
  const second = cluster.server;
  const writers = await Promise.all(Array.from({ length: 12 }, (_, i) => cluster.as(`writer-${i}`, ['system:masters'])));
  for (const [i, writer] of writers.entries()) await create(writer, CONFIGMAPS, { metadata: { name: `by-${i}` } });
  expect(await watching.changes(13)).toHaveLength(13);
  watching.stop();
  expect(await first.end('SIGTERM')).toBe(0);
  const items = await until(async () => (await list(cluster.admin, CONFIGMAPS)).items);
  expect(items).toHaveLength(13);
  expect(await second.end('SIGTERM')).toBe(0);
});

test('a server on a port that is taken ends with 1 unless both permit sharing', async () => {
  const unwilling = cluster.start('kube-apiserver', cluster.flags());
  expect(await unwilling.ended).toBe(1);
  expect(unwilling.stderr()).toMatch(/EADDRINUSE/);
  await cluster.server.end('SIGKILL');
  await cluster.restart([]);
  const willing = cluster.start('kube-apiserver', cluster.flags(['--permit-port-sharing']));
  expect(await willing.ended).toBe(1);
});

test('an unknown flag, a bad value and a missing file end with 1 and say why', async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['--no-such-flag=1', /unknown flag: --no-such-flag/],
    ['--etcd-servers=https://127.0.0.1:2379', /etcd-servers.*file:\/\//],
    ['--shutdown-delay-duration=soon', /shutdown-delay-duration/],
    ['--tls-cert-file=/nonexistent/tls.crt', /\/nonexistent\/tls\.crt/],
  ];
  for (const [flag, message] of cases) {
    const program = cluster.start('kube-apiserver', cluster.flags([flag]));
    expect(await program.ended).toBe(1);
    expect(program.stderr()).toMatch(message);
  }
});

test('with --shutdown-delay-duration a server goes on answering after SIGTERM, but is not ready', async () => {
  await cluster.server.end('SIGKILL');
  await cluster.restart(['--shutdown-delay-duration=300ms']);
  const ended = cluster.server.end('SIGTERM');
  expect(await until(() => refusal(cluster.admin.request('GET', '/readyz')))).toBe(500);
  expect((await list(cluster.admin, CONFIGMAPS)).items).toEqual([]);
  expect(await ended).toBe(0);
});

test('the audit log tells who asked for what', async () => {
  const log = path.join(cluster.directory, 'audit.jsonl');
  await cluster.server.end('SIGTERM');
  await cluster.restart([`--audit-log-path=${log}`]);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'audited' } });
  await refusal(get(cluster.admin, `${PODS}/none`));
  await until(async () => (await fs.readFile(log, 'utf8')).split('\n').length > 2);
  const [created, missing] = (await fs.readFile(log, 'utf8')).split('\n');
  expect(JSON.parse(created ?? '')).toMatchObject({
    verb: 'create',
    user: { username: 'kubernetes-admin' },
    responseStatus: { code: 201 },
  });
  expect(JSON.parse(missing ?? '')).toMatchObject({
    verb: 'get',
    objectRef: { resource: 'pods', name: 'none' },
    responseStatus: { code: 404 },
  });
});

test('faults are answers for all or for one user, until they are taken back', async () => {
  const faults = (list: readonly object[]) => cluster.admin.request('PUT', '/embedded/faults', list);
  const other = await cluster.as('other', ['system:masters']);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'a' } });
  for (const code of [401, 403, 429, 500]) {
    await faults([{ kind: 'status', code, user: 'other' }]);
    expect(await refusal(list(other, CONFIGMAPS))).toBe(code);
    expect((await list(cluster.admin, CONFIGMAPS)).items).toHaveLength(1);
  }
  await faults([{ kind: 'empty', resource: 'configmaps' }]);
  expect((await list(other, CONFIGMAPS)).items).toEqual([]);
  await faults([{ kind: 'reset' }]);
  await expect(list(other, CONFIGMAPS)).rejects.toThrow(/ECONNRESET|hang up/);
  await faults([{ kind: 'hang', user: 'other' }]);
  const abort = new AbortController();
  const hanging = other.request('GET', CONFIGMAPS, undefined, { signal: abort.signal });
  const outcome = expect(hanging).rejects.toThrow(/abort/);
  expect((await list(cluster.admin, CONFIGMAPS)).items).toHaveLength(1);
  abort.abort();
  await outcome;
  await faults([]);
  expect((await list(other, CONFIGMAPS)).items).toHaveLength(1);
});

test('an open watch can be made silent, and says afterwards what it held back', async () => {
  const watching = startWatching(cluster.admin, CONFIGMAPS);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'a' } });
  await watching.changes(1);
  await cluster.admin.request('PUT', '/embedded/faults', [{ kind: 'silence', verb: 'watch' }]);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'b' } });
  const witness = startWatching(cluster.admin, `${CONFIGMAPS}?resourceVersion=0`);
  await list(cluster.admin, CONFIGMAPS);
  expect([...watching.events, ...witness.events]).toHaveLength(1);
  await cluster.admin.request('PUT', '/embedded/faults', []);
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'c' } });
  expect(await watching.changes(3)).toEqual(['ADDED a', 'ADDED b', 'ADDED c']);
});
