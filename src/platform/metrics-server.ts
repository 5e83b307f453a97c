/**
 * Serves metrics and health, and nothing else. Two daemons of one node (the pod and the one on the host) have the same address: whoever leads takes it. A
 * port that is taken never keeps a daemon from its work.
 */
import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import type { Registry } from 'prom-client';
import type { Millis } from '../checkpoint/model.ts';
import { http } from './builtin.ts';
import { healthAnswer, livez, type Pulse, readyz } from './health.ts';

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface Served {
  readonly registry: Registry;
  pulse(): Pulse;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
}

export interface MetricsServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Throws when the address cannot be listened on. Port 0 takes a free one. */
export async function serveMetrics(served: Served, { host, port }: ListenAddress): Promise<MetricsServer> {
  const server = http().createServer((request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
      return;
    }
    answer(served, request.url ?? '/', response);
  });
  // What asks is Prometheus and the kubelet: neither sends a body, and neither is slow.
  server.requestTimeout = 10_000;
  await listen(server, host, port);
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      // An event without a listener would end the process.
      server.on('error', () => undefined);
      resolve();
    });
  });
}

function answer({ registry, pulse, clock }: Served, url: string, response: ServerResponse): void {
  const [path, query] = url.split('?');
  const verbose = new URLSearchParams(query).has('verbose');
  const health = (name: 'livez' | 'readyz', checks: typeof livez) => {
    const { code, text } = healthAnswer(name, checks(pulse(), clock()), verbose);
    response.writeHead(code, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' }).end(text);
  };
  switch (path) {
    case '/livez':
      health('livez', livez);
      return;
    case '/readyz':
      health('readyz', readyz);
      return;
    case '/metrics':
      registry.metrics().then(
        (text) => response.writeHead(200, { 'Content-Type': registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
      return;
    default:
      response.writeHead(404).end();
  }
}

export interface Endpoint {
  /** The address is ours as soon as nobody else has it. */
  lead(): void;
  close(): Promise<void>;
}

const RETRY: Millis = 1_000;
/** One that waits takes the address only if by then nobody who leads has taken it. */
const WAITER: Millis = 5_000;

/**
 * For a daemon that does not lead yet. `address` undefined: nothing is served.
 * @param waiter whether it serves while it waits. One that gave the lead to a new version does not: on the address that they share it would answer the
 * liveness probe of a new version that hangs, which nobody would end then.
 */
export function createEndpoint(served: Served, address: ListenAddress | undefined, log: Logger, waiter = true): Endpoint {
  let server: MetricsServer | undefined;
  let opening: Promise<void> | undefined;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let said: string | undefined;

  async function open(again: boolean): Promise<void> {
    if (address === undefined || server !== undefined || closed) return;
    try {
      server = await serveMetrics(served, address);
      log.info({ host: address.host, port: server.port }, 'metrics and health are served');
      if (closed) await server.close();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (again && said !== message)
        log.warn({ error: message, ...address }, 'metrics and health are not served yet: tried again every second');
      said = message;
      if (again) start(RETRY, true);
    }
  }

  function start(after: Millis, again: boolean): void {
    clearTimeout(timer);
    timer = setTimeout(() => {
      opening = (opening ?? Promise.resolve()).then(() => open(again));
    }, after).unref();
  }

  if (waiter) start(WAITER, false);
  return {
    lead() {
      start(0, true);
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await opening;
      await server?.close();
    },
  };
}

/**
 * Beside the ports of Kubernetes' own components (10248 to 10260), and above them: none of kubelet, kube-proxy, scheduler, controller managers, etcd,
 * kube-vip, Calico or Cilium listens there by default. Loopback: reason codes and workload names are nobody else's business.
 */
export const DEFAULT_METRICS_ADDRESS = '127.0.0.1:10290';

/** `127.0.0.1:10290`, `[::1]:10290`; undefined for `0`, which serves nowhere. Throws a one-line Error for anything else. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  if (text === '0') return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9A-Za-z.-]+)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535)
    throw new Error(`"${text}" is not an address: write host:port, such as 127.0.0.1:10290, or 0 for none`);
  return { host: match[1] ?? match[2] ?? '', port };
}
