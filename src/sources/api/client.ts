/**
 * Requests to one API server over HTTP/1.1. Every request ends: with an answer, at its deadline, or by the caller's signal. Nothing here throws
 * for what the other side does; it is classified (answer.ts).
 */
import { setMaxListeners } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Agent } from 'node:https';
import { https } from '../../platform/builtin.ts';
import { type Answer, classify, classifyError, type Unreachable, unreachable } from './answer.ts';
import { type Credentials, createCredentials, type Identity } from './credentials.ts';
import type { Kubeconfig } from './kubeconfig.ts';
import { LineSplitter, LineTooLong } from './lines.ts';

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Until the head of the answer is there, in milliseconds. */
  readonly headTimeoutMs: number;
  /** Until the whole body is there, in milliseconds from the start. */
  readonly bodyTimeoutMs: number;
  /** Over a connection of its own: whether the server takes a new one is the question. */
  readonly fresh?: boolean;
}

export interface WatchOptions {
  readonly query: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly headTimeoutMs: number;
  /** The server took the watch: from here on nothing that happens is missed. */
  onOpen(): void;
  /** One line of the stream, parsed. Throwing is the caller's mistake and ends the watch. */
  onEvent(event: unknown): void;
}

/** How a watch ended; `ended`: the server closed the stream in order, which it does after timeoutSeconds. */
export type WatchEnd = { readonly kind: 'ended' } | Exclude<Answer<never>, { kind: 'ok' }>;

export interface ApiClient {
  /** For logs: `https://10.0.0.1:6443`. */
  readonly server: string;
  /** GET of a JSON document. */
  get(path: string, options: RequestOptions): Promise<Answer<unknown>>;
  /** POST of a JSON document. Sent again where the connection turns out to be dead: only for what may be done twice. */
  post(path: string, body: object, options: RequestOptions): Promise<Answer<unknown>>;
  /** PATCH with a strategic merge patch: lists with a merge key, such as conditions, keep what others wrote. Sent again as POST is. */
  patch(path: string, body: object, options: RequestOptions): Promise<Answer<unknown>>;
  /** DELETE of an object. Sent again as POST is. */
  delete(path: string, body: object, options: RequestOptions): Promise<Answer<unknown>>;
  /** GET of an address whose body does not matter, such as /readyz. */
  probe(path: string, options: RequestOptions): Promise<Answer<undefined>>;
  watch(path: string, options: WatchOptions): Promise<WatchEnd>;
  /** Ends every connection. Requests that are under way end as unreachable. */
  close(): void;
}

export interface ClientLimits {
  /** Bytes of one body that is not a watch. */
  readonly body: number;
  /** Bytes of one line of a watch. etcd takes objects of 1.5 MiB; base64 and JSON make no more than four times that of it. */
  readonly line: number;
}

const LIMITS: ClientLimits = { body: 64 * 1024 * 1024, line: 8 * 1024 * 1024 };
const STRATEGIC_MERGE = 'application/strategic-merge-patch+json';
/** An error's body is only read for its message. */
const ERROR_BODY = 64 * 1024;
/** After this long in silence the kernel asks whether the other end is still there (then every second, ten times): a host that lost its power sends no reset. */
const KEEP_ALIVE_MS = 10_000;

export function createApiClient(
  config: Kubeconfig,
  credentials: Credentials = createCredentials(config),
  limits: ClientLimits = LIMITS,
): ApiClient {
  const server = config.server.href.replace(/\/+$/, '');
  const ca =
    config.ca === undefined ? "Node's public authorities" : config.ca.from === 'file' ? config.ca.path : `the CA in ${config.file}`;
  const closing = new AbortController();
  // One for each watch that is open.
  setMaxListeners(0, closing.signal);
  let connections: { readonly identity: Identity; readonly agent: Agent } | undefined;

  /** One agent for each identity: a connection proves who we are once, so a new certificate needs new connections. */
  function agentFor(identity: Identity): Agent {
    if (connections?.identity === identity) return connections.agent;
    if (connections !== undefined) {
      // Its watches go on to their end; nothing new is sent over it.
      connections.agent.maxFreeSockets = 0;
      dropIdle(connections.agent);
    }
    const agent = newAgent(identity, true);
    connections = { identity, agent };
    return agent;
  }

  function newAgent(identity: Identity, keepAlive: boolean): Agent {
    const { Agent } = https();
    return new Agent({
      keepAlive,
      keepAliveMsecs: KEEP_ALIVE_MS,
      // Said outright, so that NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment changes nothing.
      rejectUnauthorized: true,
      secureContext: identity.context,
      ...(config.serverName !== undefined && { servername: config.serverName }),
    });
  }

  /** Sends a GET, or something else where there is something to send, and hands its answer to `use`, within the deadlines; whatever breaks meanwhile is classified. */
  async function exchange<T>(
    path: string,
    options: Deadlines,
    use: (response: IncomingMessage) => Promise<T>,
    again = true,
  ): Promise<T | Unreachable> {
    let identity: Identity;
    try {
      identity = await credentials.current();
    } catch (error) {
      return unreachable('credentials', (error as Error).message);
    }
    if (options.signal.aborted || closing.signal.aborted) return unreachable('aborted', `${server}: stopped`);

    let ended: Unreachable | undefined;
    const end = (why: Unreachable) => {
      ended ??= why;
      request.destroy();
    };
    const onAbort = () => end(unreachable('aborted', `${server}: stopped`));
    const deadline = (ms: number) => setTimeout(() => end(unreachable('timeout', `${server}: no answer within ${ms} ms`)), ms);
    const agent = options.fresh === true ? newAgent(identity, false) : agentFor(identity);
    const request = https().request(`${server}${path}${queryString(options.query)}`, {
      agent,
      method: options.send?.method ?? 'GET',
      headers: {
        accept: 'application/json',
        ...(options.send !== undefined && {
          'content-type': options.send.contentType,
          'content-length': Buffer.byteLength(options.send.text),
        }),
        'user-agent': 'pod-checkpointer',
        ...(identity.authorization !== undefined && { authorization: identity.authorization }),
      },
    });
    const head = deadline(options.headTimeoutMs);
    const body = options.bodyTimeoutMs === undefined ? undefined : deadline(options.bodyTimeoutMs);
    const signals = [options.signal, closing.signal];
    for (const signal of signals) signal.addEventListener('abort', onAbort);
    try {
      const response = await headOf(request, options.send?.text);
      clearTimeout(head);
      return await use(response);
    } catch (error) {
      if (ended !== undefined) return ended;
      if (!isConnectionError(error)) throw error;
      // An idle connection that the server closed just as we used it says nothing about the server.
      if (again && request.reusedSocket && error.code === 'ECONNRESET') {
        dropIdle(agent);
        return exchange(path, options, use, false);
      }
      return classifyError(error, server, ca);
    } finally {
      clearTimeout(head);
      clearTimeout(body);
      for (const signal of signals) signal.removeEventListener('abort', onAbort);
    }
  }

  async function refusal(response: IncomingMessage, what: string): Promise<Exclude<Answer<never>, { kind: 'ok' }>> {
    const status = response.statusCode ?? 0;
    if (status === 401) credentials.refused();
    const bytes = await readBody(response, ERROR_BODY);
    return classify(status, what, bytes === undefined ? undefined : parseJson(bytes.toString('utf8')), response.headers['retry-after']);
  }

  function ask<T>(path: string, options: Deadlines, decode: (body: Buffer) => Answer<T>): Promise<Answer<T>> {
    return exchange<Answer<T>>(path, options, async (response) => {
      if (!isSuccess(response)) return refusal(response, path);
      const body = await readBody(response, limits.body);
      return body === undefined
        ? unreachable('unreadable', `${server}: the answer for ${path} has more than ${limits.body} bytes`)
        : decode(body);
    });
  }

  const json =
    (path: string) =>
    (bytes: Buffer): Answer<unknown> => {
      const body = parseJson(bytes.toString('utf8'));
      return body === undefined ? unreachable('unreadable', `${server}: the answer for ${path} is not JSON`) : { kind: 'ok', body };
    };

  return {
    server,
    get: (path, options) => ask(path, options, json(path)),
    post: (path, body, options) =>
      ask(path, { ...options, send: { method: 'POST', contentType: 'application/json', text: JSON.stringify(body) } }, json(path)),
    patch: (path, body, options) =>
      ask(path, { ...options, send: { method: 'PATCH', contentType: STRATEGIC_MERGE, text: JSON.stringify(body) } }, json(path)),
    delete: (path, body, options) =>
      ask(path, { ...options, send: { method: 'DELETE', contentType: 'application/json', text: JSON.stringify(body) } }, json(path)),
    probe: (path, options) => ask(path, options, () => ({ kind: 'ok', body: undefined })),
    watch: (path, options) =>
      exchange<WatchEnd>(path, { ...options, bodyTimeoutMs: undefined }, async (response) => {
        if (!isSuccess(response)) return refusal(response, path);
        options.onOpen();
        const lines = new LineSplitter(limits.line);
        try {
          for await (const chunk of response as AsyncIterable<Buffer>) {
            for (const line of lines.push(chunk)) {
              const event = parseJson(line);
              if (event === undefined) return unreachable('unreadable', `${server}: the watch of ${path} sent a line that is not JSON`);
              options.onEvent(event);
            }
          }
        } catch (error) {
          if (error instanceof LineTooLong) return unreachable('unreadable', `${server}: the watch of ${path} sent ${error.message}`);
          throw error;
        }
        return { kind: 'ended' };
      }),
    close() {
      closing.abort();
      credentials.close();
      connections?.agent.destroy();
    },
  };
}

interface Deadlines {
  readonly query?: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly headTimeoutMs: number;
  readonly bodyTimeoutMs: number | undefined;
  readonly send?: { readonly method: 'POST' | 'PATCH' | 'DELETE'; readonly contentType: string; readonly text: string };
  readonly fresh?: boolean;
}

function queryString(query: Readonly<Record<string, string>> | undefined): string {
  return query === undefined ? '' : `?${new URLSearchParams(query)}`;
}

function headOf(request: ClientRequest, send: string | undefined): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.on('response', resolve);
    // Stays after the head: what breaks later is also thrown by whoever reads the body, and an event without listener would end the process.
    request.on('error', reject);
    request.end(send);
  });
}

/** Undefined: more than the limit. */
async function readBody(response: IncomingMessage, limit: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Leaving the loop early ends the connection.
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function isSuccess(response: IncomingMessage): boolean {
  return response.statusCode !== undefined && response.statusCode >= 200 && response.statusCode < 300;
}

/** Undefined: not JSON. (JSON itself has no undefined.) */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function dropIdle(agent: Agent): void {
  for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy();
}

/** Errors of sockets, TLS and the HTTP parser carry a code; one without is a mistake of this program. */
function isConnectionError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}
