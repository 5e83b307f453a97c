/**
 * An API server answers a second and more before it is ready, and is busy meanwhile: it looks through its own roles and priority classes by asking itself.
 * What is asked of it then, each watch with a TLS handshake of its own, makes it ready later, for everybody. So what can wait waits for /readyz.
 */
import type { ApiClient } from './client.ts';
import { sleep } from './timing.ts';

/** Between two questions, and how long it is asked at the most, in milliseconds: one that never becomes ready is used as it is. */
const PERIOD = 200;
const PATIENCE = 5_000;
const TIMEOUT = 1_000;

export interface Readiness {
  /** Resolves once the server is ready, or has had its time. Those who wait at the same time share the questions. */
  wait(): Promise<void>;
}

export function createReadiness(client: Pick<ApiClient, 'probe'>, signal: AbortSignal, now = () => performance.now()): Readiness {
  let asking: Promise<void> | undefined;

  async function ask(): Promise<void> {
    const end = now() + PATIENCE;
    while (!signal.aborted) {
      const { kind } = await client.probe('/readyz', { signal, headTimeoutMs: TIMEOUT, bodyTimeoutMs: TIMEOUT });
      // 403 is what it says to everybody before it has read who may do what; 404 comes from something that knows no such question.
      if (kind === 'ok' || kind === 'status' || now() >= end) return;
      await sleep(PERIOD, signal);
    }
  }

  return {
    wait() {
      asking ??= ask().finally(() => {
        asking = undefined;
      });
      return asking;
    },
  };
}
