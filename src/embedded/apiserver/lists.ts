/** Answers to lists: selectors, chunks, resource versions. */
import type { KubeObject } from './objects.ts';
import type { ResourceRequest } from './request.ts';
import { apiVersionOf } from './resources.ts';
import { ApiError, badRequest, expired, qualified } from './status.ts';
import type { Storage } from './storage.ts';
import { keyOf, type WatchCache } from './watch-cache.ts';

interface Continue {
  readonly v: 'meta.k8s.io/v1';
  readonly rv: number;
  /** Key of the last object that was sent. */
  readonly after: string;
}

/** Throws a 400, a 410 for a continue token or an exact version that is too old, a 504 for a version that is not there yet. */
export function listResponse(request: ResourceRequest, storage: Storage, cache: WatchCache): object {
  const { resource, query } = request;
  const token = parseContinue(query.get('continue') ?? '');
  const revision = token?.rv ?? exactRevision(query, storage.revision) ?? storage.revision;
  const name = qualified(resource);
  const all = cache.at(name, keyPrefix(request), revision);
  if (all === 'expired')
    throw token === undefined
      ? expired(`The resourceVersion for the provided list is too old.`)
      : expired(
          'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.',
        );
  const matching = all.filter((object) => request.selector.matches(object));
  const rest = token === undefined ? matching : matching.filter((object) => keyOf(name, object) > token.after);
  const limit = parseCount(query, 'limit');
  const items = limit === 0 ? rest : rest.slice(0, limit);
  const last = items.at(-1);
  const more =
    rest.length > items.length && last !== undefined
      ? { continue: encode({ v: 'meta.k8s.io/v1', rv: revision, after: keyOf(name, last) }) }
      : {};
  // The real server counts the remaining objects only where no selector hides some.
  const unselected = !query.get('fieldSelector') && !query.get('labelSelector');
  const remaining = 'continue' in more && unselected ? { remainingItemCount: rest.length - items.length } : {};
  return listOf(request, items, { resourceVersion: String(revision), ...more, ...remaining });
}

export function listOf(request: ResourceRequest, items: readonly KubeObject[], metadata: object): object {
  // As from the real server, the items of a list do not say what they are.
  const untyped = items.map(({ kind: _, apiVersion: __, ...object }) => object);
  return { kind: `${request.resource.kind}List`, apiVersion: apiVersionOf(request.resource), metadata, items: untyped };
}

/** Keys of what a list or watch looks at. */
export function keyPrefix(request: ResourceRequest): string {
  const name = qualified(request.resource);
  return request.namespace === '' ? `${name}/` : `${name}/${request.namespace}/`;
}

/** Throws a 400 for a number that is none. */
export function parseCount(query: URLSearchParams, parameter: string): number {
  const text = query.get(parameter) ?? '';
  if (text === '') return 0;
  if (!/^\d+$/.test(text)) throw badRequest(`${parameter}=${text}: expected a number`);
  return Number(text);
}

function exactRevision(query: URLSearchParams, current: number): number | undefined {
  const asked = parseCount(query, 'resourceVersion');
  if (asked > current)
    throw new ApiError(504, 'Timeout', `Too large resource version: ${asked}, current: ${current}`, {
      retryAfterSeconds: 1,
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    });
  return query.get('resourceVersionMatch') === 'Exact' ? asked : undefined;
}

function encode(token: Continue): string {
  return Buffer.from(JSON.stringify(token)).toString('base64url');
}

function parseContinue(text: string): Continue | undefined {
  if (text === '') return undefined;
  try {
    const token = JSON.parse(Buffer.from(text, 'base64url').toString('utf8')) as Partial<Continue>;
    if (typeof token.rv === 'number' && typeof token.after === 'string') return { v: 'meta.k8s.io/v1', rv: token.rv, after: token.after };
  } catch {
    // Falls through to the one answer for every bad token.
  }
  throw badRequest('continue key is not valid');
}
