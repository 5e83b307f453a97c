import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { Traits } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { APISERVER, copyPod, generation, NOW, observation, POLICY, stored, workload } from '../support/observations.ts';

const API: Traits = { servesApi: true, handBack: 'exclusive' };

describe('a manifest that somebody edits again and again', () => {
  const edited = observation(
    [
      workload(APISERVER, {
        copyPods: [{ ...copyPod(1), activation: 3 }],
        stored: stored([generation(1, 'spec', API)], { newest: 1, proven: 1, activations: 3 }),
        active: [{ file: 'f', generation: 1, activation: 3, edits: ['spec.containers'] }],
      }),
    ],
    { api: { state: 'unreachable', detail: 'refused' } },
  );
  const at = (now: number, memory = EMPTY_MEMORY) => decide(memory, { ...edited, now }, POLICY);
  const kinds = (decision: ReturnType<typeof at>) => decision.actions.map((action) => action.kind);

  it('is restored at once, and then not before ten minutes have passed: each time ends what runs', () => {
    const first = at(NOW);
    expect(kinds(first)).toEqual(['activate', 'makeRoom']);
    const second = at(NOW + 1_000, first.memory);
    expect(kinds(second)).toEqual([]);
    expect(second.reports.get(workloadKey(APISERVER))?.reason).toBe('ManifestEdited');
    expect(kinds(at(NOW + 600_000, second.memory))).toEqual(['activate', 'makeRoom']);
  });
});
