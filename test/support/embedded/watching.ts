/** A watch whose events are collected. */
import type { ApiClient, WatchEvent } from '../../../src/embedded/controllers/client.ts';
import { until } from '../until.ts';

export interface Watching {
  readonly events: readonly WatchEvent[];
  /** Waits for so many events, bookmarks not counted, and shows them as `TYPE name`. */
  changes(count: number): Promise<string[]>;
  /** Resolves when the server ends the watch, rejects when the connection breaks. */
  readonly ended: Promise<void>;
  stop(): void;
}

export function startWatching(client: ApiClient, path: string): Watching {
  const events: WatchEvent[] = [];
  const abort = new AbortController();
  const ended = client.watch(`${path}${path.includes('?') ? '&' : '?'}watch=true`, (event) => events.push(event), abort.signal);
  ended.catch(() => {});
  const changes = () => events.filter((event) => event.type !== 'BOOKMARK').map((event) => `${event.type} ${event.object.metadata.name}`);
  return {
    events,
    changes: (count) => until(() => (changes().length >= count ? changes() : undefined)),
    ended,
    stop: () => abort.abort(),
  };
}
