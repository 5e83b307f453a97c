import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { KubeletState, Observation } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { HAND_OVER } from '../../src/recovery/kubelet.ts';
import {
  copyOf,
  copyPod,
  generation,
  NOW,
  observation,
  POLICY,
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from '../support/observations.ts';

const traits = { servesApi: false, handBack: 'exclusive' } as const;
const held = (pid: number, ...waiting: number[]): KubeletState => ({ state: 'held', pid, waiting });
const free: KubeletState = { state: 'free' };

/** A copy is active and its parent has a running container: the moment to yield. */
function due(kubelet: KubeletState, now = NOW): Observation {
  const seen = workload(SCHEDULER, {
    parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('new', traits) }) },
    parentPods: [runtimePod('running')],
    copyPods: [copyPod(1)],
    stored: stored([generation(1, 'new', traits)], { newest: 1, proven: 1 }),
    active: [{ file: 'pod-checkpointer.x.json', generation: 1, activation: 1 }],
  });
  return observation([seen], { now, kubelet });
}

/** What is done and said after these states of the lock, seen one after the other. */
function seeing(...states: readonly (readonly [KubeletState, number])[]) {
  let memory: Memory = EMPTY_MEMORY;
  let last = decide(memory, due({ state: 'unknown', detail: '' }), POLICY);
  for (const [kubelet, now] of states) {
    last = decide(memory, due(kubelet, now), POLICY);
    // The yield itself is not carried out here: only the lock is followed.
    memory = { ...last.memory, workloads: new Map() };
  }
  return { kinds: last.actions.map(({ kind }) => kind), reason: last.reports.get(workloadKey(SCHEDULER))?.reason, wakeAt: last.wakeAt };
}

describe('a copy whose parent is ready to take over', () => {
  it('yields while a kubelet holds its lock, also when another one has been waiting for it for long', () => {
    expect(seeing([held(10), NOW]).kinds).toEqual(['makeRoom']);
    expect(seeing([held(10, 20), NOW]).kinds).toEqual(['makeRoom']);
  });

  it('yields where the lock says nothing: not configured, or its holder cannot be seen', () => {
    expect(seeing([{ state: 'unknown', detail: 'hostPID' }, NOW]).kinds).toEqual(['makeRoom']);
  });

  it('stays when the lock has another holder than before a time in which that could not be told', () => {
    const unknown: KubeletState = { state: 'unknown', detail: 'EIO' };
    expect(seeing([held(10), NOW], [unknown, NOW + 1_000], [held(11), NOW + 2_000])).toMatchObject({ kinds: [], reason: 'KubeletAway' });
  });

  it('stays while no kubelet holds the lock', () => {
    expect(seeing([held(10), NOW], [free, NOW + 60_000])).toMatchObject({ kinds: [], reason: 'KubeletAway' });
  });

  it('stays for a while when the lock has another holder, or somebody has come to contend for it', () => {
    for (const next of [held(20), held(10, 20)]) {
      const changed = seeing([held(10), NOW], [next, NOW + 1_000]);
      expect(changed).toMatchObject({ kinds: [], reason: 'KubeletAway', wakeAt: NOW + 1_000 + HAND_OVER });
      expect(seeing([held(10), NOW], [next, NOW + 1_000], [next, NOW + 1_000 + HAND_OVER]).kinds).toEqual(['makeRoom']);
    }
  });

  it('counts a kubelet that comes back after a pause as another one', () => {
    expect(seeing([held(10), NOW], [free, NOW + 1], [held(11), NOW + 2]).reason).toBe('KubeletAway');
  });

  it('does not wait for the first kubelet of a boot to settle', () => {
    expect(seeing([free, NOW], [held(10), NOW + 500]).kinds).toEqual(['makeRoom']);
  });

  it('begins no trial while it stays', () => {
    const decision = decide(EMPTY_MEMORY, due(free), POLICY);
    expect(decision.memory.workloads.get(workloadKey(SCHEDULER))?.trial).toBeUndefined();
  });
});
