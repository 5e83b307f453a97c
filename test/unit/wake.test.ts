import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { createWake } from '../../src/daemon.ts';

const never = 60_000;

describe('the wake-up of the loop', () => {
  it('is remembered while nobody waits, once', async () => {
    const wake = createWake();
    wake.wake();
    wake.wake();
    expect(await wake.wait(never, new AbortController().signal)).toBe(true);
    const started = performance.now();
    expect(await wake.wait(5, new AbortController().signal)).toBe(false);
    expect(performance.now() - started).toBeGreaterThanOrEqual(4);
  });

  it('ends a wait, as do time and the end of the daemon', async () => {
    const wake = createWake();
    const ending = new AbortController();
    const waits = wake.wait(never, ending.signal);
    wake.wake();
    expect(await waits).toBe(true);
    await wake.wait(1, ending.signal);
    const last = wake.wait(never, ending.signal);
    ending.abort();
    await last;
  });

  it('leaves nothing behind, however a wait ends', async () => {
    const wake = createWake();
    const ending = new AbortController();
    for (let turn = 0; turn < 20; turn++) await wake.wait(0, ending.signal);
    const woken = wake.wait(never, ending.signal);
    wake.wake();
    await woken;
    expect(getEventListeners(ending.signal, 'abort')).toEqual([]);
  });
});
