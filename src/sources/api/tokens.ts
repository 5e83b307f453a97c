/**
 * Service account tokens for the copies of marked pods, requested as the kubelet requests them: bound to the pod, with the audience and the lifetime
 * that its projected volume asks for. Guarantees:
 *  1. a token is asked for once, and again before 80 % of its life are over; between that nothing is asked;
 *  2. while a new one cannot be had the old one is kept to its end, and not a moment longer;
 *  3. an answer that holds no token, or none with a time to live, is a failure like others: asked for again after a while, each time a longer one;
 *  4. a token is never in a log line.
 */
import type { Logger } from 'pino';
import type { ObjectState, Token, TokenRef } from '../../checkpoint/copy-types.ts';
import { objectKey } from '../../checkpoint/references.ts';
import type { Answer } from './answer.ts';
import type { ApiClient } from './client.ts';
import { backoff, sleep, type Timing } from './timing.ts';
import { type Clocks, type Held, held, heldFromStore, untilEnd, untilRenewal } from './token-times.ts';

export interface TokensOptions {
  readonly client: ApiClient;
  onChange(): void;
  /** Awaited before another attempt after a failure: while the API server is away, one watch (that of the pods) looks for its return. */
  gate(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  readonly random: () => number;
  /** Milliseconds since the epoch: a token ends at a time of day. */
  readonly wallClock: () => number;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** Tokens that are in the store already, by objectKey. */
  readonly known: ReadonlyMap<string, Token>;
  readonly log: Logger;
}

export interface Tokens {
  /** Asks for the tokens that are missing and forgets those that are no longer named. */
  follow(refs: readonly TokenRef[]): void;
  state(ref: TokenRef): ObjectState<Token> | undefined;
  stop(): Promise<void>;
}

/** The longest time without a look at the clock, which may be set, or stand still while the machine sleeps. */
const LOOK_AGAIN = 60_000;
const SLOWEST_RETRY = 60_000;

interface Entry {
  state: ObjectState<Token>;
  held: Held | undefined;
}

interface Followed extends Entry {
  readonly ending: AbortController;
  readonly ended: Promise<void>;
}

export function createTokens(options: TokensOptions): Tokens {
  const { client, timing, random, wallClock, log } = options;
  const followed = new Map<string, Followed>();
  const ending = new Set<Promise<void>>();

  const clocks = (): Clocks => ({ wall: wallClock(), monotonic: options.now() });
  /** Each counts once: after that there is a newer one, or none that is wanted. */
  const known = new Map(options.known);

  function start(key: string, ref: TokenRef): Followed {
    const stored = known.get(key);
    known.delete(key);
    const ours = stored === undefined ? undefined : heldFromStore(stored, ref.expirationSeconds, clocks());
    const ending = new AbortController();
    const entry: Followed = {
      state: ours === undefined ? { state: 'unknown', detail: 'not requested yet' } : { state: 'present', object: ours.token },
      held: ours,
      ending,
      ended: Promise.resolve(),
    };
    return Object.assign(entry, { ended: keep(ref, entry, ending.signal) });
  }

  async function keep(ref: TokenRef, entry: Entry, signal: AbortSignal): Promise<void> {
    // The caller gets its entry first.
    await Promise.resolve();
    let failures = 0;
    while (!signal.aborted) {
      const left = entry.held === undefined ? 0 : untilRenewal(entry.held, clocks());
      if (left > 0) {
        await sleep(Math.min(left, LOOK_AGAIN), signal);
        continue;
      }
      const answer = await request(client, ref, signal, timing);
      if (signal.aborted) return;
      const granted = answer.kind === 'ok' ? heldOf(answer.body, ref, clocks(), random()) : undefined;
      if (granted !== undefined) {
        failures = 0;
        entry.held = granted;
        publish(entry, { state: 'present', object: granted.token });
        log.info({ ...about(ref), expiresAt: granted.token.expiresAt }, 'token of a service account');
        continue;
      }
      failures += 1;
      const state = failureOf(answer);
      if (failures === 1) log.warn({ ...about(ref), ...state }, 'no token of a service account');
      const life = entry.held === undefined ? 0 : untilEnd(entry.held, clocks());
      if (life <= 0) {
        entry.held = undefined;
        publish(entry, state);
      }
      const delay = backoff(failures, { ...timing, maxDelay: Math.max(timing.maxDelay, SLOWEST_RETRY) }, random());
      // A token that ends while another is waited for ends in time.
      await sleep(life > 0 ? Math.max(1, Math.min(delay, life)) : delay, signal);
      if (await options.gate(signal)) failures = 0;
    }
  }

  function publish(entry: Entry, state: ObjectState<Token>): void {
    const same = entry.state.state === state.state && state.state !== 'present';
    entry.state = state;
    if (!same) options.onChange();
  }

  function end(key: string, entry: Followed): void {
    followed.delete(key);
    entry.ending.abort();
    const ended = entry.ended.finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    follow(refs) {
      const wanted = new Map(refs.map((ref) => [objectKey(ref), ref]));
      for (const [key, entry] of [...followed]) if (!wanted.has(key)) end(key, entry);
      for (const [key, ref] of wanted) if (!followed.has(key)) followed.set(key, start(key, ref));
    },
    state: (ref) => followed.get(objectKey(ref))?.state,
    async stop() {
      for (const [key, entry] of [...followed]) end(key, entry);
      await Promise.all(ending);
    },
  };
}

function about(ref: TokenRef) {
  return { namespace: ref.namespace, serviceAccount: ref.name, audience: ref.audience, pod: ref.pod.name };
}

function request(client: ApiClient, ref: TokenRef, signal: AbortSignal, timing: Timing): Promise<Answer<unknown>> {
  const path = `/api/v1/namespaces/${encodeURIComponent(ref.namespace)}/serviceaccounts/${encodeURIComponent(ref.name)}/token`;
  const body = {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenRequest',
    spec: {
      audiences: ref.audience === '' ? [] : [ref.audience],
      expirationSeconds: ref.expirationSeconds,
      boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name: ref.pod.name, uid: ref.pod.uid },
    },
  };
  return client.post(path, body, { signal, headTimeoutMs: timing.headTimeout, bodyTimeoutMs: timing.bodyTimeout });
}

interface TokenAnswer {
  readonly spec?: { readonly expirationSeconds?: number };
  readonly status?: { readonly token?: string; readonly expirationTimestamp?: string };
}

/** Undefined: not a token, or one without a life. */
function heldOf(body: unknown, ref: TokenRef, clocks: Clocks, random: number): Held | undefined {
  const { spec, status } = (body ?? {}) as TokenAnswer;
  const { token, expirationTimestamp } = status ?? {};
  if (typeof token !== 'string' || token === '' || typeof expirationTimestamp !== 'string') return undefined;
  return held({ token, expirationTimestamp, expirationSeconds: spec?.expirationSeconds }, ref.expirationSeconds, clocks, random);
}

function failureOf(answer: Answer<unknown>): ObjectState<Token> {
  switch (answer.kind) {
    case 'denied':
      return { state: 'denied', detail: `${answer.detail}; needed: create on serviceaccounts/token` };
    case 'status':
      return answer.status === 404 ? { state: 'absent' } : { state: 'unknown', detail: answer.detail };
    case 'unreachable':
      return { state: 'unknown', detail: answer.detail };
    case 'ok':
      return { state: 'unknown', detail: 'the answer holds no token, or none with a time to live' };
  }
}
