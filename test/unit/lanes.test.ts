/** How many writes may wait for a disk at the same time. */
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { allInBackground, inLane, type Lane } from '../../src/platform/lanes.ts';

/** Writes that hang until they are told to end. */
function hanging() {
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const all: Promise<void>[] = [];
  const write = (lane: Lane, name: string) => {
    all.push(
      inLane(lane, () => {
        begun.push(name);
        return new Promise<void>((resolve) => ends.push(resolve));
      }),
    );
  };
  const end = async () => {
    while (ends.length > 0) {
      ends.shift()?.();
      await turn();
    }
    await Promise.all(all);
  };
  return { begun, write, end };
}

describe('writes on a disk that hangs', () => {
  test('of the background take two of the four threads, whatever their number; one that ends an outage goes on beside them; one thread is left', async () => {
    const { begun, write, end } = hanging();
    for (const name of ['save 1', 'save 2', 'save 3']) write('background', name);
    await turn();
    expect(begun).toEqual(['save 1', 'save 2']);
    for (const name of ['activation 1', 'activation 2']) write('urgent', name);
    await turn();
    expect(begun).toEqual(['save 1', 'save 2', 'activation 1']);
    await end();
    expect(begun.toSorted()).toEqual(['activation 1', 'activation 2', 'save 1', 'save 2', 'save 3']);
    // What ends an outage was waiting behind the others in time, not in turn.
    expect(begun.indexOf('activation 2')).toBeLessThan(begun.indexOf('save 3'));
  });

  test('one that fails gives its place back, and no further one of its row begins', async () => {
    const begun: number[] = [];
    const writes = [1, 2, 3, 4].map((number) => async () => {
      begun.push(number);
      await turn();
      if (number === 1) throw new Error('no space');
    });
    await expect(allInBackground(writes)).rejects.toThrow('no space');
    expect(begun.length).toBeLessThan(4);
    expect(await inLane('background', async () => 'next')).toBe('next');
  });
});
