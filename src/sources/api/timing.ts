/** Durations of the API source, in milliseconds, and when to try again. */
import { setTimeout as sleepFor } from 'node:timers/promises';
import type { Denied, Refused, Unreachable } from './answer.ts';

export interface Timing {
  /** Until the head of an answer. */
  readonly headTimeout: number;
  /** Until the whole of a list. */
  readonly bodyTimeout: number;
  /** How long the server is asked to keep a watch open: between these two, so that watches do not all end together. */
  readonly watchFrom: number;
  readonly watchTo: number;
  /** Bookmarks come about once a minute: a watch without event and bookmark for this long makes us ask /readyz. */
  readonly silentAfter: number;
  /** Without event and bookmark for this long, the watch is replaced although the server answers. */
  readonly replaceAfter: number;
  /** Between attempts while the connection is refused: the server is not running, asking costs little, and its return must be noticed at once. */
  readonly refusedDelay: number;
  /** The same when it was refused `refusedOften` times in a row: a server that is away for minutes may be noticed a little later. */
  readonly refusedOften: number;
  readonly refusedLongDelay: number;
  /** Otherwise the delay doubles from `firstDelay` to `maxDelay`. */
  readonly firstDelay: number;
  readonly maxDelay: number;
}

export const TIMING: Timing = {
  headTimeout: 5_000,
  bodyTimeout: 30_000,
  watchFrom: 300_000,
  watchTo: 600_000,
  silentAfter: 75_000,
  replaceAfter: 180_000,
  refusedDelay: 250,
  refusedOften: 480,
  refusedLongDelay: 1_000,
  firstDelay: 250,
  maxDelay: 5_000,
};

export type Failure = Unreachable | Denied | Refused;

/** A run of failures of one sort. A server that comes up goes from refused to 5xx to ok: each sort starts its delays anew. */
export interface Failures {
  readonly sort: string;
  readonly count: number;
}

export const NO_FAILURES: Failures = { sort: '', count: 0 };

export function countFailure(failures: Failures, failure: Failure): Failures {
  const sort = failure.kind === 'unreachable' ? failure.cause : `${failure.kind} ${failure.status}`;
  return { sort, count: failures.sort === sort ? failures.count + 1 : 1 };
}

/**
 * Milliseconds to wait after a failure. What Retry-After asks for is kept to (up to a minute, lest one answer silences us for a day).
 * @param count failures of this sort in a row, from 1
 * @param random from 0 up to 1
 */
export function retryDelay(failure: Failure, count: number, timing: Timing, random: number): number {
  if (failure.kind === 'unreachable') {
    if (failure.cause === 'refused') return count > timing.refusedOften ? timing.refusedLongDelay : timing.refusedDelay;
    if (failure.retryAfter !== undefined) return Math.min(failure.retryAfter, 60_000) + random * timing.firstDelay;
  }
  return backoff(count, timing, random);
}

/** Doubles, with jitter: between half of it and all of it, so that many nodes do not ask in step. */
export function backoff(count: number, timing: Timing, random: number): number {
  const full = Math.min(timing.firstDelay * 2 ** Math.min(count - 1, 20), timing.maxDelay);
  return full * (0.5 + random / 2);
}

/** Seconds for timeoutSeconds of a watch. */
export function watchSeconds(timing: Timing, random: number): number {
  return Math.max(1, Math.round((timing.watchFrom + random * (timing.watchTo - timing.watchFrom)) / 1000));
}

/** Resolves after the time, or at once when the signal is aborted. */
export async function sleep(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleepFor(ms, undefined, { signal });
  } catch {
    // Aborted: the caller looks at its signal.
  }
}
