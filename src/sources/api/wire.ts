/** The shapes of list and watch answers, checked as far as the reflector relies on them. */

interface Meta {
  readonly uid: string;
  readonly resourceVersion: string;
}

export interface ListPage<T> {
  /** With their uids. */
  readonly items: readonly (readonly [string, T])[];
  readonly resourceVersion: string;
  /** Token of the next page; undefined on the last. */
  readonly continue: string | undefined;
}

export type WatchEvent<T> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T; readonly uid: string; readonly resourceVersion: string }
  | { readonly type: 'BOOKMARK'; readonly resourceVersion: string }
  /** `code` is the HTTP status that the server would have given, `status` its Status object. */
  | { readonly type: 'ERROR'; readonly code: number; readonly status: unknown };

/** Undefined: not a list. */
export function listPage<T>(body: unknown): ListPage<T> | undefined {
  const list = fields(body);
  const meta = fields(list['metadata']);
  const items = list['items'];
  // An empty list of an API server written in Go may have `items: null`.
  if (!(Array.isArray(items) || items === null) || typeof meta['resourceVersion'] !== 'string') return undefined;
  const found: (readonly [string, T])[] = [];
  for (const item of items ?? []) {
    const itemMeta = metaOf(item);
    if (itemMeta === undefined) return undefined;
    found.push([itemMeta.uid, item as T]);
  }
  const token = meta['continue'];
  return {
    items: found,
    resourceVersion: meta['resourceVersion'],
    continue: typeof token === 'string' && token !== '' ? token : undefined,
  };
}

/** Undefined: not an event. */
export function watchEvent<T>(line: unknown): WatchEvent<T> | undefined {
  const { type, object } = fields(line);
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED': {
      const meta = metaOf(object);
      return meta === undefined ? undefined : { type, object: object as T, uid: meta.uid, resourceVersion: meta.resourceVersion };
    }
    case 'BOOKMARK': {
      const version = fields(fields(object)['metadata'])['resourceVersion'];
      return typeof version === 'string' ? { type, resourceVersion: version } : undefined;
    }
    case 'ERROR': {
      const code = fields(object)['code'];
      return { type, code: typeof code === 'number' ? code : 500, status: object };
    }
    default:
      return undefined;
  }
}

function metaOf(object: unknown): Meta | undefined {
  const { uid, resourceVersion } = fields(fields(object)['metadata']);
  return typeof uid === 'string' && uid !== '' && typeof resourceVersion === 'string' ? { uid, resourceVersion } : undefined;
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
