import { describe, expect, test } from 'vitest';
import type { ActiveManifest, CopyPod, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { quarantines, replaceDamaged } from '../../src/recovery/damaged.ts';
import { copyPod, generation, SCHEDULER, stored, workload } from '../support/observations.ts';

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const manifest = (number: number, activation = 1): ActiveManifest => ({
  file: `g${number}-a${activation}`,
  generation: number,
  activation,
});
const pod = (number: number, activation = 1, up = false): CopyPod => ({
  ...copyPod(number),
  up,
  activation,
  runningContainerIds: [`c${number}-${activation}`],
});

/** Generations 1 and 2 are stored, 2 is damaged where that is said, 3 is gone. */
function seen(
  active: readonly ActiveManifest[],
  more: { damaged?: number; pods?: readonly CopyPod[]; serves?: boolean } = {},
): WorkloadObservation {
  const traits = { ...TRAITS, servesApi: more.serves === true };
  const whole = [1, 2].filter((number) => number !== more.damaged).map((number) => generation(number, String(number), traits));
  const damaged = new Map(more.damaged === undefined ? [] : [[more.damaged, 'pod.json is missing']]);
  return workload(SCHEDULER, {
    stored: { ...stored(whole, { proven: 1, newest: 1, activations: 4 }), damaged },
    active,
    copyPods: more.pods ?? [],
  });
}

const replace = (observed: WorkloadObservation, { good = 1, isSelf = false, leaving = false } = {}) =>
  replaceDamaged({ workload: observed, leaving }, good === 0 ? undefined : good, isSelf);

describe('an active copy whose generation is damaged or gone', () => {
  test.each([
    ['damaged', seen([manifest(2, 7)], { damaged: 2, pods: [pod(2, 7), pod(1, 3)] }), 2],
    ['gone', seen([manifest(3, 7)], { pods: [pod(3, 7)] }), 3],
  ])(
    '%s: a good one is activated under a number above all others first, then the other makes room with its own containers',
    (_, observed, number) => {
      expect(replace(observed)?.actions).toEqual([
        { kind: 'activate', workload: SCHEDULER, generation: 1, activation: 8 },
        { kind: 'makeRoom', workload: SCHEDULER, files: [`g${number}-a7`], containerIds: [`c${number}-7`], graceful: true },
      ]);
    },
  );

  test('of an API server: its containers are killed at once, every second of it is an outage', () => {
    expect(replace(seen([manifest(2)], { damaged: 2, serves: true }))?.actions?.[1]).toMatchObject({ kind: 'makeRoom', graceful: false });
  });

  test("the checkpointer's own: its containers are left to the kubelet", () => {
    expect(replace(seen([manifest(2)], { damaged: 2 }), { isSelf: true })?.actions).toEqual([
      expect.objectContaining({ kind: 'activate' }),
      { kind: 'deactivate', workload: SCHEDULER, file: 'g2-a1' },
    ]);
  });

  test('beside a good one, also when it is the later of the two: only the damaged one is taken away', () => {
    expect(replace(seen([manifest(1, 3), manifest(2, 4)], { damaged: 2 }))?.actions).toEqual([
      { kind: 'makeRoom', workload: SCHEDULER, files: ['g2-a4'], containerIds: [], graceful: true },
    ]);
  });

  test.each([
    ['nothing good is stored', replace(seen([manifest(2)], { damaged: 2 }), { good: 0 })],
    ['what is called good is the damaged one', replace(seen([manifest(2)], { damaged: 2 }), { good: 2 })],
    ['its generation is whole', replace(seen([manifest(1)]))],
    ['nothing is active', replace(seen([], { damaged: 2 }))],
    ['it is up', replace(seen([manifest(2)], { damaged: 2, pods: [pod(2, 1, true)] }))],
    ['the checkpointer leaves', replace(seen([manifest(2)], { damaged: 2 }), { leaving: true })],
  ])('stays where %s', (_, verdict) => {
    expect(verdict).toBeUndefined();
  });
});

describe('a damaged generation', () => {
  const quarantined = (observed: WorkloadObservation) => quarantines(observed).map((action) => 'generation' in action && action.generation);

  test('goes to the quarantine with its reason', () => {
    expect(quarantines(seen([manifest(1)], { damaged: 2 }))).toEqual([
      { kind: 'quarantine', workload: SCHEDULER, generation: 2, detail: 'pod.json is missing' },
    ]);
  });

  test('stays while a manifest names it, or a container of its copy has not ended', () => {
    expect(quarantined(seen([manifest(2)], { damaged: 2 }))).toEqual([]);
    expect(quarantined(seen([], { damaged: 2, pods: [pod(2)] }))).toEqual([]);
    expect(quarantined(seen([], { damaged: 2, pods: [{ ...pod(2), alive: 0 }, pod(1)] }))).toEqual([2]);
  });
});
