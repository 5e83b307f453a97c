import { describe, expect, test } from 'vitest';
import type { Decision } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import { NO_QUESTIONS, type Observation, type StoredWorkload, type WorkloadObservation } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { stateOf, transitions } from '../../src/report/transitions.ts';
import { nextStatus, type Status } from '../../src/status.ts';
import { generation, observation, parent, SCHEDULER, stored, workload } from '../support/observations.ts';

const KEY = workloadKey(SCHEDULER);
const TRAITS = { servesApi: false, handBack: 'overlap' } as const;
const T1 = '2026-01-01T00:00:01.000Z';
const T2 = '2026-01-01T00:00:02.000Z';

function decision(reason: Reason | undefined, message = 'a sentence'): Decision {
  const reports = new Map(reason === undefined ? [] : [[KEY, { reason, message }] as const]);
  return { memory: EMPTY_MEMORY, actions: [], reports, wakeAt: undefined, flux: false, questions: NO_QUESTIONS };
}

function seen(more: Partial<WorkloadObservation>, also: Partial<Observation> = {}): Observation {
  return observation([workload(SCHEDULER, more)], also);
}

const gen = (number: number, of = `copy ${number}`) => generation(number, of, TRAITS);
const store = (pointers: Partial<StoredWorkload>, ...generations: ReturnType<typeof gen>[]) => stored(generations, pointers);
const manifest = (generation: number, activation: number) => ({ file: 'f', generation, activation });

/** The status after an observation of the workload with this reason. */
function status(before: Status | undefined, reason: Reason | undefined, more: Partial<WorkloadObservation>, at = T1): Status {
  return nextStatus(before, seen(more), decision(reason), at);
}

const SAVED = store({ newest: 1 }, gen(1));
const PROVEN = store({ newest: 1, proven: 1 }, gen(1));
const present = { state: 'present', pod: parent({ kind: 'waiting', objects: [] }) } as const;

describe('a status', () => {
  test('keeps since and message while the reason is the same, because messages count seconds', () => {
    const first = nextStatus(undefined, seen({}), decision('ParentDown', 'for 1 s'), T1);
    const second = nextStatus(first, seen({}), decision('ParentDown', 'for 2 s'), T2);
    expect(second).toEqual(first);
    expect(nextStatus(second, seen({}), decision('Activating'), T2).workloads[KEY]).toMatchObject({ since: T2, message: 'a sentence' });
  });

  test('says when a copy was proven, and goes on saying so for the same copy with newer tokens', () => {
    const first = status(undefined, 'Protected', { stored: PROVEN }, T1);
    expect(first.workloads[KEY]?.proven).toEqual({ generation: 1, digest: 'copy 1', at: T1 });
    const renewed = status(first, 'Protected', { stored: store({ newest: 2, proven: 2 }, gen(1), gen(2, 'copy 1')) }, T2);
    expect(renewed.workloads[KEY]?.proven).toEqual({ generation: 2, digest: 'copy 1', at: T1 });
    const another = status(renewed, 'Protected', { stored: store({ newest: 3, proven: 3 }, gen(3)) }, T2);
    expect(another.workloads[KEY]?.proven?.at).toBe(T2);
  });

  test("does not forget what bootkube's pod-checkpointer left of it because the disk does not give it", () => {
    const left = nextStatus(undefined, seen({}), { ...decision('Protected'), predecessor: new Map([[KEY, 'kept']]) }, T1);
    const unread = nextStatus(left, seen({}, { predecessorUnread: true }), decision('Protected'), T2);
    expect(transitions(left, unread, T2)).toEqual([]);
    expect(transitions(unread, nextStatus(unread, seen({}), decision('Protected'), T2), T2)).toMatchObject([{ milestones: ['TakenOver'] }]);
  });

  test('knows the parent from the API server, then from memory, else from the generation', () => {
    const named = status(undefined, 'Protected', { parent: present, stored: PROVEN });
    expect(named.workloads[KEY]).toMatchObject({ parent: 'parent-abcde', parentUid: 'uid-parent' });
    expect(status(named, 'Active', {}).workloads[KEY]).toMatchObject({ parent: 'parent-abcde', parentUid: 'uid-parent' });
    expect(status(undefined, 'Active', { stored: PROVEN }).workloads[KEY]).toMatchObject({
      parent: 'parent-abcde',
      parentUid: 'uid-parent',
    });
  });

  test('forgets no workload because the disk cannot be read', () => {
    const before = status(undefined, 'Protected', { stored: PROVEN });
    const blind = nextStatus(before, observation([], { disk: { state: 'unknown', detail: 'EIO' } }), decision(undefined), T2);
    expect(blind).toEqual({ ...before, disk: 'unknown' });
    expect(transitions(before, blind, T2)).toEqual([]);
  });

  test('forgets no refused workload because the API server is away', () => {
    const before = status(undefined, 'Refused', { parent: present });
    const away = nextStatus(before, observation([], { api: { state: 'unknown' } }), decision(undefined), T2);
    expect(transitions(before, away, T2)).toEqual([]);
    expect(transitions(before, nextStatus(away, observation([]), decision(undefined), T2), T2)).toMatchObject([
      { workload: KEY, from: 'Refused', milestones: [] },
    ]);
  });
});

describe('a transition', () => {
  test('is another reason code, with what was and what is', () => {
    const before = status(undefined, 'Protected', { parent: present, stored: PROVEN });
    const after = status(before, 'ParentDown', { stored: PROVEN });
    expect(transitions(before, after, T2)).toEqual([
      {
        at: T2,
        workload: KEY,
        namespace: 'kube-system',
        from: 'Protected',
        to: 'ParentDown',
        state: 'proven',
        milestones: [],
        message: 'a sentence',
        generation: 1,
        parent: 'parent-abcde',
        parentUid: 'uid-parent',
      },
    ]);
  });

  test('does not happen while nothing changes', () => {
    const before = status(undefined, 'Protected', { stored: PROVEN });
    expect(transitions(before, status(before, 'Protected', { stored: PROVEN }), T2)).toEqual([]);
  });

  const ACTIVE = { stored: PROVEN, active: [manifest(1, 4)] };
  test.each<[string, Reason, Partial<WorkloadObservation>, Reason | undefined, Partial<WorkloadObservation>, readonly string[]]>([
    ['a first generation', 'Saving', {}, 'Saved', { stored: SAVED }, ['Copied']],
    [
      'the next generation',
      'Protected',
      { stored: PROVEN },
      'Saved',
      { stored: store({ newest: 2, proven: 1 }, gen(1), gen(2)) },
      ['Copied'],
    ],
    [
      'newer tokens',
      'Protected',
      { stored: PROVEN },
      'Protected',
      { stored: store({ newest: 2, proven: 2 }, gen(1), gen(2, 'copy 1')) },
      [],
    ],
    [
      'a parent that went back to what it was',
      'Saved',
      { stored: store({ newest: 2, proven: 1 }, gen(1), gen(2)) },
      'Protected',
      { stored: PROVEN },
      [],
    ],
    ['a proof', 'Saved', { stored: SAVED }, 'Protected', { stored: PROVEN }, ['Proven']],
    [
      'the proof of an older generation that is the newest again',
      'Saved',
      { stored: store({ newest: 1, proven: 2 }, gen(1), gen(2)) },
      'Protected',
      { stored: store({ newest: 1, proven: 1 }, gen(1), gen(2)) },
      ['Proven'],
    ],
    [
      'a proven generation that was taken back',
      'Active',
      { stored: store({ newest: 2, proven: 2 }, gen(1), gen(2)), active: [manifest(2, 4)] },
      'RolledBack',
      { stored: store({ newest: 2, proven: 1 }, gen(1), gen(2)), active: [manifest(1, 5)] },
      ['Activated', 'RolledBack'],
    ],
    ['an activation', 'Activating', { stored: PROVEN }, 'Active', ACTIVE, ['Activated']],
    ['an activation under another number', 'Active', ACTIVE, 'Active', { ...ACTIVE, active: [manifest(1, 5)] }, ['Activated']],
    [
      'a copy that crashed and gave way to the one before it',
      'CopyCrashing',
      { stored: store({ newest: 2, proven: 2 }, gen(1), gen(2)), active: [manifest(2, 4)] },
      'CopyCrashing',
      { stored: store({ newest: 2, proven: 2 }, gen(1), gen(2)), active: [manifest(1, 5)] },
      ['Activated', 'RolledBack'],
    ],
    ['a yield', 'Yielding', ACTIVE, 'Trial', { stored: PROVEN }, ['Yielded']],
    ['a failed trial', 'Trial', { stored: PROVEN }, 'TrialFailed', ACTIVE, ['Activated', 'RolledBack']],
    ['a refusal', 'Protected', { stored: PROVEN }, 'Refused', { stored: PROVEN }, ['Refused']],
    ['a refusal that lasts', 'Refused', {}, 'Refused', {}, []],
  ])('of %s is told as such', (_, from, before, to, after, milestones) => {
    const old = status(undefined, from, before);
    const now = status(old, to, after);
    expect(transitions(old, now, T2).flatMap((one) => one.milestones)).toEqual(milestones);
  });

  test('of a workload whose generations are gone with it is its retirement', () => {
    const before = status(undefined, 'Retiring', { stored: PROVEN });
    const after = nextStatus(before, observation([]), decision(undefined), T2);
    const [gone] = transitions(before, after, T2);
    expect(gone).toMatchObject({ from: 'Retiring', milestones: ['Retired'], state: 'unsaved', generation: 1 });
    expect(gone).not.toHaveProperty('to');
  });

  test('claims nothing of the past where no status was left', () => {
    const after = status(undefined, 'Active', { stored: PROVEN, active: [manifest(1, 4)] });
    expect(transitions(undefined, after, T2)).toMatchObject([{ to: 'Active', milestones: [] }]);
  });
});

test.each([
  ['unsaved', {}],
  ['saved', { stored: SAVED }],
  ['proven', { stored: PROVEN }],
  ['active', { stored: PROVEN, active: [manifest(1, 1)] }],
] as const)('a workload is %s by what lies on the disk', (state, more) => {
  const now = status(undefined, 'Active', more).workloads[KEY];
  expect(now && stateOf(now)).toBe(state);
});

test("the checkpointer's own workload is a state of its own, because its copy is active all the time", () => {
  const own = nextStatus(undefined, seen({ stored: PROVEN, active: [manifest(1, 1)] }, { self: KEY }), decision('SelfActive'), T1);
  const now = own.workloads[KEY];
  expect(now && stateOf(now)).toBe('self');
  const before = nextStatus(undefined, seen({ stored: PROVEN }, { self: KEY }), decision('Saved'), T1);
  expect(transitions(before, own, T2)).toMatchObject([{ to: 'SelfActive', milestones: [] }]);
  const gone = nextStatus(own, seen({ stored: PROVEN }, { self: KEY }), decision('SteppingDown'), T2);
  expect(transitions(own, gone, T2)).toMatchObject([{ to: 'SteppingDown', milestones: [] }]);
});
