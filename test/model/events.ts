/** Sequences of events for fast-check. */
import fc from 'fast-check';
import { type Faults, NAMES } from './objects.ts';
import type { Event, Happening } from './run.ts';

const FAULTS: readonly (keyof Faults)[] = [
  'etcdDown',
  'denied',
  'runtimeUnknown',
  'diskFull',
  'refusing',
  'kubeletStopped',
  'ownersDenied',
  'others',
];

const name = fc.constantFrom(...NAMES);
const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('rollOut' as const, 'rotate' as const), name, good: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('deletePod' as const, 'crash' as const), name }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('owner' as const), name, exists: fc.boolean(), selects: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('fault' as const), fault: fc.constantFrom(...FAULTS), on: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('cutPower' as const, 'restartKubelet' as const, 'restartDaemon' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('stepClock' as const), by: fc.constantFrom(-86_400_000, -3_600_000, 3_600_000, 86_400_000) }),
  },
);

/** Mostly one after the other, sometimes with time in between for whatever takes minutes. */
const pause = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 15_000 }) },
  { weight: 3, arbitrary: fc.integer({ min: 15_000, max: 90_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 90_000, max: 420_000 }) },
);

export const events = (length: number): fc.Arbitrary<Event[]> =>
  fc.array(fc.record({ happening, pause }), { minLength: 1, maxLength: length, size: 'max' });
