/** One request from its method and URL to its answer: authentication, faults, authorization, admission, the stored objects. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AuditLog } from './audit.ts';
import { ANONYMOUS, authenticate } from './authenticate.ts';
import { authorize, type ClusterState, isPublic, type User } from './authorize.ts';
import { pathResponse } from './discovery.ts';
import type { Fault, Faults } from './faults.ts';
import { keyPrefix, listOf, listResponse } from './lists.ts';
import { restrictNode } from './node-restriction.ts';
import { isMap } from './objects.ts';
import { type DeleteOptions, parseObject, type Registry } from './registry.ts';
import { type ApiRequest, type PathRequest, parseRequest, type ResourceRequest } from './request.ts';
import { ApiError, badRequest, forbidden, methodNotAllowed, unauthorized, unknownPath, unsupportedMediaType } from './status.ts';
import type { Storage } from './storage.ts';
import { restrictTokenRequest, type TokenIssuer } from './tokens.ts';
import type { WatchCache } from './watch-cache.ts';
import { startWatch, type WatchTiming } from './watches.ts';

export interface ApiContext {
  readonly storage: Storage;
  readonly cache: WatchCache;
  readonly registry: Registry;
  readonly state: ClusterState;
  readonly faults: Faults;
  readonly audit: AuditLog;
  readonly timing: WatchTiming;
  readonly tokens: TokenIssuer;
  readonly authorizeAll: boolean;
  /** False once the server is ending. */
  ready(): boolean;
}

const MAX_BODY_BYTES = 3 * 1024 * 1024;
const FAULTS_PATH = '/embedded/faults';

export async function handle(context: ApiContext, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  try {
    context.storage.catchUp();
    const user = authenticate(incoming, context.tokens);
    const request = parseRequest(incoming.method ?? 'GET', incoming.url ?? '/');
    context.audit.record(incoming, user ?? ANONYMOUS, request, response);
    const fault =
      request.kind === 'path' && request.path === FAULTS_PATH ? undefined : context.faults.match((user ?? ANONYMOUS).name, request);
    if (fault !== undefined && answerFault(fault, request, response)) return;
    if (user === undefined && !isPublic(request)) throw unauthorized();
    const decision = authorize(user ?? ANONYMOUS, request, context.state);
    if (!decision.allowed && !context.authorizeAll) {
      if (request.kind === 'resource') throw forbidden(request.resource, request.name, decision.reason);
      throw new ApiError(403, 'Forbidden', `forbidden: ${decision.reason}`);
    }
    if (request.kind === 'path') await answerPath(context, request, incoming, response);
    else await answerResource(context, user ?? ANONYMOUS, request, incoming, response);
  } catch (error) {
    const known = error instanceof ApiError ? error : new ApiError(500, 'InternalError', `Internal error occurred: ${textOf(error)}`);
    if (!(error instanceof ApiError)) console.error(`${incoming.method} ${incoming.url}: ${textOf(error)}`);
    send(response, known.code, known.status());
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** True when the fault was the whole answer. */
function answerFault(fault: Fault, request: ApiRequest, response: ServerResponse): boolean {
  switch (fault.kind) {
    case 'hang':
      return true;
    case 'silence':
      return false;
    case 'reset':
      response.socket?.destroy();
      return true;
    case 'status': {
      const reasons: Readonly<Record<number, string>> = {
        401: 'Unauthorized',
        403: 'Forbidden',
        429: 'TooManyRequests',
        500: 'InternalError',
      };
      if (fault.code === 429) response.setHeader('Retry-After', '1');
      send(response, fault.code, new ApiError(fault.code, reasons[fault.code] ?? 'Unknown', `injected fault ${fault.code}`).status());
      return true;
    }
    case 'empty':
      if (request.kind !== 'resource' || (request.verb !== 'list' && request.verb !== 'watch')) return false;
      if (request.verb === 'list') send(response, 200, listOf(request, [], { resourceVersion: '1' }));
      else response.writeHead(200, { 'Content-Type': 'application/json' }).flushHeaders();
      return true;
  }
}

async function answerPath(context: ApiContext, request: PathRequest, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.path === FAULTS_PATH) {
    if (request.verb === 'put') context.faults.replace(await readJson(incoming));
    else if (request.verb !== 'get') throw methodNotAllowed();
    return send(response, 200, context.faults.list());
  }
  if (request.path.startsWith('/readyz') && !context.ready())
    return sendText(response, 500, '[-]shutdown failed: process is shutting down\n');
  const answer = request.verb === 'get' || request.verb === 'head' ? pathResponse(request.path) : undefined;
  if (answer === undefined) throw unknownPath();
  if (typeof answer === 'string') return sendText(response, 200, answer);
  send(response, 200, answer);
}

async function answerResource(
  context: ApiContext,
  user: User,
  request: ResourceRequest,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { registry, storage, cache } = context;
  const { resource, namespace, name, subresource } = request;
  const admit = (object: unknown) => {
    const refusal = restrictNode(user, request, object === undefined ? undefined : parseObject(resource, object), context.state);
    if (refusal !== undefined) throw refusal;
  };
  switch (request.verb) {
    case 'get':
      return send(response, 200, registry.get(resource, namespace, name));
    case 'list':
      return send(response, 200, listResponse(request, storage, cache));
    case 'watch':
      return startWatch(request, response, storage, cache, context.timing, () => context.faults.silences(user.name, request));
    case 'create': {
      const body = await readJson(incoming);
      if (subresource === 'binding') return send(response, 201, registry.bind(request, body));
      if (subresource === 'token') return send(response, 201, requestToken(context, user, request, body));
      if (subresource === 'eviction') return send(response, 201, evict(context, user, request, body));
      if (name !== '') throw methodNotAllowed();
      admit(body);
      return send(response, 201, registry.create(request, body));
    }
    case 'update': {
      const body = await readJson(incoming);
      admit(body);
      return send(response, 200, registry.update(request, body));
    }
    case 'patch': {
      const patch = await readJson(incoming);
      admit(undefined);
      return send(response, 200, registry.patch(request, contentType(incoming), patch));
    }
    case 'delete': {
      const options = deleteOptions(request, await readBody(incoming));
      admit(undefined);
      return send(response, 200, registry.delete(request, options));
    }
    case 'deletecollection': {
      const options = deleteOptions(request, await readBody(incoming));
      if (resource.namespaced && namespace === '') throw methodNotAllowed();
      const items = storage.list(keyPrefix(request)).filter((object) => request.selector.matches(object));
      for (const item of items) registry.delete({ ...request, verb: 'delete', name: item.metadata.name }, options);
      return send(response, 200, listOf(request, items, { resourceVersion: String(storage.revision) }));
    }
  }
}

function requestToken(context: ApiContext, user: User, request: ResourceRequest, body: unknown): object {
  const refusal = restrictTokenRequest(user, request, body, (namespace, name) => {
    const pod = context.state.pod(namespace, name);
    if (pod === undefined) return undefined;
    const sources = (pod.spec.volumes ?? []).flatMap((volume) => volume.projected?.sources ?? []);
    const audiences = sources.flatMap(({ serviceAccountToken }) =>
      serviceAccountToken === undefined ? [] : [serviceAccountToken.audience ?? ''],
    );
    return { node: pod.spec.nodeName ?? '', account: pod.spec.serviceAccountName ?? 'default', audiences };
  });
  if (refusal !== undefined) throw refusal;
  const { resource, namespace, name } = request;
  return context.tokens.issue(request, context.registry.get(resource, namespace, name), body);
}

function evict(context: ApiContext, user: User, request: ResourceRequest, body: unknown): object {
  const refusal = restrictNode(user, request, undefined, context.state);
  if (refusal !== undefined) throw refusal;
  const options = isMap(body) && isMap(body['deleteOptions']) ? (body['deleteOptions'] as DeleteOptions) : {};
  context.registry.delete(request, options);
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
}

/** Options from the body, else from the query. Throws a 400 for a body that is not JSON. */
function deleteOptions(request: ResourceRequest, body: string): DeleteOptions {
  const options = body === '' ? {} : (parseJson(body) as DeleteOptions);
  const grace = request.query.get('gracePeriodSeconds');
  const policy = request.query.get('propagationPolicy');
  return {
    ...(grace === null ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(policy === null ? {} : { propagationPolicy: policy }),
    ...options,
  };
}

function contentType(incoming: IncomingMessage): string {
  return (incoming.headers['content-type'] ?? '').split(';')[0]?.trim() ?? '';
}

async function readJson(incoming: IncomingMessage): Promise<unknown> {
  const type = contentType(incoming);
  if (type !== '' && !/json$/.test(type)) throw unsupportedMediaType(`the body of the request was in an unknown format: ${type}`);
  return parseJson(await readBody(incoming));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw badRequest('the body of the request is not JSON');
  }
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) throw new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${MAX_BODY_BYTES}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function send(response: ServerResponse, code: number, body: object): void {
  if (response.headersSent || response.destroyed) return;
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(code, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-cache, private',
  });
  response.end(text);
}

function sendText(response: ServerResponse, code: number, text: string): void {
  response.writeHead(code, { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}
