/** A workload's parent is not always one pod that stays: a rollout with a surge has two of them here at once, and one can go in the middle of its trial. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { Observation, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import {
  APISERVER,
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

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const DOWN = { state: 'unreachable', detail: 'refused' } as const;

/** The daemon's memory, carried from one look to the next. */
function looks() {
  let memory: Memory = EMPTY_MEMORY;
  let now = NOW;
  return (after: number, workloads: readonly WorkloadObservation[], more: Partial<Observation> = {}) => {
    now += after;
    const decision = decide(memory, { ...observation(workloads, more), now }, POLICY);
    memory = decision.memory;
    const done = decision.actions.map((action) => ('generation' in action ? `${action.kind} ${action.generation}` : action.kind));
    const reason = (of = SCHEDULER) => decision.reports.get(workloadKey(of))?.reason;
    return { done, reason, questions: decision.questions, memory: (of = SCHEDULER) => memory.workloads.get(workloadKey(of)) };
  };
}

describe('a rollout that starts the new pod beside the old one', () => {
  const OLD = 'uid-old';
  const both = stored([generation(1, 'old', TRAITS), generation(2, 'new', TRAITS)], { newest: 2, proven: 1 });
  const rollout = { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('new', TRAITS) }, { ready: false }) };
  const old = runtimePod('running', { uid: OLD, name: 'old' });
  const crashing = (...ids: string[]) => runtimePod('ended', { endedContainerIds: ids, crashedContainerIds: ids });

  it('is not proven by the old pod, which answers the same probes, while the API server is away', () => {
    const look = looks();
    look(0, [workload(SCHEDULER, { parent: rollout, parentPods: [old, crashing('c1')], stored: both })]);
    const away = workload(SCHEDULER, { parentPods: [old, crashing('c1')], stored: both, answering: new Map([[OLD, true]]) });
    expect(look(1000, [away], { api: DOWN }).questions.probes).toEqual([]);
    look(1000, [away], { api: DOWN });
    expect(look(40_000, [away], { api: DOWN }).done).not.toContain('prove 2');
  });

  it('does not bring a copy beside the old pod, nor mark a spec that may only have found its port taken', () => {
    const look = looks();
    const seen = (...ids: string[]) => [workload(SCHEDULER, { parent: rollout, parentPods: [old, crashing(...ids)], stored: both })];
    look(0, seen());
    look(1000, seen('c1'));
    look(20_000, seen('c1', 'c2'));
    const last = look(120_000, seen('c1', 'c2', 'c3'));
    expect(last.done).toEqual([]);
    expect(last.memory()?.failing).toBeUndefined();
    // The old pod is gone: from now on the crashes are the new one's own.
    const alone = (...ids: string[]) => [workload(SCHEDULER, { parent: rollout, parentPods: [crashing(...ids)], stored: both })];
    look(1000, alone('c1', 'c2', 'c3'));
    look(1000, alone('c1', 'c2', 'c3', 'c4', 'c5'));
    expect(look(60_000, alone('c1', 'c2', 'c3', 'c4', 'c5')).done).toEqual(['activate 1', 'markFailing']);
  });
});

describe('a parent that shares its port with a copy of another spec', () => {
  const SHARED = { servesApi: true, handBack: 'overlap' } as const;
  const both = stored([generation(1, 'old', SHARED), generation(2, 'new', SHARED)], { newest: 2, proven: 1, activations: 1 });
  const rollout = { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('new', SHARED) }) };
  const beside = {
    parentPods: [runtimePod('running')],
    copyPods: [copyPod(1)],
    active: [{ file: 'f', generation: 1, activation: 1 }],
    stored: both,
  };

  it('is not proven by being Ready: its probes may be answered by the copy; after the copy has left it is', () => {
    const look = looks();
    // The copy stays for longer than a proof takes, as after a trial that failed.
    const away = { state: 'free' } as const;
    look(0, [workload(SCHEDULER, { ...beside, parent: rollout })], { kubelet: away });
    expect(look(60_000, [workload(SCHEDULER, { ...beside, parent: rollout })], { kubelet: away }).done).not.toContain('prove 2');
    const alone = workload(SCHEDULER, { ...beside, parent: rollout, copyPods: [], active: [] });
    expect(look(1000, [alone]).done).toEqual([]);
    expect(look(30_000, [alone]).done).toEqual(['prove 2']);
  });

  it('nor by its probes while the API server denies its answers', () => {
    const look = looks();
    look(0, [workload(SCHEDULER, { ...beside, parent: rollout })]);
    const denied = { api: { state: 'denied', detail: '401' } } as const;
    const uid = copyPod(1).uid;
    // Who answers on the shared port is asked in the name of the copy.
    expect(look(1000, [workload(SCHEDULER, beside)], denied).questions.probes.map((asked) => asked.uid)).toEqual([uid]);
    const answering = workload(SCHEDULER, { ...beside, answering: new Map([[uid, true]]) });
    look(1000, [answering], denied);
    expect(look(60_000, [answering], denied).done).not.toContain('prove 2');
  });
});

describe('a parent that is deleted in its trial', () => {
  const one = stored([generation(1, 'spec', TRAITS)], { newest: 1, proven: 1, activations: 1 });
  const spec = { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('spec', TRAITS) }) };
  const API = { servesApi: true, handBack: 'exclusive' } as const;
  const yielding = workload(SCHEDULER, {
    parent: spec,
    parentPods: [runtimePod('created')],
    copyPods: [copyPod(1)],
    active: [{ file: 'f', generation: 1, activation: 1 }],
    stored: one,
  });
  const gone = workload(SCHEDULER, { parent: { state: 'absent', unmarked: false }, stored: one });
  const ELSEWHERE: Partial<Observation> = {
    owners: new Map([
      [
        workloadKey(SCHEDULER),
        {
          state: 'present',
          uid: 'u',
          deleting: false,
          wantsPodHere: true,
          pods: { state: 'ok', ready: [{ name: 'other', uid: 'o', node: 'n2', since: 0 }], pending: [] },
        },
      ],
    ]),
  };

  it('does not hold up the hand-back of the others', () => {
    const look = looks();
    expect(look(0, [yielding]).done).toContain('makeRoom');
    const other = workload(APISERVER, {
      parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('api', API) }) },
      parentPods: [runtimePod('created')],
      copyPods: [copyPod(1)],
      active: [{ file: 'a', generation: 1, activation: 1 }],
      stored: stored([generation(1, 'api', API)], { newest: 1, proven: 1, activations: 1 }),
    });
    look(5000, [gone], ELSEWHERE);
    expect(look(1000, [gone, other], ELSEWHERE).reason(APISERVER)).toBe('Yielding');
  });

  it('leaves no deadline to the pod that comes long after it', () => {
    const look = looks();
    look(0, [yielding]);
    look(5000, [gone], ELSEWHERE);
    look(600_000, [gone], ELSEWHERE);
    const back = { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('spec', TRAITS) }, { uid: 'uid-new' }) };
    const coming = look(1000, [
      workload(SCHEDULER, { parent: back, parentPods: [runtimePod('sandbox', { uid: 'uid-new' })], stored: one }),
    ]);
    expect(coming.done.filter((action) => action.startsWith('activate'))).toEqual([]);
    expect(coming.memory()?.failedTrials).toBeUndefined();
    const still = [workload(SCHEDULER, { parent: back, parentPods: [runtimePod('sandbox', { uid: 'uid-new' })], stored: one })];
    expect(look(59_000, still).done).toEqual([]);
    expect(look(1000, still).done).toEqual(['activate 1']);
  });

  it('is down all the while when it is made anew every few seconds', () => {
    const look = looks();
    const made = (uid: string) => [
      workload(SCHEDULER, {
        parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('spec', TRAITS) }, { uid }) },
        stored: one,
      }),
    ];
    for (let second = 0; second < 60; second += 5) {
      expect(look(second === 0 ? 0 : 4000, made(`uid-${second}`)).done).toEqual([]);
      look(1000, [gone], ELSEWHERE);
    }
    expect(look(4000, made('uid-last')).done).toEqual(['activate 1']);
  });
});
