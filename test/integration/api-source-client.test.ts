import { expect, test } from 'vitest';
import type { RequestOptions } from '../../src/sources/api/client.ts';
import { connect, pod, startServer } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

const PODS = '/api/v1/pods';

function within(ms: number, signal = new AbortController().signal): RequestOptions {
  return { signal, headTimeoutMs: ms, bodyTimeoutMs: 2 * ms };
}

test('an answer that does not begin in time is unreachable', async () => {
  const server = await startServer();
  server.hook = () => true;
  const client = await connect(server.url);
  expect(await client.get(PODS, within(50))).toMatchObject({
    kind: 'unreachable',
    cause: 'timeout',
    detail: `${server.url}: no answer within 50 ms`,
  });
});

test('an answer that begins and does not end in time is unreachable', async () => {
  const server = await startServer();
  server.hook = (_, response) => response.writeHead(200).write('{"items":[');
  const client = await connect(server.url);
  expect(await client.get(PODS, within(100))).toMatchObject({ cause: 'timeout', detail: `${server.url}: no answer within 200 ms` });
});

test('an answer that breaks off is unreachable, though it is JSON so far', async () => {
  const server = await startServer();
  server.hook = (_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('{}', () => response.destroy());
    return true;
  };
  const client = await connect(server.url);
  expect(await client.get(PODS, within(1_000))).toMatchObject({ kind: 'unreachable', cause: 'connection' });
});

test('an answer larger than the limit is unreachable, and is not read to its end', async () => {
  const server = await startServer();
  let sent = 0;
  server.hook = (_, response) => {
    response.writeHead(200);
    const more = () => {
      sent += 65_536;
      if (!response.destroyed) response.write('x'.repeat(65_536), () => setImmediate(more));
    };
    more();
    return true;
  };
  const client = await connect(server.url, { limits: { body: 100_000, line: 100_000 } });
  expect(await client.get(PODS, within(1_000))).toMatchObject({
    cause: 'unreadable',
    detail: expect.stringContaining('has more than 100000 bytes'),
  });
  expect(sent).toBeLessThan(100 * 65_536);
});

test.each(['', 'not json', '{"items":'])('an answer of %j is unreachable: no API server says so', async (body) => {
  const server = await startServer();
  server.hook = (_, response) => {
    response.end(body);
    return true;
  };
  const client = await connect(server.url);
  expect(await client.get(PODS, within(1_000))).toMatchObject({ kind: 'unreachable', cause: 'unreadable' });
});

test('a request ends with its signal', async () => {
  const server = await startServer();
  server.hook = () => true;
  const client = await connect(server.url);
  const abort = new AbortController();
  const asking = client.get(PODS, within(10_000, abort.signal));
  await until(() => server.requests.length === 1);
  abort.abort();
  expect(await asking).toMatchObject({ kind: 'unreachable', cause: 'aborted' });
  expect(await client.get(PODS, within(10_000, abort.signal))).toMatchObject({ cause: 'aborted' });
  expect(server.requests).toHaveLength(1);
});

test('requests share a connection, and one that the server has closed meanwhile is not a failure', async () => {
  const server = await startServer();
  server.put(pod('etcd'));
  const client = await connect(server.url);
  expect(await client.get(PODS, within(1_000))).toMatchObject({ kind: 'ok' });
  expect(await client.get(PODS, within(1_000))).toMatchObject({ kind: 'ok' });
  expect(server.connections).toBe(1);
  // Closed at the moment of the next request, which is already on its way.
  server.resetIdle();
  expect(await client.get(PODS, within(1_000))).toMatchObject({ kind: 'ok' });
  expect(server.connections).toBe(2);
});
