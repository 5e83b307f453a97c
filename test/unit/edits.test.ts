import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { Traits } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { APISERVER, copyPod, generation, NOW, observation, POLICY, stored, workload } from '../support/observations.ts';

const API: Traits = { servesApi: true, handBack: 'exclusive' };

describe('a manifest that somebody edits again and again', () => {
  const edited = (activation: number) =>
    observation(
      [
        workload(APISERVER, {
          copyPods: [{ ...copyPod(1), activation }],
          stored: stored([generation(1, 'spec', API)], { newest: 1, proven: 1, activations: activation }),
          active: [{ file: `f${activation}`, generation: 1, activation, edits: ['spec.containers'] }],
        }),
      ],
      { api: { state: 'unreachable', detail: 'refused' } },
    );
  const at = (now: number, memory = EMPTY_MEMORY, activation = 3) => decide(memory, { ...edited(activation), now }, POLICY);
  const kinds = (decision: ReturnType<typeof at>) => decision.actions.map((action) => action.kind);

  it('is restored at once, and then not before ten minutes have passed: each time ends what runs', () => {
    const first = at(NOW);
    expect(kinds(first)).toEqual(['activate', 'makeRoom']);
    const second = at(NOW + 1_000, first.memory, 4);
    expect(kinds(second)).toEqual([]);
    expect(second.reports.get(workloadKey(APISERVER))?.reason).toBe('ManifestEdited');
    expect(kinds(at(NOW + 600_000, second.memory, 4))).toEqual(['activate', 'makeRoom']);
  });

  it('is still to be restored for as long as its successor is not there: a write that failed is no edit', () => {
    const first = at(NOW);
    const second = at(NOW + 1_000, first.memory);
    expect(kinds(second)).toEqual(['activate', 'makeRoom']);
    const third = at(NOW + 2_000, second.memory);
    expect(kinds(third)).toEqual(['activate', 'makeRoom']);
    expect(kinds(at(NOW + 3_000, third.memory, 4))).toEqual([]);
  });
});
