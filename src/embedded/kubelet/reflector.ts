/** List and watch, as the kubelet's reflectors do it (client-go tools/cache/reflector.go). */
import { setTimeout as sleep } from 'node:timers/promises';
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import { type Log, messageOf } from '../log.ts';

export interface Listed {
  readonly metadata: { readonly uid?: string; readonly name: string; readonly namespace?: string; readonly resourceVersion?: string };
}

/** Milliseconds: the first pause after a failure, doubled up to the last. client-go has 800 ms and 30 s. */
export interface Retry {
  readonly first: number;
  readonly max: number;
}

/** Failures this far apart (ms) do not count as one series. */
const RETRY_RESET_MS = 120_000;

/**
 * Lists and watches until the signal aborts; `deliver` gets everything that there is, after the first answer and after each change. While the
 * server is away what was delivered last stands.
 */
export async function reflect<T extends Listed>(options: {
  readonly client: ApiClient;
  /** `/api/v1/pods` */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly deliver: (items: readonly T[]) => void;
  readonly retry: Retry;
  readonly signal: AbortSignal;
  readonly log: Log;
}): Promise<void> {
  const { client, path, query, deliver, retry, signal, log } = options;
  const items = new Map<string, T>();
  let pause = retry.first;
  let lastFailure = 0;
  let reported = '';
  const url = (more: Readonly<Record<string, string>>) => `${path}?${new URLSearchParams({ ...query, ...more })}`;
  const failed = async (error: unknown) => {
    if (signal.aborted) return;
    if (messageOf(error) !== reported) log(`reflector ${path}: ${messageOf(error)}`);
    reported = messageOf(error);
    if (Date.now() - lastFailure > RETRY_RESET_MS) pause = retry.first;
    lastFailure = Date.now();
    // Jitter as client-go's, so that not all clients come back at one moment.
    await sleep(pause * (1 + Math.random() / 4), undefined, { signal }).catch(() => {});
    pause = Math.min(pause * 2, retry.max);
  };

  while (!signal.aborted) {
    let version: string;
    try {
      const list = (await client.request('GET', url({}), undefined, { signal })) as { metadata: { resourceVersion: string }; items: T[] };
      items.clear();
      for (const item of list.items) items.set(keyOf(item), item);
      version = list.metadata.resourceVersion;
      reported = '';
      pause = retry.first;
      deliver([...items.values()]);
    } catch (error) {
      await failed(error);
      continue;
    }
    for (let watching = true; watching && !signal.aborted; ) {
      try {
        let expired = false;
        const timeout = String(300 + Math.floor(Math.random() * 300));
        await client.watch(
          url({ watch: 'true', allowWatchBookmarks: 'true', resourceVersion: version, timeoutSeconds: timeout }),
          (event) => {
            if (event.type === 'ERROR') {
              expired = true;
              return;
            }
            const item = event.object as unknown as T;
            version = item.metadata.resourceVersion ?? version;
            if (event.type === 'BOOKMARK') return;
            if (event.type === 'DELETED') items.delete(keyOf(item));
            else items.set(keyOf(item), item);
            deliver([...items.values()]);
          },
          signal,
        );
        if (expired) watching = false;
      } catch (error) {
        await failed(error);
        // Nobody listens: the watch goes on where it was once somebody does. Anything else is listed anew.
        watching = !(error instanceof AnswerError) && isRefused(error);
      }
    }
  }
}

function keyOf(item: Listed): string {
  return `${item.metadata.namespace ?? ''}/${item.metadata.name}`;
}

function isRefused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED';
}
