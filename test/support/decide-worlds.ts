/** Every value of an observation crossed with every memory that matters, for one workload: the worlds that `decide` may meet. */
import type { WorkloadMemory } from '../../src/checkpoint/memory.ts';
import type { Absence, Action, ApiState, CopyOutcome, CopyPod, Observation, ParentState, Traits } from '../../src/checkpoint/model.ts';
import type { OwnerState } from '../../src/checkpoint/owner-wants.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import {
  copyOf,
  copyPod,
  digest,
  generation,
  memoryOf,
  NOW,
  observation,
  PARENT_UID,
  type PodPhase,
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from './observations.ts';

export const DIMENSIONS = {
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
    'waitingDenied',
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
  // `withPrevious`: proven, and another one was proven before it.
  stored: ['none', 'unproven', 'proven', 'newerThanProven', 'withPrevious'],
  active: [false, true],
  // Whether somebody changed the active manifest.
  edited: [false, true],
  servesApi: [false, true],
  handBack: ['exclusive', 'overlap'],
  memory: ['fresh', 'long', 'trial', 'trialOverdue', 'trialBackoff'],
  leaving: [false, true],
  // What is known of the owner, where the parent is absent.
  owner: ['unknown', 'wants', 'wantsAndHasReady', 'unwanted', 'unwantedAndHasReady', 'gone'],
  // Whether the spec "new" is marked failing.
  failing: [false, true],
  // Whether the parent crashed twice with no copy in its way.
  crashed: [false, true],
  // Whether the kubelet refused the parent at admission.
  rejected: [false, true],
  // What became of the active copy.
  copy: ['running', 'missing', 'empty', 'crashed'],
} as const;

export type World = { readonly [K in keyof typeof DIMENSIONS]: (typeof DIMENSIONS)[K][number] };

const RARE: ReadonlySet<keyof World> = new Set(['owner', 'failing', 'crashed', 'rejected', 'copy'] as const);

/** Every world that can be. What is rare is only crossed with what it can matter to: elsewhere it is left at its first value. */
export function* worlds(names = Object.keys(DIMENSIONS) as (keyof World)[], chosen: Partial<World> = {}): Generator<World> {
  const [name, ...rest] = names;
  if (name === undefined) {
    yield chosen as World;
    return;
  }
  const first = Object.fromEntries(names.map((one) => [one, DIMENSIONS[one][0]]));
  for (const value of DIMENSIONS[name]) {
    const world = { ...first, ...chosen, [name]: value };
    if (!RARE.has(name) || value === DIMENSIONS[name][0] || possible(world as World)) yield* worlds(rest, { ...chosen, [name]: value });
  }
}

/** Worlds that cannot be: an active copy without a generation in the store. That no kubelet is there is crossed with all that it can matter to. */
export const possible = (world: World): boolean =>
  !(world.active && world.stored === 'none') &&
  (!world.edited || (world.active && world.boot === 'settled' && world.memory === 'long' && world.handBack === 'exclusive')) &&
  (world.kubelet === 'held' || (world.boot === 'settled' && (world.memory === 'fresh' || world.memory === 'long'))) &&
  (world.owner === 'unknown' || (parentAbsent(world) && plain(world))) &&
  (!world.failing || (world.stored !== 'none' && plain(world) && !world.leaving)) &&
  (!world.crashed || (plain(world) && (world.pods === 'ended' || world.pods === 'sandbox') && world.memory !== 'fresh')) &&
  (!world.rejected || (world.active && plain(world) && world.memory !== 'fresh' && world.pods === 'none' && !world.failing)) &&
  (world.copy === 'running' ||
    (world.active && plain(world) && world.memory === 'long' && !world.failing && !world.crashed && !world.rejected));
/** Nothing else is out of the ordinary. */
export const plain = (world: World): boolean => world.kubelet === 'held' && world.boot === 'settled' && !world.edited;
export const parentPresent = (world: World): boolean =>
  ['same', 'changed', 'provenAgain', 'refused', 'waiting', 'waitingDenied', 'notReady'].includes(world.api);
export const parentAbsent = (world: World): boolean => world.api.startsWith('absent') || world.api === 'unmarked';
export const apiOk = (world: World): boolean => !['unknown', 'unreachable', 'denied'].includes(world.api);

export const OF = SCHEDULER;
export const SELF = { ...OF, name: 'pod-checkpointer' };

function traits(world: World): Traits {
  return { servesApi: world.servesApi, handBack: world.handBack };
}

/** Generation 1 is of "old", 2 of "new"; `same` is the digest of the newest. */
export function build(world: World): { memory: ReturnType<typeof memoryOf>; seen: Observation } {
  const generations = [generation(1, 'old', traits(world)), generation(2, 'new', traits(world))];
  const store = {
    none: undefined,
    unproven: stored(generations.slice(1), { newest: 2 }),
    proven: stored(generations.slice(1), { newest: 2, proven: 2 }),
    newerThanProven: stored(generations, { newest: 2, proven: 1 }),
    withPrevious: stored(generations, { newest: 2, proven: 2, previous: 1 }),
  }[world.stored];
  const failing = world.failing ? new Map([[digest('new'), { since: '2026-01-01T00:00:00Z', detail: 'crashed' }]]) : undefined;
  const activeGeneration = world.stored === 'newerThanProven' ? 1 : 2;
  const seen = workload(OF, {
    parent: parentState(world),
    parentPods: world.pods === 'none' ? [] : [runtimePod(world.pods satisfies PodPhase)],
    copyPods: copyPods(world, activeGeneration),
    stored: store && { ...store, ...(failing && { failing }) },
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
      owners: new Map([[workloadKey(OF), ownerState(world)]]),
      ...(world.leaving ? { self: workloadKey(SELF) } : {}),
    }),
  };
}

function copyPods(world: World, generation: number): CopyPod[] {
  if (!world.active || world.copy === 'missing') return [];
  const pod = copyPod(generation);
  if (world.copy === 'running') return [pod];
  return [{ ...pod, created: world.copy === 'empty' ? 0 : 1, running: 0, alive: 0, up: false, runningContainerIds: [] }];
}

function ownerState({ owner }: World): OwnerState {
  if (owner === 'unknown') return { state: 'unknown', detail: 'denied' };
  if (owner === 'gone') return { state: 'gone' };
  const ready = owner.endsWith('HasReady') ? [{ name: 'other', uid: 'uid-other', node: 'node-2', since: 0 }] : [];
  return {
    state: 'present',
    uid: 'uid-owner',
    deleting: false,
    wantsPodHere: owner.startsWith('wants'),
    pods: { state: 'ok', ready, pending: [] },
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
      : world.api === 'waiting' || world.api === 'waitingDenied'
        ? { kind: 'waiting', objects: ['Secret kube-system/x'], ...(world.api === 'waitingDenied' && { denied: ['Secret kube-system/x'] }) }
        : { kind: 'copy', copy: copyOf(world.api === 'changed' ? 'newer' : world.api === 'provenAgain' ? 'old' : 'new', traits(world)) };
  return { state: 'present', pod: parent(copy, { terminating: world.api === 'terminating', ready: world.api !== 'notReady' }) };
}

function memories(world: World): WorkloadMemory {
  if (world.memory === 'fresh') return {};
  const long: WorkloadMemory = {
    parentDownSince: 0,
    ...(world.crashed
      ? { crashes: { uid: PARENT_UID, count: 2, since: 0, seen: [] } }
      : { up: { uid: PARENT_UID, attempts: 0, since: 0 } }),
    ready: { uid: PARENT_UID, digest: digest('new'), restarts: 0, since: 0 },
    ...(parentAbsent(world) ? { absentSince: 0 } : {}),
    ...(world.rejected ? { rejection: { reason: 'OutOfcpu', message: 'Pod was rejected' } } : {}),
    handBackSince: 0,
    orphanSince: 0,
    ...(world.copy === 'running'
      ? {}
      : {
          copy: {
            activation: 1,
            generation: world.stored === 'newerThanProven' ? 1 : 2,
            ...(world.copy === 'missing' ? { missingSince: 0 } : {}),
            ...(world.copy === 'empty' ? { emptySince: 0 } : {}),
            ...(world.copy === 'crashed' ? { crashes: { uid: 'uid-copy', count: 2, since: 0, seen: [] } } : {}),
          },
        }),
  };
  if (world.memory === 'trial') return { ...long, trial: { since: NOW - 1000, deadline: NOW + 89_000 }, parentDownSince: NOW - 1000 };
  if (world.memory === 'trialOverdue')
    return { ...long, trial: { since: NOW - 91_000, deadline: NOW - 1000 }, parentDownSince: NOW - 91_000 };
  if (world.memory === 'trialBackoff') return { ...long, failedTrials: { count: 1, retryAt: NOW + 1000 } };
  return long;
}

export function actionName(action: Action): string {
  return action.kind === 'activate' || action.kind === 'prove' || action.kind === 'repoint' || action.kind === 'demote'
    ? `${action.kind} ${action.generation}`
    : action.kind;
}

/** Tidying up, with tests of its own. */
export const BESIDES: ReadonlySet<Action['kind']> = new Set(['prune', 'forgetExits', 'stopLeftover']);
