/**
 * Exponential back-off of the kubelet, by key (client-go util/flowcontrol): the first time waits for nothing, then `base`, doubling up to `max`;
 * forgotten when the last failure is more than twice `max` ago. Times and durations in milliseconds.
 */
export class Backoff {
  readonly #base: number;
  readonly #max: number;
  readonly #entries = new Map<string, { delay: number; updatedAt: number }>();

  constructor(base: number, max: number) {
    this.#base = base;
    this.#max = max;
  }

  /** How long from `now` until something that failed at `failedAt` may be tried again; 0 when it may. */
  remaining(key: string, failedAt: number, now: number): number {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#expired(entry, failedAt)) return 0;
    return Math.max(0, failedAt + entry.delay - now);
  }

  /** The current delay, for messages. */
  delay(key: string): number {
    return this.#entries.get(key)?.delay ?? 0;
  }

  /** To be called when it is tried again after a failure at `failedAt`. */
  next(key: string, failedAt: number, now: number): void {
    const entry = this.#entries.get(key);
    const delay = entry === undefined || this.#expired(entry, failedAt) ? this.#base : Math.min(entry.delay * 2, this.#max);
    this.#entries.set(key, { delay, updatedAt: now });
  }

  collect(now: number): void {
    for (const [key, entry] of this.#entries) if (this.#expired(entry, now)) this.#entries.delete(key);
  }

  #expired(entry: { updatedAt: number }, at: number): boolean {
    return at - entry.updatedAt > 2 * this.#max;
  }
}
