/**
 * Service account tokens for the copies of marked pods, requested as the kubelet requests them: bound to the pod, with the audience and the lifetime
 * that its projected volume asks for. Guarantees:
 *  1. a token is asked for once, and again before 80 % of its life are over; between that nothing is asked;
 *  2. while a new one cannot be had the old one is kept to its end, and not a moment longer;
 *  3. a token is never in a log line.
 */
import type { Logger } from 'pino';
import type { ObjectState, Token, TokenRef } from '../../checkpoint/copy-types.ts';
import { objectKey } from '../../checkpoint/references.ts';
import type { Answer } from './answer.ts';
import type { ApiClient } from './client.ts';
import { backoff, sleep, type Timing } from './timing.ts';

export interface TokensOptions {
  readonly client: ApiClient;
  onChange(): void;
  /** Awaited before another attempt after a failure: while the API server is away, one watch (that of the pods) looks for its return. */
  gate(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  readonly random: () => number;
  /** Milliseconds since the epoch: a token ends at a time of day. */
  readonly wallClock: () => number;
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

/** A token is renewed between these parts of its life: not all at once, and with time left before 80 % to store what they are in. */
const RENEW_FROM = 0.7;
const RENEW_TO = 0.78;
/** The longest time without a look at the clock, which may be set, or stand still while the machine sleeps. */
const LOOK_AGAIN = 60_000;
const SLOWEST_RETRY = 60_000;

interface Followed {
  state: ObjectState<Token>;
  readonly ending: AbortController;
  readonly ended: Promise<void>;
}

export function createTokens(options: TokensOptions): Tokens {
  const { client, timing, random, wallClock, log } = options;
  const followed = new Map<string, Followed>();
  const ending = new Set<Promise<void>>();

  function start(key: string, ref: TokenRef): Followed {
    const token = options.known.get(key);
    const fresh = token !== undefined && wallClock() < Date.parse(token.expiresAt);
    const ending = new AbortController();
    const entry = {
      state: (fresh ? { state: 'present', object: token } : { state: 'unknown', detail: 'not requested yet' }) as ObjectState<Token>,
      ending,
      ended: Promise.resolve(),
    };
    return Object.assign(entry, { ended: keep(ref, entry, ending.signal) });
  }

  async function keep(ref: TokenRef, entry: { state: ObjectState<Token> }, signal: AbortSignal): Promise<void> {
    // The caller gets its entry first.
    await Promise.resolve();
    let failures = 0;
    while (!signal.aborted) {
      const left = entry.state.state === 'present' ? Date.parse(entry.state.object.renewAt) - wallClock() : 0;
      if (left > 0) {
        await sleep(Math.min(left, LOOK_AGAIN), signal);
        continue;
      }
      const answer = await request(client, ref, signal, timing);
      if (signal.aborted) return;
      const token = answer.kind === 'ok' ? tokenOf(answer.body, ref, wallClock(), random()) : undefined;
      if (token !== undefined) {
        failures = 0;
        publish(entry, { state: 'present', object: token });
        log.info({ ...about(ref), expiresAt: token.expiresAt }, 'token of a service account');
        continue;
      }
      failures += 1;
      const state = failureOf(answer);
      if (failures === 1) log.warn({ ...about(ref), ...state }, 'no token of a service account');
      if (entry.state.state !== 'present' || wallClock() >= Date.parse(entry.state.object.expiresAt)) publish(entry, state);
      const delay = backoff(failures, { ...timing, maxDelay: Math.max(timing.maxDelay, SLOWEST_RETRY) }, random());
      await sleep(untilEnd(entry.state, delay), signal);
      if (await options.gate(signal)) failures = 0;
    }
  }

  /** A token that ends while others are waited for ends in time. */
  function untilEnd(state: ObjectState<Token>, delay: number): number {
    return state.state === 'present' ? Math.max(1, Math.min(delay, Date.parse(state.object.expiresAt) - wallClock())) : delay;
  }

  function publish(entry: { state: ObjectState<Token> }, state: ObjectState<Token>): void {
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

/** Undefined: not a token. */
function tokenOf(body: unknown, ref: TokenRef, now: number, random: number): Token | undefined {
  const { spec, status } = (body ?? {}) as TokenAnswer;
  const said = Date.parse(status?.expirationTimestamp ?? '');
  if (typeof status?.token !== 'string' || status.token === '' || Number.isNaN(said)) return undefined;
  // What was granted, by our own clock: that of the API server may be another one.
  const life = (spec?.expirationSeconds ?? ref.expirationSeconds) * 1000;
  const renewAt = now + life * (RENEW_FROM + random * (RENEW_TO - RENEW_FROM));
  return {
    token: status.token,
    renewAt: new Date(renewAt).toISOString(),
    expiresAt: new Date(Math.max(said, endOf(status.token) ?? 0)).toISOString(),
  };
}

/**
 * When the token itself says that it ends. For the audience of the API server, and the lifetime that every pod asks for by default, the API server
 * gives a year and speaks of an hour (--service-account-extend-token-expiration): after a long outage that matters.
 */
function endOf(token: string): number | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    const end = typeof claims === 'object' && claims !== null && 'exp' in claims ? Number(claims.exp) * 1000 : Number.NaN;
    return Number.isNaN(end) || end > 8.64e15 ? undefined : end;
  } catch {
    return undefined;
  }
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
      return { state: 'unknown', detail: 'the answer holds no token' };
  }
}
