/** Sequences in which the rules once broke an invariant, shrunk. Each is kept with what was wrong. */
import { describe, expect, it } from 'vitest';
import type { Name } from './objects.ts';
import { type Event, type Options, violationOf } from './run.ts';

const rotate = (name: Name, pause: number): Event => ({ happening: { kind: 'rotate', name, good: false }, pause });
const cutPower = (pause: number): Event => ({ happening: { kind: 'cutPower' }, pause });
const crash = (pause: number): Event => ({ happening: { kind: 'crash', name: 'api' }, pause });

const KEPT: readonly (readonly [string, NonNullable<Options['handBack']>, readonly Event[]])[] = [
  [
    'the DaemonSet of the only API server is deleted: retired and brought back every minute',
    'overlap',
    [{ happening: { kind: 'owner', name: 'api', exists: false, selects: false }, pause: 15_000 }],
  ],
  [
    'a Secret is rotated to garbage, then a power cut: trial and fallback came to four activations',
    'overlap',
    [rotate('controllers', 31_000), cutPower(0)],
  ],
  [
    'a Secret is rotated to garbage twice, then a power cut: what the two fallbacks came to',
    'exclusive',
    [
      rotate('controllers', 15_000),
      { happening: { kind: 'deletePod', name: 'api' }, pause: 41_000 },
      rotate('controllers', 15_000),
      { happening: { kind: 'restartDaemon' }, pause: 31_000 },
      cutPower(110_000),
    ],
  ],
  [
    'the good copy crashes twice by mishap after the bad one did by its own fault: it was never tried again',
    'overlap',
    [
      rotate('api', 15_000),
      { happening: { kind: 'rollOut', name: 'scheduler', good: false }, pause: 16_000 },
      cutPower(15_000),
      crash(1),
      crash(0),
      { happening: { kind: 'rollOut', name: 'api', good: false }, pause: 15_000 },
    ],
  ],
  [
    'the kubelet refuses what comes back from a trial: manifests anew and trials came to four activations',
    'exclusive',
    [
      { happening: { kind: 'owner', name: 'api', exists: false, selects: false }, pause: 15_000 },
      rotate('scheduler', 90_000),
      cutPower(0),
      { happening: { kind: 'fault', fault: 'refusing', on: true }, pause: 105_000 },
      { happening: { kind: 'stepClock', by: 0 }, pause: 0 },
    ],
  ],
];

describe('a sequence that broke an invariant once', () => {
  it.each(KEPT)('%s', (_what, handBack, events) => {
    expect(violationOf(events, { handBack })).toBeUndefined();
  });
});
