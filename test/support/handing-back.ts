/** Workloads whose copies are active and whose parents are back. */
import type { Decision } from '../../src/checkpoint/decide.ts';
import type { Traits, WorkloadObservation } from '../../src/checkpoint/model.ts';
import type { Workload } from '../../src/checkpoint/workload.ts';
import { copyOf, copyPod, generation, type PodPhase, parent, runtimePod, stored, workload } from './observations.ts';

export const EXCLUSIVE: Traits = { servesApi: false, handBack: 'exclusive' };
export const API: Traits = { servesApi: true, handBack: 'exclusive' };

/** One whose parent is in some phase. */
export function handingBack(of: Workload, traits: Traits, phase: PodPhase): WorkloadObservation {
  return workload(of, {
    parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('spec', traits) }, { ready: false }) },
    parentPods: phase === 'none' ? [] : [runtimePod(phase)],
    copyPods: [copyPod(1)],
    stored: stored([generation(1, 'spec', traits)], { newest: 1, proven: 1 }),
    active: [{ file: `pod-checkpointer.kube-system.${of.name}.json`, generation: 1, activation: 1 }],
  });
}

/** What is done, and to which workload. */
export function kinds(decision: Decision): string[] {
  return decision.actions.map((action) => ('workload' in action ? `${action.kind} ${action.workload.name}` : action.kind));
}
