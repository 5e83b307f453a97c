/**
 * Every value of an observation crossed with every memory that matters, for one workload. `expected` states the design's rules a second time, in the
 * order of their priority and nothing else; the code must agree with it everywhere.
 */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import type { WorkloadMemory } from '../../src/checkpoint/memory.ts';
import type { Absence, Action, ApiState, CopyOutcome, Observation, ParentState, Traits } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import {
  APISERVER,
  copyOf,
  copyPod,
  digest,
  generation,
  memoryOf,
  NOW,
  observation,
  PARENT_UID,
  POLICY,
  type PodPhase,
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from '../support/observations.ts';

const DIMENSIONS = {
  // What the API server says, and of the parent where it says anything.
  api: [
    'unknown',
    'unreachable',
    'denied',
    'same',
    'changed',
    'provenAgain',
    'refused',
    'waiting',
    'terminating',
    'notReady',
    'absent',
    'absentGone',
    'absentPresent',
    'absentUnanswered',
    'unmarked',
  ],
  runtime: ['ok', 'unknown'],
  // Who holds the kubelet's lock.
  kubelet: ['held', 'free'],
  boot: ['settled', 'cold'],
  pods: ['none', 'sandbox', 'created', 'running', 'ended'],
  stored: ['none', 'unproven', 'proven', 'newerThanProven'],
  active: [false, true],
  // Whether somebody changed the active manifest.
  edited: [false, true],
  servesApi: [false, true],
  handBack: ['exclusive', 'overlap'],
  memory: ['fresh', 'long', 'trial', 'trialOverdue', 'trialBackoff'],
  leaving: [false, true],
} as const;

type World = { readonly [K in keyof typeof DIMENSIONS]: (typeof DIMENSIONS)[K][number] };

function* worlds(): Generator<World> {
  const names = Object.keys(DIMENSIONS) as (keyof World)[];
  const sizes = names.map((name) => DIMENSIONS[name].length);
  const total = sizes.reduce((product, size) => product * size, 1);
  for (let index = 0; index < total; index++) {
    let rest = index;
    const world: Record<string, unknown> = {};
    for (const [position, name] of names.entries()) {
      const size = sizes[position] ?? 1;
      world[name] = DIMENSIONS[name][rest % size];
      rest = Math.floor(rest / size);
    }
    yield world as World;
  }
}

/** Worlds that cannot be: an active copy without a generation in the store. That no kubelet is there is crossed with all that it can matter to. */
const possible = (world: World): boolean =>
  !(world.active && world.stored === 'none') &&
  (!world.edited || (world.active && world.boot === 'settled' && world.memory === 'long' && world.handBack === 'exclusive')) &&
  (world.kubelet === 'held' || (world.boot === 'settled' && (world.memory === 'fresh' || world.memory === 'long')));
const parentPresent = (world: World): boolean => ['same', 'changed', 'provenAgain', 'refused', 'waiting', 'notReady'].includes(world.api);
const parentAbsent = (world: World): boolean => world.api.startsWith('absent') || world.api === 'unmarked';
const apiOk = (world: World): boolean => !['unknown', 'unreachable', 'denied'].includes(world.api);

const OF = SCHEDULER;
const SELF = { ...OF, name: 'pod-checkpointer' };

function traits(world: World): Traits {
  return { servesApi: world.servesApi, handBack: world.handBack };
}

/** Generation 1 is of "old", 2 of "new"; `same` is the digest of the newest. */
function build(world: World): { memory: ReturnType<typeof memoryOf>; seen: Observation } {
  const generations = [generation(1, 'old', traits(world)), generation(2, 'new', traits(world))];
  const store = {
    none: undefined,
    unproven: stored(generations.slice(1), { newest: 2 }),
    proven: stored(generations.slice(1), { newest: 2, proven: 2 }),
    newerThanProven: stored(generations, { newest: 2, proven: 1 }),
  }[world.stored];
  const activeGeneration = world.stored === 'newerThanProven' ? 1 : 2;
  const seen = workload(OF, {
    parent: parentState(world),
    parentPods: world.pods === 'none' ? [] : [runtimePod(world.pods satisfies PodPhase)],
    copyPods: world.active ? [copyPod(activeGeneration)] : [],
    stored: store,
    active: world.active
      ? [{ file: 'pod-checkpointer.x.json', generation: activeGeneration, activation: 1, edits: world.edited ? ['spec.containers'] : [] }]
      : [],
  });
  // The checkpointer's own workload, gone for good where it is leaving.
  const own = workload(SELF, {
    parent: { state: 'absent', unmarked: true },
    stored: stored([generation(1, 'self', { servesApi: false, handBack: 'exclusive' })], { newest: 1, proven: 1 }),
    active: [],
  });
  const absences = new Map<string, Absence>();
  if (world.api === 'absentGone') absences.set(PARENT_UID, 'gone');
  if (world.api === 'absentPresent') absences.set(PARENT_UID, 'present');
  if (world.api === 'absentUnanswered') absences.set(PARENT_UID, 'unanswered');
  const memory = new Map([
    ...memoryOf(OF, memories(world)).workloads,
    ...(world.leaving ? memoryOf(SELF, { absentSince: 0 }).workloads : []),
  ]);
  return {
    memory: { workloads: memory, ...(world.memory === 'fresh' ? {} : { apiUnreachableSince: 0 }) },
    seen: observation(world.leaving ? [seen, own] : [seen], {
      api: apiState(world),
      kubelet: world.kubelet === 'held' ? { state: 'held', pid: 1, waiting: [] } : { state: 'free' },
      runtime: world.runtime === 'ok' ? { state: 'ok' } : { state: 'unknown', detail: 'socket missing' },
      settledBootId: world.boot === 'cold' ? 'boot-0' : 'boot-1',
      absences,
      ...(world.leaving ? { self: workloadKey(SELF) } : {}),
    }),
  };
}

function apiState(world: World): ApiState {
  if (world.api === 'unknown') return { state: 'unknown' };
  if (world.api === 'unreachable' || world.api === 'denied') return { state: world.api, detail: 'connection refused' };
  return { state: 'ok' };
}

function parentState(world: World): ParentState {
  if (!apiOk(world)) return { state: 'unknown' };
  if (parentAbsent(world)) return { state: 'absent', unmarked: world.api === 'unmarked' };
  const copy: CopyOutcome =
    world.api === 'refused'
      ? { kind: 'refused', refusals: [{ code: 'X', field: 'spec.x', message: 'no' }] }
      : world.api === 'waiting'
        ? { kind: 'waiting', objects: ['Secret kube-system/x'] }
        : { kind: 'copy', copy: copyOf(world.api === 'changed' ? 'newer' : world.api === 'provenAgain' ? 'old' : 'new', traits(world)) };
  return { state: 'present', pod: parent(copy, { terminating: world.api === 'terminating', ready: world.api !== 'notReady' }) };
}

function memories(world: World): WorkloadMemory {
  if (world.memory === 'fresh') return {};
  const long: WorkloadMemory = {
    parentDownSince: 0,
    up: { uid: PARENT_UID, attempts: 0, since: 0 },
    ready: { uid: PARENT_UID, digest: digest('new'), restarts: 0, since: 0 },
    absentSince: 0,
    handBackSince: 0,
  };
  if (world.memory === 'trial') return { ...long, trial: { since: NOW - 1000, deadline: NOW + 89_000 }, parentDownSince: NOW - 1000 };
  if (world.memory === 'trialOverdue')
    return { ...long, trial: { since: NOW - 91_000, deadline: NOW - 1000 }, parentDownSince: NOW - 91_000 };
  if (world.memory === 'trialBackoff') return { ...long, failedTrials: { count: 1, retryAt: NOW + 1000 } };
  return long;
}

interface Expected {
  readonly reason: Reason | readonly Reason[];
  readonly actions: readonly string[];
}

/** Rule 1, independent of all others. */
function expectedSave(world: World): Expected {
  const storedReason: Reason = world.stored === 'proven' || world.stored === 'newerThanProven' ? 'Protected' : 'Saved';
  if (!apiOk(world) || parentAbsent(world) || world.api === 'terminating' || world.leaving) return { reason: storedReason, actions: [] };
  if (world.api === 'refused') return { reason: 'Refused', actions: [] };
  if (world.api === 'waiting') return { reason: 'WaitingForObjects', actions: [] };
  if (world.api === 'provenAgain' && world.stored === 'newerThanProven') return { reason: 'Saving', actions: ['repoint 1'] };
  if (world.stored === 'none' || world.api === 'changed' || world.api === 'provenAgain') return { reason: 'Saving', actions: ['save'] };
  if (world.stored === 'proven') return { reason: 'Protected', actions: [] };
  if (world.api === 'notReady' || world.memory === 'fresh') return { reason: 'Saved', actions: [] };
  return { reason: 'Protected', actions: ['prove 2'] };
}

/** Without a kubelet nothing is taken away. */
function expectedRunning(world: World): Expected | undefined {
  const expected = expectedUnlessEdited(world);
  const takes = expected?.actions.some((action) => ['deactivate', 'makeRoom', 'retire'].includes(action)) === true;
  return world.kubelet === 'free' && takes ? { reason: 'KubeletAway', actions: [] } : expected;
}

/** A manifest that somebody changed is replaced, unless it is about to be taken away. */
function expectedUnlessEdited(world: World): Expected | undefined {
  const expected = expectedWithKubelet(world);
  if (!world.edited || world.leaving || world.runtime === 'unknown' || (expected?.actions.length ?? 0) > 0) return expected;
  return { reason: 'ManifestEdited', actions: [`activate ${world.stored === 'newerThanProven' ? 1 : 2}`, 'makeRoom'] };
}

/** Rules 0, 2, 4, 6: the first that applies. */
function expectedWithKubelet(world: World): Expected | undefined {
  const long = world.memory !== 'fresh';
  const proven = world.stored === 'newerThanProven' ? 1 : world.stored === 'proven' ? 2 : undefined;
  const candidate = proven ?? (world.stored === 'unproven' ? 2 : undefined);
  const parentRuns = world.pods === 'running';
  if (world.runtime === 'unknown') return { reason: 'RuntimeUnknown', actions: [] };

  // Rule 6. The API server says that no such pod belongs here.
  if (parentAbsent(world) && world.stored !== 'none') {
    if (!long && !world.leaving) return { reason: 'ParentAbsent', actions: [] };
    if (world.api === 'absent' || world.api === 'absentPresent' || world.api === 'absentUnanswered')
      return { reason: 'AbsenceUnconfirmed', actions: ['confirmAbsence'] };
    if (world.active && world.servesApi) return { reason: 'KeptServingApi', actions: [] };
    if (world.active) return { reason: 'Retiring', actions: ['makeRoom'] };
    return { reason: 'Retiring', actions: ['retire'] };
  }

  // Rule 4. A trial that is under way; one with a manifest still in place did not begin.
  const inTrial = (world.memory === 'trial' || world.memory === 'trialOverdue') && !world.active;
  const stranded = world.api === 'unreachable' && world.pods === 'none';
  if (inTrial && !parentAbsent(world) && !stranded) {
    if (parentRuns) return world.memory === 'trial' ? { reason: 'Trial', actions: [] } : { reason: 'Protected', actions: [] };
    if (candidate !== undefined && world.memory === 'trialOverdue') return { reason: 'TrialFailed', actions: [`activate ${candidate}`] };
    return { reason: 'Trial', actions: [] };
  }
  if (world.active && parentPresent(world)) {
    // A pod of which no copy can be made says nothing about sharing; one whose objects are being read does not speak against it.
    const overlap = world.handBack === 'overlap' && world.api !== 'refused';
    if (overlap) {
      if (!parentRuns) return { reason: 'YieldPending', actions: [] };
      return long ? { reason: 'Yielding', actions: ['deactivate'] } : { reason: 'Overlap', actions: [] };
    }
    const created = world.pods === 'created' || world.pods === 'running';
    if (created && world.memory !== 'trialBackoff') return { reason: 'Yielding', actions: ['makeRoom'] };
    return { reason: 'YieldPending', actions: [] };
  }

  // Rule 7. The checkpointer leaves the node.
  if (world.leaving && apiOk(world) && !world.active && world.stored !== 'none') return { reason: 'Leaving', actions: ['retire'] };

  // Rule 2.
  if (!world.active && !parentRuns && !parentAbsent(world)) {
    if (world.api === 'unknown') return { reason: 'ApiUnknown', actions: [] };
    if (world.api === 'unreachable') {
      if (candidate === undefined) return { reason: 'NothingToActivate', actions: [] };
      return (long && world.memory !== 'trial') || world.boot === 'cold'
        ? { reason: 'Activating', actions: [`activate ${candidate}`] }
        : { reason: 'ParentDown', actions: [] };
    }
    if (proven === undefined) return world.api === 'denied' ? { reason: 'NothingToActivate', actions: [] } : undefined;
    return long ? { reason: 'Activating', actions: [`activate ${proven}`] } : { reason: 'ParentDown', actions: [] };
  }
  return world.active ? { reason: 'Active', actions: [] } : undefined;
}

function name(action: Action): string {
  return action.kind === 'activate' || action.kind === 'prove' || action.kind === 'repoint'
    ? `${action.kind} ${action.generation}`
    : action.kind;
}

describe('decide, over its whole state space', () => {
  const reached = new Map<Reason, number>();
  let count = 0;

  it('does what the rules say, in their order of priority, in every world', () => {
    for (const world of worlds()) {
      if (!possible(world)) continue;
      // "Leaving" needs an API server that said that the checkpointer is gone.
      if (world.leaving && !apiOk(world)) continue;
      count++;
      const { memory, seen } = build(world);
      const decision = decide(memory, seen, POLICY);
      const own = decision.actions.filter((action) => 'workload' in action && action.workload.name === OF.name && action.kind !== 'prune');
      const report = decision.reports.get(workloadKey(OF));
      if (report === undefined) throw new Error(`no reason for ${JSON.stringify(world)}`);
      const saving = expectedSave(world);
      const running = expectedRunning(world);
      const context = JSON.stringify(world);
      expect(own.map(name).sort(), context).toEqual([...(running?.actions ?? []), ...saving.actions].sort());
      expect(report.reason, context).toBe((running ?? saving).reason);
      reached.set(report.reason, (reached.get(report.reason) ?? 0) + 1);
      invariants(world, seen, own, context);
    }
    expect(count).toBeGreaterThan(30_000);
  });

  it('reaches every reason that one workload which is not the checkpointer can have', () => {
    const all: Reason[] = [
      'RuntimeUnknown',
      'KubeletAway',
      'ApiUnknown',
      'Protected',
      'Saved',
      'Saving',
      'WaitingForObjects',
      'Refused',
      'ParentDown',
      'NothingToActivate',
      'Activating',
      'Active',
      'ManifestEdited',
      'YieldPending',
      'Overlap',
      'Yielding',
      'Trial',
      'TrialFailed',
      'ParentAbsent',
      'AbsenceUnconfirmed',
      'KeptServingApi',
      'Retiring',
      'Leaving',
    ];
    expect([...reached.keys()].sort()).toEqual(all.sort());
  });
});

/** What must never happen, whatever the rules say. */
function invariants(world: World, seen: Observation, actions: readonly Action[], context: string): void {
  const kinds = actions.map((action) => action.kind);
  if (world.runtime === 'unknown')
    expect(kinds, context).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(activate|deactivate|makeRoom|forgetExits|retire)$/)]),
    );
  // Unknown is not empty: nothing is taken away on an answer that did not come.
  if (seen.api.state !== 'ok')
    for (const kind of ['deactivate', 'retire', ...(world.edited ? [] : ['makeRoom']), 'confirmAbsence', 'save', 'prove', 'repoint'])
      expect(kinds, context).not.toContain(kind);
  if (world.kubelet === 'free') for (const kind of ['deactivate', 'makeRoom', 'retire']) expect(kinds, context).not.toContain(kind);
  if (world.active && world.servesApi && parentAbsent(world) && !world.edited) expect(kinds, context).not.toContain('makeRoom');
  if (kinds.includes('retire')) expect(world.active, context).toBe(false);
  // A manifest makes room in the same step only for its own successor.
  if (world.edited && kinds.includes('activate')) expect(kinds, context).toContain('makeRoom');
  // Never both in one step: the kubelet would see one pod leave and another come in an order of its own.
  if (kinds.includes('activate')) expect(kinds, context).not.toContain('deactivate');
}

describe('decide, over several workloads', () => {
  it('is the same function of the same input', () => {
    const world: World = {
      api: 'same',
      runtime: 'ok',
      kubelet: 'held',
      boot: 'settled',
      pods: 'created',
      stored: 'proven',
      active: true,
      edited: false,
      servesApi: true,
      handBack: 'exclusive',
      memory: 'long',
      leaving: false,
    };
    const { memory, seen } = build(world);
    expect(decide(memory, seen, POLICY)).toEqual(decide(memory, seen, POLICY));
  });

  it('decides nothing when the disk cannot be read', () => {
    const seen = observation([workload(APISERVER)], {
      disk: { state: 'unknown', detail: 'EIO' },
      api: { state: 'unreachable', detail: '' },
    });
    expect(decide({ workloads: new Map() }, seen, POLICY)).toMatchObject({ actions: [], flux: true });
  });
});
