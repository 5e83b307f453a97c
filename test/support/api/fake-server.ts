/**
 * A small Kubernetes API server for tests: list and watch over real HTTPS, with a log of events that watches resume from, and a hook that lets a
 * test answer a request in its own way. It authorizes everything.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { KeyPair } from '../../../src/embedded/pki.ts';

export interface FakeObject {
  apiVersion?: string;
  kind?: string;
  metadata: { name: string; namespace: string; uid: string; resourceVersion?: string; [key: string]: unknown };
  [key: string]: unknown;
}

export interface FakeRequest {
  readonly verb: 'list' | 'watch' | 'get';
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
  /** Common name of the client's certificate. */
  readonly user: string | undefined;
}

/** Returns true when it has taken the answer upon itself. */
export type Hook = (request: FakeRequest, response: ServerResponse) => boolean;

export interface OpenWatch {
  readonly request: FakeRequest;
  /** Bytes as they are. */
  write(bytes: string | Buffer): void;
  event(type: string, object: unknown): void;
  /** The end that follows timeoutSeconds. */
  end(): void;
  readonly socket: Socket | undefined;
  /** TCP reset. */
  reset(): void;
}

interface LoggedEvent {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly collection: string;
  readonly object: FakeObject;
}

export class FakeApiServer {
  readonly requests: FakeRequest[] = [];
  /** Those that are open now, oldest first. */
  readonly watches: OpenWatch[] = [];
  hook: Hook | undefined;
  /** Connections taken so far. */
  connections = 0;
  readonly #pair: KeyPair;
  readonly #clientCa: string;
  readonly #objects = new Map<string, { collection: string; object: FakeObject }>();
  #log: LoggedEvent[] = [];
  #version = 100;
  #compacted = 0;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();
  #port = 0;

  constructor(pair: KeyPair, clientCa: string) {
    this.#pair = pair;
    this.#clientCa = clientCa;
  }

  get url(): string {
    return `https://127.0.0.1:${this.#port}`;
  }

  get version(): number {
    return this.#version;
  }

  /** Listens on the port it had before, where it had one. */
  async start(): Promise<void> {
    const server = createServer(
      { cert: this.#pair.certificate, key: this.#pair.key, ca: this.#clientCa, requestCert: true, rejectUnauthorized: false },
      (request, response) => this.#handle(request, response),
    );
    server.on('connection', (socket: Socket) => {
      this.connections += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => undefined);
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve, reject) => {
      server.on('error', reject);
      server.listen(this.#port, '127.0.0.1', resolve);
    });
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  /** As a killed process: every connection is reset, the port refuses. */
  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    this.watches.length = 0;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  /** As kube-apiserver after SIGTERM: the port is closed, open watches go on. */
  closePort(): void {
    this.#server?.close();
    this.#server?.closeIdleConnections();
  }

  /** Resets every connection on which no watch is open. */
  resetIdle(): void {
    for (const socket of this.#sockets) if (!this.watches.some((w) => w.socket === socket)) socket.resetAndDestroy();
  }

  count(verb: FakeRequest['verb'], path?: string): number {
    return this.requests.filter((r) => r.verb === verb && (path === undefined || r.path === path)).length;
  }

  put(object: FakeObject): FakeObject {
    const key = keyOf(object);
    this.#version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    const type = this.#objects.has(key) ? 'MODIFIED' : 'ADDED';
    this.#objects.set(key, { collection: collectionOf(object), object: stored });
    this.#publish({ version: this.#version, type, collection: collectionOf(object), object: stored });
    return stored;
  }

  remove(object: FakeObject): void {
    const key = keyOf(object);
    const stored = this.#objects.get(key);
    if (stored === undefined) throw new Error(`${key} is not there`);
    this.#objects.delete(key);
    this.#version += 1;
    const last = { ...stored.object, metadata: { ...stored.object.metadata, resourceVersion: String(this.#version) } };
    this.#publish({ version: this.#version, type: 'DELETED', collection: stored.collection, object: last });
  }

  /** Something happens elsewhere in the cluster: the version moves on, no watch of ours hears of it. */
  advance(by: number): void {
    this.#version += by;
  }

  /** Forgets what happened until now: a watch from before is answered with 410. */
  compact(): void {
    this.#log = [];
    this.#compacted = this.#version;
  }

  bookmark(): void {
    for (const watch of this.watches) watch.event('BOOKMARK', { kind: 'Pod', metadata: { resourceVersion: String(this.#version) } });
  }

  #publish(event: LoggedEvent): void {
    this.#log.push(event);
    for (const watch of this.watches) if (concerns(event, watch.request)) watch.event(event.type, event.object);
  }

  #handle(incoming: IncomingMessage, response: ServerResponse): void {
    const url = new URL(incoming.url ?? '/', 'https://localhost');
    const path = url.pathname;
    const verb = url.searchParams.get('watch') === 'true' ? 'watch' : isCollection(path) ? 'list' : 'get';
    const request: FakeRequest = {
      verb,
      path,
      query: url.searchParams,
      authorization: incoming.headers.authorization,
      user: (incoming.socket as TLSSocket).getPeerCertificate()?.subject?.CN?.toString(),
    };
    this.requests.push(request);
    if (this.hook?.(request, response) === true) return;
    if (path === '/readyz') response.end('ok');
    else if (verb === 'watch') this.#watch(request, response);
    else if (verb === 'list') this.#list(request, response);
    else this.#get(path, response);
  }

  #list(request: FakeRequest, response: ServerResponse): void {
    const items = [...this.#objects.values()].filter((o) => concerns(o, request)).map((o) => o.object);
    sendJson(response, 200, { kind: 'List', apiVersion: 'v1', metadata: { resourceVersion: String(this.#version) }, items });
  }

  #get(path: string, response: ServerResponse): void {
    const found = [...this.#objects.values()].find((o) => `${namespaced(o)}/${o.object.metadata.name}` === path);
    if (found === undefined) sendStatus(response, 404, 'NotFound');
    else sendJson(response, 200, found.object);
  }

  #watch(request: FakeRequest, response: ServerResponse): void {
    const from = Number(request.query.get('resourceVersion'));
    if (from < this.#compacted) {
      sendStatus(response, 410, 'Expired');
      return;
    }
    const watch = this.openWatch(request, response);
    for (const event of this.#log) if (event.version > from && concerns(event, request)) watch.event(event.type, event.object);
  }

  /** Sends the head of a watch that stays open until its connection ends. For hooks. */
  openWatch(request: FakeRequest, response: ServerResponse): OpenWatch {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    // The TCP connection below TLS: only that can be reset.
    const tcp = [...this.#sockets].find((s) => s.remotePort === response.socket?.remotePort);
    const watch: OpenWatch = {
      request,
      socket: tcp,
      write: (bytes) => void response.write(bytes),
      event: (type, object) => void response.write(`${JSON.stringify({ type, object })}\n`),
      end: () => void response.end(),
      reset: () => void tcp?.resetAndDestroy(),
    };
    this.watches.push(watch);
    response.on('close', () => {
      const index = this.watches.indexOf(watch);
      if (index !== -1) this.watches.splice(index, 1);
    });
    return watch;
  }
}

export function sendJson(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

export function sendStatus(response: ServerResponse, code: number, reason: string, headers: Record<string, string> = {}): void {
  sendJson(response, code, statusObject(code, reason), headers);
}

export function statusObject(code: number, reason: string): object {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message: `made up: ${reason}`, reason, code };
}

const RESOURCES: Readonly<Record<string, string>> = { Pod: 'pods', Secret: 'secrets', ConfigMap: 'configmaps' };

function resourceOf(object: FakeObject): string {
  const resource = RESOURCES[object.kind ?? ''];
  if (resource === undefined) throw new Error(`kind ${object.kind} is not served`);
  return resource;
}

/** Pods are listed over all namespaces, the others in theirs. */
function collectionOf(object: FakeObject): string {
  const resource = resourceOf(object);
  return resource === 'pods' ? '/api/v1/pods' : `/api/v1/namespaces/${object.metadata.namespace}/${resource}`;
}

function namespaced(o: { object: FakeObject }): string {
  return `/api/v1/namespaces/${o.object.metadata.namespace}/${resourceOf(o.object)}`;
}

function keyOf(object: FakeObject): string {
  return `${resourceOf(object)}/${object.metadata.namespace}/${object.metadata.name}`;
}

function isCollection(path: string): boolean {
  return /\/(pods|secrets|configmaps)$/.test(path);
}

function concerns(event: { readonly collection: string; readonly object: FakeObject }, request: FakeRequest): boolean {
  if (event.collection !== request.path) return false;
  const [field, value] = (request.query.get('fieldSelector') ?? '').split('=');
  if (field === 'metadata.name') return event.object.metadata.name === value;
  return field !== 'spec.nodeName' || (event.object['spec'] as { nodeName?: string } | undefined)?.nodeName === value;
}
