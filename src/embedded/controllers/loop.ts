/** Runs a step whenever it is asked to, one at a time, and again after a while when it fails. */
import { setTimeout as delay } from 'node:timers/promises';

export interface Loop {
  /** Asks for a run; several asked for while one runs are one. */
  wake(): void;
  /** Asks for a run in so many milliseconds, unless one comes before. */
  wakeIn(ms: number): void;
}

const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 1000;

export function startLoop(name: string, step: () => Promise<void>, signal: AbortSignal): Loop {
  let asked = false;
  let running = false;
  let retryMs = FIRST_RETRY_MS;
  let timer: { readonly at: number; readonly handle: NodeJS.Timeout } | undefined;
  const run = async () => {
    running = true;
    while (asked && !signal.aborted) {
      asked = false;
      try {
        await step();
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) break;
        console.error(`${name}: ${error instanceof Error ? error.message : String(error)}; trying again`);
        await delay(retryMs, undefined, { signal }).catch(() => {});
        retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
        asked = true;
      }
    }
    running = false;
  };
  const wake = () => {
    asked = true;
    if (!running && !signal.aborted) void run();
  };
  const wakeIn = (ms: number) => {
    const at = performance.now() + ms;
    if (timer !== undefined && timer.at > performance.now() && timer.at <= at) return;
    clearTimeout(timer?.handle);
    timer = { at, handle: setTimeout(wake, ms) };
  };
  signal.addEventListener('abort', () => clearTimeout(timer?.handle));
  return { wake, wakeIn };
}
