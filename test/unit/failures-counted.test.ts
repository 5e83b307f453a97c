/** Which failures count, for how long, and what they come to: a spec is condemned for what it did itself, and not for ever by one mishap. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { Observation, WorkloadObservation } from '../../src/checkpoint/model.ts';
import type { OwnerPods } from '../../src/checkpoint/owner-wants.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import {
  APISERVER,
  copyOf,
  copyPod,
  digest,
  generation,
  NOW,
  observation,
  PARENT_UID,
  POLICY,
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from '../support/observations.ts';

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const DOWN = { api: { state: 'unreachable', detail: 'refused' } } as const;
const KEY = workloadKey(SCHEDULER);
const BOTH = stored([generation(1, 'good', TRAITS), generation(2, 'bad', TRAITS)], { newest: 2, proven: 1, activations: 1 });
const rolledOut = (uid = PARENT_UID) => ({
  state: 'present' as const,
  pod: parent({ kind: 'copy', copy: copyOf('bad', TRAITS) }, { ready: false, uid }),
});
const running = runtimePod('running');
const crashed = (...ids: string[]) => [runtimePod('ended', { endedContainerIds: ids, crashedContainerIds: ids })];
const ACTIVE = { copyPods: [copyPod(1)], active: [{ file: 'f', generation: 1, activation: 1 }] };
const FAILING = new Map([[digest('bad'), { since: '', detail: 'it crashed' }]]);

/** One workload, from look to look. */
function story() {
  let memory: Memory = EMPTY_MEMORY;
  let now = NOW;
  return (after: number, of: Partial<WorkloadObservation>, more: Partial<Observation> = {}) => {
    now += after;
    const decision = decide(memory, { ...observation([workload(SCHEDULER, { stored: BOTH, ...of })], more), now }, POLICY);
    memory = decision.memory;
    const done = decision.actions.map((action) => ('generation' in action ? `${action.kind} ${action.generation}` : action.kind));
    return { done, reason: decision.reports.get(KEY)?.reason, memory: memory.workloads.get(KEY), questions: decision.questions };
  };
}

describe('crashes of a parent', () => {
  it('are forgotten once it has been up for 30 s', () => {
    const look = story();
    look(0, { parent: rolledOut(), parentPods: [running] });
    look(1000, { parentPods: crashed('c1') }, DOWN);
    const up = [runtimePod('running', { attempts: 1, crashedContainerIds: ['c1'] })];
    look(1000, { parentPods: up }, DOWN);
    look(31_000, { parentPods: up }, DOWN);
    expect(look(1000, { parentPods: crashed('c1', 'c2') }, DOWN).done).toEqual([]);
    expect(look(1000, { parentPods: crashed('c1', 'c2', 'c3') }, DOWN).reason).toBe('RolledBack');
  });

  it('bring nothing back while it is up again', () => {
    const look = story();
    look(0, { parent: rolledOut(), parentPods: [running] });
    const up = runtimePod('running', { attempts: 2, crashedContainerIds: ['c1', 'c2'] });
    expect(look(1000, { parentPods: [up] }, DOWN).done).toEqual([]);
    expect(look(5000, { parentPods: [up] }, DOWN).done).toEqual([]);
  });
});

describe('a spec that is marked failing', () => {
  it('is not proven by its probes either, while the API server is away', () => {
    const look = story();
    look(0, { parent: rolledOut(), parentPods: [running], stored: { ...BOTH, failing: FAILING } });
    const away = look(1000, { parentPods: [running], stored: { ...BOTH, failing: FAILING } }, DOWN);
    expect(away.questions.probes).toEqual([]);
  });

  it('begins anew when a person clears the mark: its next trial is not put off', () => {
    const look = story();
    const yielding = { parent: rolledOut(), parentPods: [runtimePod('created')], ...ACTIVE };
    expect(look(0, yielding).reason).toBe('Yielding');
    look(500, { parent: rolledOut(), parentPods: crashed('c1', 'c2') });
    expect(look(500, { ...yielding, stored: { ...BOTH, failing: FAILING } }).reason).toBe('FailingSpec');
    expect(look(500, yielding).reason).toBe('Yielding');
  });

  it('crashed once in each of two trials', () => {
    const look = story();
    const yielding = { parent: rolledOut(), parentPods: [runtimePod('created')], ...ACTIVE };
    look(0, yielding);
    look(500, { parent: rolledOut(), parentPods: crashed('c1') });
    const first = look(90_000, { parent: rolledOut(), parentPods: crashed('c1') });
    expect(first.done).toContain('activate 1');
    expect(first.done).not.toContain('markFailing');
    look(500, yielding);
    expect(look(90_000, yielding).reason).toBe('Yielding');
    look(500, { parent: rolledOut(), parentPods: crashed('c2') });
    const second = look(90_000, { parent: rolledOut(), parentPods: crashed('c2') });
    expect(second.done).toEqual(expect.arrayContaining(['activate 1', 'markFailing']));
  });
});

describe('a trial that was passed', () => {
  const good = (more = {}) => ({
    state: 'present' as const,
    pod: parent({ kind: 'copy', copy: copyOf('good', TRAITS) }, more),
  });

  function passed() {
    const look = story();
    look(0, { parent: good(), parentPods: [runtimePod('created')], ...ACTIVE });
    look(1000, { parent: good(), parentPods: [running] });
    expect(look(10_000, { parent: good(), parentPods: [running] }).memory?.passed?.uid).toBe(PARENT_UID);
    return look;
  }
  function crash(look: ReturnType<typeof story>, after: number) {
    look(after, { parentPods: crashed('c1') }, DOWN);
    return look(3000, { parentPods: crashed('c1') }, DOWN);
  }

  it('is passed for good after 10 min', () => {
    const last = crash(passed(), 600_000);
    expect(last.done).toEqual(['activate 1']);
    expect(last.memory?.failedTrials).toBeUndefined();
  });

  it('did not fail when its pod was on its way out', () => {
    const look = passed();
    look(1000, { parent: good({ terminating: true }), parentPods: [running] });
    const last = crash(look, 1000);
    expect(last.done).toEqual(['activate 1']);
    expect(last.memory?.failedTrials).toBeUndefined();
  });

  it('is not that of the pod that comes after it', () => {
    const look = passed();
    const other = runtimePod('running', { uid: 'uid-other' });
    expect(look(1000, { parent: good({ uid: 'uid-other' }), parentPods: [other] }).memory?.passed).toBeUndefined();
  });
});

describe('a new version of the checkpointer', () => {
  const seen = workload(SCHEDULER, {
    parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('bad', TRAITS) }) },
    parentPods: [running],
    ...ACTIVE,
    stored: BOTH,
  });
  const world = (workloads: readonly WorkloadObservation[], more: Partial<Observation> = {}) => ({
    ...observation(workloads, { self: KEY, runsIn: { pod: 'uid-copy' }, ...more }),
  });
  const later = (workloads: readonly WorkloadObservation[], more: Partial<Observation> = {}) => {
    const { memory } = decide(EMPTY_MEMORY, world(workloads, more), POLICY);
    return decide(memory, { ...world(workloads, more), now: NOW + 60_000 }, POLICY).actions.map(({ kind }) => kind);
  };

  it('is given no lead in the middle of a recovery, nor while there is no kubelet', () => {
    expect(later([seen])).toContain('stepDown');
    const recovering = workload(APISERVER, {
      stored: stored([generation(1, 'api', TRAITS)], { newest: 1, proven: 1 }),
      ...ACTIVE,
    });
    expect(later([seen, recovering])).not.toContain('stepDown');
    expect(later([seen], { kubelet: { state: 'free' } })).not.toContain('stepDown');
  });
});

describe('a copy that serves the API and that its owner does not want here', () => {
  const API = { servesApi: true, handBack: 'exclusive' } as const;
  const key = workloadKey(APISERVER);
  const gone = workload(APISERVER, {
    parent: { state: 'absent', unmarked: false },
    stored: stored([generation(1, 'api', API)], { newest: 1, proven: 1 }),
    ...ACTIVE,
  });
  const reasonWith = (pods: OwnerPods) => {
    const more: Partial<Observation> = {
      absences: new Map([[PARENT_UID, 'gone']]),
      owners: new Map([[key, { state: 'present', uid: 'u', deleting: false, wantsPodHere: false, pods }]]),
    };
    const { memory } = decide(EMPTY_MEMORY, observation([gone], more), POLICY);
    return decide(memory, { ...observation([gone], more), now: NOW + 60_000 }, POLICY).reports.get(key)?.reason;
  };

  it('stays until another one is known to be Ready', () => {
    expect(reasonWith({ state: 'unknown', detail: 'not asked' })).toBe('KeptServingApi');
    expect(reasonWith({ state: 'ok', ready: [], pending: [] })).toBe('KeptServingApi');
    expect(reasonWith({ state: 'ok', ready: [{ name: 'o', uid: 'o', node: 'n2', since: 0 }], pending: [] })).toBe('Retiring');
  });
});
