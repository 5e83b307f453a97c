/**
 * Keeps one collection as the API server has it: LIST once, then WATCH, and from then on WATCH again from the last resourceVersion for as long as
 * the server knows it. Guarantees:
 *  1. objects are kept by uid: one that is deleted and made again under its name is another object, also where both events were missed;
 *  2. the state is `ok` only while a list or an opened watch stands behind the objects;
 *  3. a new LIST is made only after 410 Gone (the server no longer knows what happened since), after an answer that cannot be read, and after
 *     two watches in a row that stayed silent;
 *  4. whatever the subscriber does, the watch goes on.
 */
import type { V1ObjectMeta } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ApiState } from '../../checkpoint/model.ts';
import { classify, type Refused, unreachable } from './answer.ts';
import type { ApiClient } from './client.ts';
import { backoff, countFailure, type Failure, NO_FAILURES, retryDelay, sleep, type Timing, watchSeconds } from './timing.ts';
import { listPage, type WatchEvent, watchEvent } from './wire.ts';

export interface Watched {
  metadata?: V1ObjectMeta;
}

export interface Collection<T> {
  readonly state: ApiState;
  /** By uid; as last read, current only while the state is ok. */
  readonly objects: ReadonlyMap<string, T>;
}

export interface ReflectorOptions<T extends Watched> {
  readonly client: ApiClient;
  /** `/api/v1/pods`, `/api/v1/namespaces/kube-system/secrets`. */
  readonly path: string;
  /** Empty: all of them. */
  readonly fieldSelector: string;
  readonly labelSelector?: string;
  /** What is kept of an object. */
  keep(object: T): T;
  /** The collection is another one than before. */
  onChange(): void;
  /** The state changed; for the log. */
  onState(state: ApiState): void;
  /** Awaited before another attempt after a failure; true when it had to wait, which starts the delays anew. */
  gate?(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  readonly log: Logger;
}

export interface Reflector<T> {
  collection(): Collection<T>;
  /** The server was seen to be away by other means: ends the watch that is open, as failed. */
  interrupt(failure: Failure): void;
  /** Ends the watch; resolves when nothing of it is left. */
  stop(): Promise<void>;
}

/** How an attempt to watch ended. `lost`: after it was open, so the next attempt can follow at once. */
type WatchOutcome =
  | { readonly kind: 'over'; readonly heard: boolean }
  | { readonly kind: 'expired' }
  | { readonly kind: 'silent' }
  | { readonly kind: 'failed'; readonly failure: Failure };

const PAGE_SIZE = '500';

export function startReflector<T extends Watched>(options: ReflectorOptions<T>): Reflector<T> {
  const { client, timing, random, now, log } = options;
  const selectors = {
    ...(options.fieldSelector !== '' && { fieldSelector: options.fieldSelector }),
    ...(options.labelSelector !== undefined && { labelSelector: options.labelSelector }),
  };
  const stopped = new AbortController();
  let objects = new Map<string, T>();
  let current: Collection<T> = { state: { state: 'unknown' }, objects: new Map() };
  /** Where the next watch begins; undefined: a LIST comes first. */
  let version: string | undefined;
  let interrupt: (failure: Failure) => void = () => undefined;

  function publish(state: ApiState, changed: boolean): void {
    const sameState = state.state === current.state.state;
    current = { state, objects: changed ? new Map(objects) : current.objects };
    if (sameState && !changed) return;
    if (!sameState) call(() => options.onState(state));
    call(options.onChange);
  }

  function call(subscriber: () => void): void {
    try {
      subscriber();
    } catch (error) {
      log.error({ err: error, path: options.path, ...selectors }, 'a subscriber of the watch failed; the watch goes on');
    }
  }

  async function list(signal: AbortSignal): Promise<Failure | undefined> {
    const found = new Map<string, T>();
    let token: string | undefined;
    for (;;) {
      // No resourceVersion: the newest there is, not what a cache of one of several API servers remembers.
      const query = { ...selectors, limit: PAGE_SIZE, ...(token !== undefined && { continue: token }) };
      const answer = await client.get(options.path, {
        query,
        signal,
        headTimeoutMs: timing.headTimeout,
        bodyTimeoutMs: timing.bodyTimeout,
      });
      if (answer.kind !== 'ok') return answer;
      const page = listPage<T>(answer.body);
      if (page === undefined) return unreachable('unreadable', `${client.server}: the answer for ${options.path} is not a list`);
      for (const [uid, object] of page.items) found.set(uid, options.keep(object));
      token = page.continue;
      if (token !== undefined) continue;
      version = page.resourceVersion;
      const changed = found.size > 0 || objects.size > 0;
      objects = found;
      publish({ state: 'ok' }, changed);
      return undefined;
    }
  }

  function apply(event: Exclude<WatchEvent<T>, { type: 'ERROR' }>): void {
    version = event.resourceVersion;
    if (event.type === 'BOOKMARK') return;
    if (event.type === 'DELETED') {
      if (objects.delete(event.uid)) publish(current.state, true);
      return;
    }
    const meta = event.object.metadata;
    for (const [uid, other] of objects) {
      const sameName = other.metadata?.name === meta?.name && other.metadata?.namespace === meta?.namespace;
      if (sameName && uid !== event.uid) objects.delete(uid);
    }
    objects.set(event.uid, options.keep(event.object));
    publish(current.state, true);
  }

  async function watch(from: string, signal: AbortSignal): Promise<WatchOutcome> {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    signal.addEventListener('abort', abort);
    let heardAt = now();
    let open = false;
    let heard = false;
    let outcome: WatchOutcome | undefined;
    const finish = (why: WatchOutcome) => {
      outcome ??= why;
      attempt.abort();
    };
    interrupt = (failure) => finish({ kind: 'failed', failure });
    const watching = client.watch(options.path, {
      query: {
        ...selectors,
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion: from,
        timeoutSeconds: String(watchSeconds(timing, random())),
      },
      signal: attempt.signal,
      headTimeoutMs: timing.headTimeout,
      onOpen() {
        open = true;
        heardAt = now();
        publish({ state: 'ok' }, false);
      },
      onEvent(line) {
        if (outcome !== undefined) return;
        heardAt = now();
        const event = watchEvent<T>(line);
        if (event === undefined) {
          finish({
            kind: 'failed',
            failure: unreachable('unreadable', `${client.server}: the watch of ${options.path} sent what is no event`),
          });
        } else if (event.type === 'ERROR') {
          const failure = classify(event.code, `the watch of ${options.path}`, event.status, undefined);
          finish(isExpired(failure) ? { kind: 'expired' } : { kind: 'failed', failure });
        } else {
          heard = true;
          apply(event);
        }
      },
    });
    const listening = listenForSilence(attempt.signal, () => heardAt).then((silence) => {
      if (silence !== undefined) finish(silence);
    });
    try {
      const end = await watching;
      if (outcome !== undefined) return outcome;
      if (end.kind === 'ended') return { kind: 'over', heard };
      if (isExpired(end)) return { kind: 'expired' };
      // A stream that breaks may be an API server that ends, or a load balancer that is tired of it: the next attempt tells.
      return open && end.kind === 'unreachable' && end.cause !== 'unreadable' ? { kind: 'over', heard } : { kind: 'failed', failure: end };
    } finally {
      attempt.abort();
      signal.removeEventListener('abort', abort);
      await listening;
    }
  }

  /**
   * A watch whose server or network died without a reset looks like a quiet one. Bookmarks tell them apart, and /readyz tells at once.
   * Undefined: the watch ended meanwhile.
   */
  async function listenForSilence(signal: AbortSignal, heardAt: () => number): Promise<WatchOutcome | undefined> {
    let askAt = timing.silentAfter;
    for (;;) {
      const silent = now() - heardAt();
      if (silent < timing.silentAfter) askAt = timing.silentAfter;
      if (silent >= timing.replaceAfter) return { kind: 'silent' };
      if (silent >= askAt) {
        const answer = await client.probe('/readyz', { signal, headTimeoutMs: timing.headTimeout, bodyTimeoutMs: timing.headTimeout });
        if (signal.aborted) return undefined;
        // Whoever denies answers; the watch that is denied says so itself.
        if (answer.kind === 'unreachable') return { kind: 'failed', failure: answer };
        askAt += timing.silentAfter;
        continue;
      }
      await sleep(Math.min(askAt, timing.replaceAfter) - silent, signal);
      if (signal.aborted) return undefined;
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    let failures = NO_FAILURES;
    /** Watches in a row that ended at once and brought nothing: a server that sends us away like that is not asked in a tight loop. */
    let fruitless = 0;
    let silences = 0;
    while (!signal.aborted) {
      const startedAt = now();
      const outcome = version === undefined ? await listed(signal) : await watch(version, signal);
      if (signal.aborted) return;
      switch (outcome.kind) {
        case 'listed':
          failures = NO_FAILURES;
          break;
        case 'over':
        case 'expired':
        case 'silent': {
          failures = NO_FAILURES;
          silences = outcome.kind === 'silent' ? silences + 1 : 0;
          if (outcome.kind === 'expired' || silences > 1) version = undefined;
          const fruitful = outcome.kind === 'silent' || (outcome.kind === 'over' && (outcome.heard || now() - startedAt > 1_000));
          fruitless = fruitful ? 0 : fruitless + 1;
          if (fruitless > 1) await sleep(backoff(fruitless - 1, timing, random()), signal);
          break;
        }
        case 'failed': {
          failures = countFailure(failures, outcome.failure);
          if (outcome.failure.kind === 'unreachable' && outcome.failure.cause === 'unreadable') version = undefined;
          publish(stateOf(outcome.failure), false);
          await sleep(retryDelay(outcome.failure, failures.count, timing, random()), signal);
          break;
        }
      }
      // Only who was refused waits. A watch that merely ended asks once more: what it read last would else count for as long as the API server is away.
      if (outcome.kind === 'failed' && (await options.gate?.(signal)) === true) failures = NO_FAILURES;
    }
  }

  async function listed(
    signal: AbortSignal,
  ): Promise<{ readonly kind: 'listed' } | { readonly kind: 'failed'; readonly failure: Failure }> {
    const failure = await list(signal);
    return failure === undefined ? { kind: 'listed' } : { kind: 'failed', failure };
  }

  const running = run(stopped.signal);
  return {
    collection: () => current,
    interrupt: (failure) => interrupt(failure),
    async stop() {
      stopped.abort();
      await running;
    },
  };
}

function isExpired(failure: { readonly kind: string }): boolean {
  return failure.kind === 'status' && (failure as Refused).status === 410;
}

/** A status that no API server gives to a list or watch of a core resource (404, 400) is not its answer: something else listens there. */
function stateOf(failure: Failure): ApiState {
  return failure.kind === 'denied' ? { state: 'denied', detail: failure.detail } : { state: 'unreachable', detail: failure.detail };
}
