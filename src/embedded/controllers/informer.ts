/**
 * A list kept current by a watch, for as long as the program runs: every way in which a watch can end leads to another one from where it
 * ended, or to another list after 410. While the API server is away the last known objects stay.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeObject } from '../apiserver/objects.ts';
import { AnswerError, type ApiClient } from './client.ts';

export interface Informer {
  /** Objects as last known; empty until `synced`. */
  objects(): readonly KubeObject[];
  synced(): boolean;
  /** Takes in an answer to a write, so that the next look does not miss what was just done. */
  absorb(object: KubeObject): void;
  /** Takes in an object's removal. */
  forget(object: KubeObject): void;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 1000;
const WATCH_SECONDS = 300;

interface Known {
  readonly revision: number;
  /** Undefined once it is gone: an older event must not bring it back. */
  readonly object: KubeObject | undefined;
}

/** Starts at once and runs until the signal. `onChange` is called after every change of the objects. */
export function startInformer(client: ApiClient, path: string, onChange: () => void, signal: AbortSignal): Informer {
  let known = new Map<string, Known>();
  let synced = false;
  let resume: string | undefined;

  const take = (object: KubeObject, gone: boolean) => {
    const revision = Number(object.metadata.resourceVersion ?? 0);
    const key = keyOf(object);
    if (revision <= (known.get(key)?.revision ?? -1)) return;
    known.set(key, { revision, object: gone ? undefined : object });
    onChange();
  };
  const list = async () => {
    const answer = (await client.request('GET', path, undefined, { signal })) as {
      kind: string;
      apiVersion: string;
      metadata: { resourceVersion: string };
      items: KubeObject[];
    };
    const kind = answer.kind.replace(/List$/, '');
    const items = answer.items.map((item) => ({ ...item, apiVersion: answer.apiVersion, kind }));
    known = new Map(items.map((object) => [keyOf(object), { revision: Number(object.metadata.resourceVersion), object }]));
    resume = answer.metadata.resourceVersion;
    synced = true;
    onChange();
  };
  const watch = async (from: string) => {
    const query = `watch=true&allowWatchBookmarks=true&timeoutSeconds=${WATCH_SECONDS}&resourceVersion=${from}`;
    const onEvent = (type: string, object: KubeObject) => {
      if (type === 'ERROR') {
        resume = undefined;
        return;
      }
      resume = object.metadata.resourceVersion ?? resume;
      if (type !== 'BOOKMARK') take(object, type === 'DELETED');
    };
    await client.watch(`${path}${path.includes('?') ? '&' : '?'}${query}`, (event) => onEvent(event.type, event.object), signal);
  };
  const run = async () => {
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        if (resume === undefined) await list();
        else await watch(resume);
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof AnswerError && error.code === 410) resume = undefined;
        await delay(retryMs, undefined, { signal }).catch(() => {});
        retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
      }
    }
  };
  void run();
  return {
    objects: () => [...known.values()].flatMap(({ object }) => (object === undefined ? [] : [object])),
    synced: () => synced,
    absorb: (object) => take(object, false),
    forget: (object) => take(object, true),
  };
}

function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace ?? ''}/${object.metadata.name}`;
}
