/** What becomes of what bootkube's pod-checkpointer left: every state that matters, crossed. `expected` states the rules a second time. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import type { WorkloadMemory } from '../../src/checkpoint/memory.ts';
import {
  type Absence,
  type Action,
  type ApiState,
  type Observation,
  OF_PREDECESSOR,
  type PredecessorCheckpoint,
  type WorkloadObservation,
} from '../../src/checkpoint/model.ts';
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
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from '../support/observations.ts';

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const KEY = workloadKey(SCHEDULER);
const OURS: ReadonlySet<Action['kind']> = new Set(['adopt', 'clearPredecessor', 'tidyPredecessor'] as const);

const checkpoint = (more: Partial<PredecessorCheckpoint> = {}): PredecessorCheckpoint => ({
  namespace: 'kube-system',
  name: 'kube-scheduler-fd55v',
  uid: 'uid-theirs',
  workload: SCHEDULER,
  isCheckpointer: false,
  active: undefined,
  holdsHostPort: false,
  inactive: true,
  data: true,
  listed: false,
  copy: { kind: 'copy', copy: copyOf('theirs', TRAITS) },
  ...more,
});
const FILE = 'kube-system-kube-scheduler-fd55v.json';

function* product<T extends Readonly<Record<string, readonly unknown[]>>>(dimensions: T): Generator<{ [K in keyof T]: T[K][number] }> {
  const [first, ...rest] = Object.entries(dimensions);
  if (first === undefined) {
    yield {} as { [K in keyof T]: T[K][number] };
    return;
  }
  const [name, values] = first;
  for (const value of values)
    for (const others of product(Object.fromEntries(rest))) yield { [name]: value, ...others } as { [K in keyof T]: T[K][number] };
}

const DIMENSIONS = {
  api: ['unknown', 'unreachable', 'denied', 'ok'],
  runtime: ['ok', 'unknown'],
  // What the API server has, where it answers; `changed`: with another copy than the stored one.
  parent: ['ready', 'notReady', 'changed', 'absent'],
  ready: ['long', 'short'],
  stored: ['none', 'unproven', 'proven', 'failing'],
  theirs: ['inactive', 'active', 'files'],
  copy: ['copy', 'refused'],
  removable: [true, false],
  retired: [false, true],
  leaving: [false, true],
} as const;
type World = { -readonly [K in keyof typeof DIMENSIONS]: (typeof DIMENSIONS)[K][number] };

function expected(world: World): string[] {
  const { api, parent: of, ready, stored: store, theirs, copy, removable, retired, leaving, runtime } = world;
  if (leaving) return [];
  const isPresent = api === 'ok' && of !== 'absent';
  const known = isPresent || store !== 'none';
  // Adopt: nothing is proven, and somebody wants it or it can go afterwards.
  const wanted = theirs !== 'files' && copy === 'copy' && (store === 'none' || store === 'unproven') && !retired;
  if (wanted && (isPresent || removable)) return ['adopt'];
  // Clear: on the word of an API server, once nothing needs it.
  if (api !== 'ok' || !removable || theirs === 'active') return [];
  if (theirs === 'files') return ['clearPredecessor'];
  if (!known) return retired ? ['clearPredecessor'] : [];
  const ran = of === 'ready' && ready === 'long' && runtime === 'ok';
  return store === 'proven' && ran ? ['clearPredecessor'] : [];
}

const api = (state: World['api']): ApiState =>
  state === 'unreachable' || state === 'denied' ? { state, detail: 'connection refused' } : { state };

function build(world: World): { seen: Observation; memory: WorkloadMemory } {
  const generations = [generation(1, 'ours', TRAITS)];
  const failing = new Map([[digest('theirs'), { since: '2026-01-01T00:00:00Z', detail: 'crashed' }]]);
  const store = {
    none: undefined,
    unproven: stored(generations, { newest: 1 }),
    proven: stored(generations, { newest: 1, proven: 1 }),
    failing: stored(generations, { newest: 1, failing }),
  }[world.stored];
  const isPresent = world.api === 'ok' && world.parent !== 'absent';
  const copy = { kind: 'copy', copy: copyOf(world.parent === 'changed' ? 'newer' : 'ours', TRAITS) } as const;
  const seen: WorkloadObservation = workload(SCHEDULER, {
    parent: isPresent
      ? { state: 'present', pod: parent(copy, { ready: world.parent !== 'notReady' }) }
      : world.api === 'ok'
        ? { state: 'absent', unmarked: false }
        : { state: 'unknown' },
    parentPods: isPresent && world.runtime === 'ok' ? [runtimePod('running')] : [],
    stored: store,
    active: world.theirs === 'active' && store !== undefined ? [{ file: FILE, generation: 0, activation: 0 }] : [],
  });
  const theirs = checkpoint({
    ...(world.theirs === 'files'
      ? { inactive: false, workload: undefined, uid: '', copy: undefined }
      : { copy: world.copy === 'copy' ? { kind: 'copy', copy: copyOf('theirs', TRAITS) } : { kind: 'refused', refusals: [] } }),
    ...(world.theirs === 'active' ? { active: FILE } : {}),
    listed: world.api === 'ok' ? isPresent : undefined,
  });
  return {
    memory: {
      ...(world.ready === 'long' ? { ready: { uid: PARENT_UID, digest: digest('ours'), restarts: 0, since: 0 } } : {}),
      up: { uid: PARENT_UID, attempts: 0, since: 0 },
    },
    seen: observation(isPresent || store !== undefined ? [seen] : [], {
      api: api(world.api),
      runtime: world.runtime === 'ok' ? { state: 'ok' } : { state: 'unknown', detail: 'no socket' },
      predecessor: { checkpoints: [theirs], removable: world.removable, empty: [] },
      ...(world.retired ? { retired: [{ workload: SCHEDULER, entry: 'r', age: 1, servesApi: false }] } : {}),
    }),
  };
}

describe("a checkpoint that bootkube's pod-checkpointer left", () => {
  it('is adopted, kept or cleared as the rules say, in every state', () => {
    let worlds = 0;
    for (const world of product(DIMENSIONS) as Generator<World>) {
      if (world.leaving && (world.api !== 'ok' || world.stored === 'none')) continue;
      worlds++;
      const { seen, memory } = build(world);
      const self = { ...APISERVER, name: 'pod-checkpointer' };
      const own = workload(self, { parent: { state: 'absent', unmarked: true } });
      const given: Observation = world.leaving
        ? { ...seen, self: workloadKey(self), workloads: new Map([...seen.workloads, [workloadKey(self), own]]) }
        : seen;
      const before = memoryOf(SCHEDULER, memory).workloads;
      const leaving = world.leaving ? memoryOf(self, { absentSince: 0 }).workloads : new Map();
      const { actions, predecessor } = decide({ workloads: new Map([...before, ...leaving]) }, given, POLICY);
      if (world.theirs !== 'files') expect(predecessor?.has(KEY), JSON.stringify(world)).toBe(true);
      const of = actions.filter(({ kind }) => OURS.has(kind)).map(({ kind }) => kind);
      // Ready is remembered only while the runtime's word does not matter for it.
      const asRemembered = { ...world, runtime: 'ok' } as World;
      expect(of, JSON.stringify(world)).toEqual(expected(asRemembered));
    }
    expect(worlds).toBeGreaterThan(5_000);
  });

  it('is adopted before anything is saved, and the boot is not settled over it', () => {
    const seen = observation([], {
      api: { state: 'unreachable', detail: 'refused' },
      settledBootId: undefined,
      predecessor: { checkpoints: [checkpoint({ listed: undefined })], removable: true, empty: [] },
    });
    expect(decide({ workloads: new Map() }, seen, POLICY).actions.map(({ kind }) => kind)).toEqual(['adopt']);
    // With the API server there is nothing to be done at once: a checkpoint that cannot be taken over does not keep the boot unsettled.
    const answers = decide({ workloads: new Map() }, { ...seen, api: { state: 'ok' } }, POLICY);
    expect(answers.actions.map(({ kind }) => kind)).toEqual(['adopt', 'settleBoot']);
    const present = workload(SCHEDULER, {
      parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('ours', TRAITS) }) },
      parentPods: [runtimePod('running')],
    });
    const both = observation([present], { predecessor: { checkpoints: [checkpoint()], removable: true, empty: [] } });
    expect(decide({ workloads: new Map() }, both, POLICY).actions.map(({ kind }) => kind)).toEqual(['adopt', 'save']);
  });

  it('of a workload of which it has several: the one that runs, else the one that the API server knows', () => {
    const adoptedOf = (...checkpoints: PredecessorCheckpoint[]) =>
      decide(
        { workloads: new Map() },
        observation([], { predecessor: { checkpoints, removable: true, empty: [] } }),
        POLICY,
      ).actions.flatMap((action) => (action.kind === 'adopt' ? [action.parent.name] : []));
    const [old, current, running] = [
      checkpoint({ name: 'old' }),
      checkpoint({ name: 'current', listed: true }),
      checkpoint({ name: 'running', active: FILE }),
    ];
    expect(adoptedOf(old, current)).toEqual(['current']);
    expect(adoptedOf(old, current, running)).toEqual(['running']);
  });

  it('that runs is said to leave only where there is a copy of ours', () => {
    const refused = checkpoint({ active: FILE, copy: { kind: 'refused', refusals: [] } });
    const seen = observation([], { predecessor: { checkpoints: [refused], removable: true, empty: [] } });
    expect(decide({ workloads: new Map() }, seen, POLICY).predecessor?.get(KEY)).toContain('left alone');
    const kept = workload(SCHEDULER, { stored: stored([generation(1, 'ours', TRAITS)], { newest: 1, proven: 1 }) });
    const ours = observation([kept], { predecessor: { checkpoints: [refused], removable: true, empty: [] } });
    expect(decide({ workloads: new Map() }, ours, POLICY).predecessor?.get(KEY)).toContain('leaves as a copy of ours would');
  });

  it('goes when its parent has been Ready with the proven copy for long enough, at that moment', () => {
    const present = workload(SCHEDULER, {
      parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('ours', TRAITS) }) },
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'ours', TRAITS)], { newest: 1, proven: 1 }),
    });
    const seen = observation([present], { predecessor: { checkpoints: [checkpoint()], removable: true, empty: [] } });
    const first = decide({ workloads: new Map() }, seen, POLICY);
    expect(first.actions).toEqual([]);
    expect(first.wakeAt).toBe(NOW + POLICY.proveAfter);
    expect(first.predecessor?.get(KEY)).toContain('kept until its pod has been Ready');
    const then = decide(first.memory, { ...seen, now: NOW + POLICY.proveAfter }, POLICY);
    expect(then.actions).toEqual([
      {
        kind: 'clearPredecessor',
        workload: SCHEDULER,
        pod: { namespace: 'kube-system', name: 'kube-scheduler-fd55v' },
        active: undefined,
        whole: true,
      },
    ]);
  });

  it('leaves empty directories behind, which go last', () => {
    const empty = ['/etc/kubernetes/checkpoint-secrets/kube-system', '/etc/kubernetes/checkpoint-secrets'];
    const tidied = (checkpoints: PredecessorCheckpoint[]) =>
      decide({ workloads: new Map() }, observation([], { predecessor: { checkpoints, removable: true, empty } }), POLICY).actions;
    expect(tidied([])).toEqual([{ kind: 'tidyPredecessor', directories: empty }]);
    expect(tidied([checkpoint({ copy: undefined })])).toEqual([]);
  });
});

describe('its active copy', () => {
  const active = [{ file: FILE, generation: OF_PREDECESSOR, activation: OF_PREDECESSOR }];
  const theirs = { ...copyPod(OF_PREDECESSOR), activation: OF_PREDECESSOR };
  const proven = stored([generation(1, 'ours', TRAITS)], { newest: 1, proven: 1 });
  const predecessor = { checkpoints: [checkpoint({ active: FILE, copy: undefined })], removable: true, empty: [] };
  const actionsIn = (seen: WorkloadObservation, more: Partial<Observation> = {}, memory: WorkloadMemory = {}) =>
    decide(memoryOf(SCHEDULER, memory), observation([seen], { predecessor, ...more }), POLICY);
  const away: Partial<Observation> = { api: { state: 'unreachable', detail: 'refused' }, settledBootId: 'boot-0' };

  it('runs on while the API server is away: nothing is started beside it, on a cold boot neither', () => {
    const { actions, reports } = actionsIn(workload(SCHEDULER, { stored: proven, active, copyPods: [theirs] }), away);
    expect(actions.map(({ kind }) => kind)).toEqual(['settleBoot']);
    expect(reports.get(KEY)?.reason).toBe('Active');
  });

  it('makes room for its parent as ours would: its manifest and its containers in one step, when the parent has a container', () => {
    const present = { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('ours', TRAITS) }) } as const;
    const waiting = workload(SCHEDULER, {
      parent: present,
      parentPods: [runtimePod('sandbox')],
      stored: proven,
      active,
      copyPods: [theirs],
    });
    expect(actionsIn(waiting).actions).toEqual([]);
    const { actions, memory } = actionsIn({ ...waiting, parentPods: [runtimePod('created')] });
    expect(actions).toEqual([{ kind: 'makeRoom', workload: SCHEDULER, files: [FILE], containerIds: ['copy-container'], graceful: true }]);
    expect(memory.workloads.get(KEY)?.trial).toBeDefined();
  });

  it('of an API server is killed, not drained, to make room', () => {
    const traits = { servesApi: true, handBack: 'overlap' } as const;
    const present = { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('ours', traits) }) } as const;
    const seen = workload(SCHEDULER, {
      parent: present,
      parentPods: [runtimePod('created')],
      stored: stored([generation(1, 'ours', traits)], { newest: 1, proven: 1 }),
      active,
      copyPods: [theirs],
    });
    expect(actionsIn(seen).actions).toMatchObject([{ kind: 'makeRoom', graceful: false }]);
  });

  it('gives way to a copy of ours where the kubelet does not bring it up', () => {
    const seen = workload(SCHEDULER, { stored: proven, active });
    expect(actionsIn(seen, away).actions.map(({ kind }) => kind)).toEqual(['settleBoot']);
    const missing = { copy: { activation: 0, generation: 0, missingSince: NOW - 20_000 } };
    expect(actionsIn(seen, away, missing).actions).toMatchObject([
      { kind: 'activate', generation: 1, activation: 1 },
      { kind: 'makeRoom', files: [FILE] },
    ]);
  });

  it('gives way to a copy of ours where it crashes', () => {
    const crashed = { ...theirs, running: 0, alive: 0, up: false, runningContainerIds: [] };
    const seen = workload(SCHEDULER, { stored: proven, active, copyPods: [crashed] });
    const memory = { copy: { activation: 0, generation: 0, crashes: { uid: 'uid-copy', count: 2, since: 0, seen: [] } } };
    expect(actionsIn(seen, away, memory).actions).toMatchObject([
      { kind: 'activate', generation: 1 },
      { kind: 'makeRoom', files: [FILE], containerIds: [] },
    ]);
  });

  it.each([
    ['at once', false, 0],
    ['of an API server when it has been up for --stable-for', true, POLICY.stableFor],
  ])('that holds a host port of its parent gives way to a copy of ours, which declares none: %s', (_when, servesApi, after) => {
    const traits = { servesApi, handBack: 'exclusive' } as const;
    const seen = workload(SCHEDULER, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'ours', traits)], { newest: 1, proven: 1 }),
      active,
      copyPods: [theirs],
      rejected: { reason: 'NodePorts', message: '' },
    });
    const up = (since: number): WorkloadMemory => ({ copy: { activation: 0, generation: 0, upSince: since } });
    const replaced = [
      { kind: 'activate', generation: 1, activation: 1 },
      { kind: 'makeRoom', files: [FILE], containerIds: ['copy-container'], graceful: !servesApi },
    ];
    expect(actionsIn(seen, {}, up(NOW - after)).actions).toMatchObject(replaced);
    if (after > 0) {
      const { actions, reports, wakeAt } = actionsIn(seen, {}, up(NOW - after + 1));
      expect([actions, reports.get(KEY)?.reason, wakeAt]).toEqual([[], 'ParentRejected', NOW + 1]);
    }
    // What the node has too little of, a copy of ours would have too little of, too.
    expect(actionsIn({ ...seen, rejected: { reason: 'OutOfcpu', message: '' } }, {}, up(0)).actions).toEqual([]);
  });

  it('that declares a host port gives way also where no scheduler binds its parent, and so nobody refuses it', () => {
    const traits = { servesApi: true, handBack: 'exclusive' } as const;
    const seen = workload(SCHEDULER, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'ours', traits)], { newest: 1, proven: 1 }),
      active: active.map((one) => ({ ...one, holdsHostPort: true as const })),
      copyPods: [theirs],
    });
    const up = (since: number): WorkloadMemory => ({ absentSince: 0, copy: { activation: 0, generation: 0, upSince: since } });
    const gone: Partial<Observation> = { absences: new Map([[PARENT_UID, 'gone']]) };
    expect(actionsIn(seen, gone, up(NOW - POLICY.stableFor + 1)).actions).toEqual([]);
    const { actions } = actionsIn(seen, gone, up(NOW - POLICY.stableFor));
    expect(actions).toMatchObject([
      { kind: 'activate', generation: 1 },
      { kind: 'makeRoom', files: [FILE] },
    ]);
    expect(actionsIn(seen, away, up(0)).actions.filter(({ kind }) => kind === 'activate' || kind === 'makeRoom')).toEqual([]);
  });

  it('leaves where a copy of ours is active beside it: a power cut came in between', () => {
    const ours = { file: 'pod-checkpointer.kube-system.kube-scheduler-ds-g1-a1.json', generation: 1, activation: 1 };
    const seen = workload(SCHEDULER, { stored: proven, active: [ours, ...active], copyPods: [copyPod(1), theirs] });
    expect(actionsIn(seen, { ...away, settledBootId: 'boot-1' }).actions).toEqual([
      { kind: 'deactivate', workload: SCHEDULER, file: FILE },
    ]);
  });

  it('that may be the only API server is not ended because its parent is gone', () => {
    const traits = { servesApi: true, handBack: 'exclusive' } as const;
    const seen = workload(SCHEDULER, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'ours', traits)], { newest: 1, proven: 1 }),
      active,
      copyPods: [theirs],
    });
    const { actions, reports } = actionsIn(seen, { absences: new Map([[PARENT_UID, 'gone']]) }, { absentSince: 0 });
    expect([actions, reports.get(KEY)?.reason]).toEqual([[], 'KeptServingApi']);
  });
});

describe('its copy of itself', () => {
  const SELF = { ...SCHEDULER, name: 'pod-checkpointer' };
  const dimensions = {
    api: ['unknown', 'unreachable', 'denied', 'ok'],
    listed: [true, false],
    absence: ['unasked', 'gone', 'present', 'unanswered'],
    // Where the daemon runs as a pod, whether its own copy would lead after a boot.
    own: ['host', 'activeProven', 'activeRuns', 'active', 'proven'],
    kubelet: ['held', 'free', 'unknown'],
    active: [true, false],
    removable: [true, false],
    leftAt: ['start', 'justAsked'],
  } as const;
  type Itself = { -readonly [K in keyof typeof dimensions]: (typeof dimensions)[K][number] };

  function expectedOfItself({ api: state, listed, absence, own, kubelet, active, removable, leftAt }: Itself): string[] {
    if (state !== 'ok' || listed || kubelet === 'free') return [];
    if (own === 'active' || own === 'proven') return [];
    if (absence === 'gone') return active || removable ? [`clear ${removable ? 'all' : 'active'}`] : [];
    return leftAt === 'justAsked' ? [] : ['confirmAbsence'];
  }

  it('goes when its pod is confirmed gone and a copy of ours would lead instead', () => {
    for (const world of product(dimensions) as Generator<Itself>) {
      const file = 'kube-system-pod-checkpointer-8wxtg.json';
      const itself = checkpoint({
        name: 'pod-checkpointer-8wxtg',
        isCheckpointer: true,
        workload: SELF,
        copy: undefined,
        active: world.active ? file : undefined,
        listed: world.api === 'ok' ? world.listed : undefined,
      });
      const own = workload(SELF, {
        parent:
          world.api === 'ok' ? { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('self', TRAITS) }) } : { state: 'unknown' },
        parentPods: [runtimePod('running')],
        stored: stored([generation(1, 'self', TRAITS)], {
          newest: 1,
          ...(world.own.startsWith('active') && world.own !== 'activeProven' ? {} : { proven: 1 }),
        }),
        active: world.own === 'proven' ? [] : [{ file: 'pod-checkpointer.x.json', generation: 1, activation: 1 }],
        copyPods: world.own === 'activeRuns' ? [copyPod(1)] : [],
      });
      const absences = new Map<string, Absence>(world.absence === 'unasked' ? [] : [['uid-theirs', world.absence]]);
      const seen = observation(world.own === 'host' ? [] : [own], {
        self: world.own === 'host' ? undefined : workloadKey(SELF),
        api: api(world.api),
        kubelet:
          world.kubelet === 'held'
            ? { state: 'held', pid: 1, waiting: [] }
            : world.kubelet === 'free'
              ? { state: 'free' }
              : { state: 'unknown', detail: 'none' },
        absences,
        predecessor: { checkpoints: [itself], removable: world.removable, empty: [] },
      });
      const memory = { workloads: new Map(), ...(world.leftAt === 'justAsked' ? { predecessorAskedAt: NOW - 1 } : {}) };
      const actions = decide(memory, seen, POLICY).actions.flatMap((action) => {
        if (action.kind === 'confirmAbsence') return ['confirmAbsence'];
        if (action.kind === 'clearPredecessor') return [`clear ${action.whole ? 'all' : 'active'}`];
        return OURS.has(action.kind) ? [action.kind] : [];
      });
      expect(actions, JSON.stringify(world)).toEqual(expectedOfItself(world));
    }
  });

  it('and its copy of this one: both go when a copy of ours would lead, the latter whatever becomes of its pod', () => {
    const file = 'kube-system-pod-checkpointer-x7k2f.json';
    const ofOurs = checkpoint({ name: 'pod-checkpointer-x7k2f', workload: SELF, copy: undefined, active: file, listed: true });
    const own = workload(SELF, {
      parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('self', TRAITS) }) },
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'self', TRAITS)], { newest: 1, proven: 1 }),
      active: [{ file: 'pod-checkpointer.x.json', generation: 1, activation: 1 }],
      copyPods: [copyPod(1)],
    });
    const actionsOf = (seen: WorkloadObservation, removable: boolean, active: string | undefined) =>
      decide(
        { workloads: new Map() },
        observation([seen], { self: workloadKey(SELF), predecessor: { checkpoints: [{ ...ofOurs, active }], removable, empty: [] } }),
        POLICY,
      ).actions.flatMap((action) => (action.kind === 'clearPredecessor' ? [[action.active, action.whole]] : []));
    expect(actionsOf(own, true, file)).toEqual([[file, true]]);
    expect(actionsOf(own, false, file)).toEqual([[file, false]]);
    expect(actionsOf(own, false, undefined)).toEqual([]);
    expect(actionsOf({ ...own, active: [] }, true, file)).toEqual([]);
    expect(actionsOf({ ...own, copyPods: [] }, true, file)).toEqual([[file, true]]);
    expect(actionsOf({ ...own, stored: undefined, copyPods: [] }, true, file)).toEqual([]);
  });

  it('is never adopted', () => {
    const itself = checkpoint({ isCheckpointer: true, workload: SELF });
    const seen = observation([], { predecessor: { checkpoints: [itself], removable: true, empty: [] } });
    expect(decide({ workloads: new Map() }, seen, POLICY).actions.some(({ kind }) => kind === 'adopt')).toBe(false);
  });
});
