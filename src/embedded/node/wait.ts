/** Waiting for something to become true, without guessing how long that takes. */
import { setTimeout as sleep } from 'node:timers/promises';

const PERIOD_MS = 20;

/**
 * The first value of the condition other than undefined, null and false; an error counts as "not yet".
 * @throws after `timeoutMs`, naming what was waited for, with the last error as its cause.
 */
export async function waitFor<T>(what: string, condition: () => T | Promise<T>, timeoutMs: number): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
    await sleep(PERIOD_MS);
  }
}
