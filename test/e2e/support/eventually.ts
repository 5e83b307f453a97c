/** As test/support/until.ts, with time in between: a look at a real node is a process and a request, and what is measured is to have the machine. */
import { setTimeout as sleep } from 'node:timers/promises';

const EVERY_MS = 500;

/** Waits until the condition gives something other than undefined or false; an error of the condition counts as "not yet". Throws after `timeoutMs`. */
export async function eventually<T>(condition: () => T | Promise<T>, timeoutMs: number): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let last: unknown;
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${condition}`, { cause: last });
    await sleep(EVERY_MS);
  }
}
