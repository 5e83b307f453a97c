/** Answers to watches: one JSON event a line, for as long as the client or the timeout lets it. */
import type { ServerResponse } from 'node:http';
import { keyPrefix, parseCount } from './lists.ts';
import type { KubeObject } from './objects.ts';
import type { ResourceRequest } from './request.ts';
import { apiVersionOf } from './resources.ts';
import { expired, qualified } from './status.ts';
import type { Change, Storage } from './storage.ts';
import type { WatchCache } from './watch-cache.ts';

export interface WatchTiming {
  readonly bookmarkIntervalMs: number;
  /** How long a watch lasts that does not say. */
  readonly minTimeoutMs: number;
}

/** Writes the watch to the response; returns when the first events are written, the rest follows until the response is closed. */
export function startWatch(
  request: ResourceRequest,
  response: ServerResponse,
  storage: Storage,
  cache: WatchCache,
  timing: WatchTiming,
  silenced: () => boolean,
): void {
  const { query } = request;
  const resource = qualified(request.resource);
  const asked = parseCount(query, 'resourceVersion');
  const initial = query.get('sendInitialEvents') === 'true' || (asked === 0 && query.get('sendInitialEvents') !== 'false');
  const timeoutMs = parseCount(query, 'timeoutSeconds') * 1000 || timing.minTimeoutMs;
  const bookmarks = query.get('allowWatchBookmarks') === 'true';
  response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-cache, private' });
  response.flushHeaders();
  let held = '';
  const send = (type: string, object: object) => {
    held += `${JSON.stringify({ type, object })}\n`;
    // The server ends watches when it stops, and changes may still come then.
    if (silenced() || response.writableEnded || response.destroyed) return;
    response.write(held);
    held = '';
  };

  const prefix = keyPrefix(request);
  const deliver = (change: Change) => {
    if (!change.key.startsWith(prefix)) return;
    const event = eventFor(change, (object) => request.selector.matches(object));
    if (event !== undefined) send(event.type, event.object);
  };
  const missed = initial ? [] : cache.since(resource, asked || storage.revision);
  if (missed === 'expired') {
    // Past authorization the real server too reports this as an event, not as the answer's status.
    send('ERROR', expired(`too old resource version: ${asked} (${cache.floor(resource)})`).status());
    response.end();
    return;
  }
  if (initial) for (const object of storage.list(prefix)) if (request.selector.matches(object)) send('ADDED', object);
  if (initial && bookmarks && query.get('sendInitialEvents') === 'true')
    send('BOOKMARK', bookmark(request, storage.revision, { 'k8s.io/initial-events-end': 'true' }));
  missed.forEach(deliver);

  const unsubscribe = cache.subscribe(resource, deliver);
  const sendBookmark = () => send('BOOKMARK', bookmark(request, storage.revision));
  const ticking = bookmarks ? setInterval(sendBookmark, timing.bookmarkIntervalMs) : undefined;
  const ending = setTimeout(() => {
    if (bookmarks) sendBookmark();
    response.end();
  }, timeoutMs);
  response.on('close', () => {
    unsubscribe();
    clearInterval(ticking);
    clearTimeout(ending);
  });
}

interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
}

/** An object that begins to match is ADDED, one that no longer does is DELETED, whatever happened to it in the store. */
function eventFor(change: Change, matches: (object: KubeObject) => boolean): WatchEvent | undefined {
  const { object, previous } = change;
  const before = previous !== undefined && matches(previous);
  const after = object !== undefined && matches(object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', object };
  if (!before) return undefined;
  // The last state as it was, with the revision of its going.
  return { type: 'DELETED', object: { ...previous, metadata: { ...previous.metadata, resourceVersion: String(change.revision) } } };
}

function bookmark(request: ResourceRequest, revision: number, annotations?: Record<string, string>): object {
  return {
    kind: request.resource.kind,
    apiVersion: apiVersionOf(request.resource),
    metadata: { resourceVersion: String(revision), creationTimestamp: null, ...(annotations === undefined ? {} : { annotations }) },
  };
}
