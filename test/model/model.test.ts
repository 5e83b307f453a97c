/** Whatever happens to a node, in whatever order: what must always hold does. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SEED } from '../support/seed.ts';
import { events } from './events.ts';
import { violationOf } from './run.ts';

/** Of up to 50 events, 22 to 25 on average: 10,000 in all, and some more. */
const RUNS = 480;
const LENGTH = 50;

describe('a node and its cluster, in sequences of random events', () => {
  it.each(['exclusive', 'overlap'] as const)(
    'keep every invariant (%s port)',
    (handBack) => {
      let happened = 0;
      fc.assert(
        fc.property(events(LENGTH), (sequence) => {
          happened += sequence.length;
          expect(violationOf(sequence, { handBack })).toBeUndefined();
        }),
        { numRuns: RUNS / 2, seed: SEED },
      );
      process.stdout.write(`\nModel, ${handBack} port: ${happened} events, seed ${SEED}\n`);
    },
    120_000,
  );
});
