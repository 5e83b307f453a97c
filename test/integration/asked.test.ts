/** The sources that are asked, against real servers and a real runtime’s answers. */
import { createServer as createHttpServer, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer, type Server as TcpServer } from 'node:net';
import type { V1Pod } from '@kubernetes/client-node';
import { afterEach, describe, expect, it } from 'vitest';
import type { Workload, WorkloadKey } from '../../src/checkpoint/workload.ts';
import { createNodeProbeSource, isAnswered } from '../../src/sources/node-probes.ts';
import { createRefusalSource } from '../../src/sources/refusals.ts';
import type { ApiSnapshot } from '../../src/sources/snapshots.ts';
import { until } from '../support/until.ts';

const servers: (Server | TcpServer)[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

async function listen(server: Server | TcpServer): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

const WORKLOAD: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'a' };
const KEY = 'kube-system/DaemonSet/a' as WorkloadKey;
const http = (port: number, path: string) =>
  ({ kind: 'http', scheme: 'http', host: '127.0.0.1', port, path, headers: [], timeoutMs: 300 }) as const;

describe('a probe from the node', () => {
  it('is answered by a status from 200 to 399, in time', async () => {
    const port = await listen(
      createHttpServer((request, response) => {
        const status = Number(request.url?.slice(1));
        if (Number.isNaN(status)) return;
        response.writeHead(status).end('x');
      }),
    );
    expect(await Promise.all(['/200', '/302', '/399', '/400', '/503', '/never'].map((path) => isAnswered(http(port, path))))).toEqual([
      true,
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  it('of TCP is answered by whoever listens', async () => {
    const port = await listen(createServer((socket) => socket.destroy()));
    expect(await isAnswered({ kind: 'tcp', host: '127.0.0.1', port, timeoutMs: 300 })).toBe(true);
    servers.splice(0).map((server) => server.close());
    await until(async () => !(await isAnswered({ kind: 'tcp', host: '127.0.0.1', port, timeoutMs: 300 })), 2_000);
  });
});

describe('pods that are asked whether they are ready', () => {
  it('are asked once at a time, however often the question is put', async () => {
    const asked: ServerResponse[] = [];
    const port = await listen(createHttpServer((_, response) => void asked.push(response)));
    const probe = { httpGet: { port }, timeoutSeconds: 5 };
    const pod: V1Pod = { spec: { hostNetwork: true, containers: [{ name: 'a', readinessProbe: probe }] } };
    const source = createNodeProbeSource(
      async () => pod,
      () => undefined,
    );
    const question = [{ workload: WORKLOAD, uid: 'u', generation: 1 }];
    for (let look = 0; look < 5; look++) source.ask(question);
    await until(() => asked.length > 0, 2_000);
    source.ask(question);
    for (const response of asked) response.end();
    await until(() => source.snapshot().get('u') === true, 2_000);
    expect(asked).toHaveLength(1);
  });

  it('answer for themselves, and are forgotten when nobody asks', async () => {
    let status = 500;
    const port = await listen(createHttpServer((_, response) => response.writeHead(status).end()));
    const pod: V1Pod = { spec: { hostNetwork: true, containers: [{ name: 'a', readinessProbe: { httpGet: { port } } }] } };
    let changes = 0;
    const source = createNodeProbeSource(
      async () => pod,
      () => changes++,
    );
    const question = [{ workload: WORKLOAD, uid: 'u', generation: 1 }];
    source.ask(question);
    await until(() => source.snapshot().get('u') === false, 2_000);
    status = 200;
    source.ask(question);
    await until(() => source.snapshot().get('u') === true, 2_000);
    expect(changes).toBe(2);
    source.ask([]);
    expect(source.snapshot().size).toBe(0);
  });

  it('have no answer where their generation cannot be read, or their probe not be done from here', async () => {
    const exec: V1Pod = { spec: { containers: [{ name: 'a', readinessProbe: { exec: { command: ['true'] } } }] } };
    const source = createNodeProbeSource(
      async (_, generation) => {
        if (generation === 1) throw new Error('EIO');
        return generation === 2 ? exec : { spec: { containers: [{ name: 'a' }] } };
      },
      () => undefined,
    );
    source.ask([1, 2, 3].map((generation) => ({ workload: WORKLOAD, uid: `u${generation}`, generation })));
    await until(() => source.snapshot().has('u3'), 2_000);
    expect([...source.snapshot()]).toEqual([['u3', true]]);
  });
});

describe('why a copy is not run', () => {
  const api: ApiSnapshot = {
    state: { state: 'unreachable', detail: '' },
    pods: new Map(),
    object: () => ({ state: 'unknown', detail: '' }),
    absences: new Map(),
  };

  it('is an image that is not on the node, and a port with the process that holds it', async () => {
    const port = await listen(createServer());
    const containers = [
      { name: 'a', image: 'there', ports: [{ containerPort: port, hostPort: port }] },
      { name: 'b', image: 'missing' },
    ];
    const source = createRefusalSource(
      async () => ({ spec: { containers } }),
      { hasImage: async (image) => image === 'there' },
      () => undefined,
    );
    source.ask([{ workload: WORKLOAD, generation: 1, file: 'f' }], api);
    await until(() => source.snapshot().has(KEY), 5_000);
    const [image, holder] = source.snapshot().get(KEY) ?? [];
    expect(image).toBe('image missing is not on this node');
    expect(holder).toContain(`port ${port} of the host is held by process ${process.pid} (`);
  });
});
