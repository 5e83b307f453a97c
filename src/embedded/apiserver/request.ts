/** What a request asks for, read from its method and URL as the API server's own request info does. */
import { findResource, type Resource } from './resources.ts';
import { parseSelectors, type Selector } from './selectors.ts';
import { methodNotAllowed, unknownPath } from './status.ts';

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

export interface ResourceRequest {
  readonly kind: 'resource';
  readonly verb: Verb;
  readonly resource: Resource;
  /** Empty for a cluster's own objects and for all namespaces. */
  readonly namespace: string;
  /** Empty where none is named. */
  readonly name: string;
  readonly subresource: string;
  readonly selector: Selector;
  readonly query: URLSearchParams;
}

export interface PathRequest {
  readonly kind: 'path';
  readonly verb: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

export type ApiRequest = ResourceRequest | PathRequest;

/** Throws a 404, 405 or 400 for what is not part of the API. */
export function parseRequest(method: string, url: string): ApiRequest {
  const { pathname, searchParams: query } = new URL(url, 'https://localhost');
  const parts = pathname
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const root = parts[0];
  const rest = root === 'api' ? ['', ...parts.slice(1)] : parts.slice(1);
  if ((root !== 'api' && root !== 'apis') || rest.length < 3) return { kind: 'path', verb: method.toLowerCase(), path: pathname, query };
  const [group = '', version = '', ...tail] = rest;
  const scoped = tail[0] === 'namespaces' && tail.length > 2 && !(tail.length === 3 && findNamespaceSubresource(tail[2]));
  const namespace = scoped ? (tail[1] ?? '') : '';
  const [plural = '', name = '', subresource = '', ...excess] = scoped ? tail.slice(2) : tail;
  const resource = findResource(group, version, plural);
  if (resource === undefined || excess.length > 0 || (scoped && !resource.namespaced)) throw unknownPath();
  if (subresource !== '' && !resource.subresources.includes(subresource)) throw unknownPath();
  if (name !== '' && resource.namespaced && namespace === '') throw unknownPath();
  const verb = verbOf(method, name !== '', query);
  const selector = parseSelectors(resource, query.get('fieldSelector') ?? '', query.get('labelSelector') ?? '');
  return { kind: 'resource', verb, resource, namespace, name: name || nameSelected(selector, verb), subresource, selector, query };
}

/** The real request info does so too: `list` of one object by metadata.name is authorized by that name. */
function nameSelected(selector: Selector, verb: Verb): string {
  if (verb !== 'list' && verb !== 'watch') return '';
  const requirement = selector.fields.find((field) => field.field === 'metadata.name' && field.equal);
  return requirement?.value ?? '';
}

function findNamespaceSubresource(part: string | undefined): boolean {
  return part === 'status' || part === 'finalize';
}

function verbOf(method: string, named: boolean, query: URLSearchParams): Verb {
  const watch = query.get('watch') === 'true' || query.get('watch') === '1';
  switch (method) {
    case 'GET':
    case 'HEAD':
      return watch ? 'watch' : named ? 'get' : 'list';
    case 'POST':
      return 'create';
    case 'PUT':
      if (!named) throw methodNotAllowed();
      return 'update';
    case 'PATCH':
      if (!named) throw methodNotAllowed();
      return 'patch';
    case 'DELETE':
      return named ? 'delete' : 'deletecollection';
    default:
      throw methodNotAllowed();
  }
}
