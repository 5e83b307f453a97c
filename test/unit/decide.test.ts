import { describe, expect, it } from 'vitest';
import { type Decision, decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { Observation, Traits, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { type Workload, workloadKey } from '../../src/checkpoint/workload.ts';
import { API, EXCLUSIVE, handingBack, kinds } from '../support/handing-back.ts';
import {
  APISERVER,
  CONTROLLERS,
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

const SELF: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'pod-checkpointer' };

/** Decides again and again over the same world at the given times. */
function over(times: readonly number[], world: (now: number) => Observation, memory: Memory = EMPTY_MEMORY): Decision {
  let decision: Decision | undefined;
  for (const now of times) decision = decide(decision?.memory ?? memory, { ...world(now), now }, POLICY);
  if (decision === undefined) throw new Error('no times given');
  return decision;
}

describe('yield', () => {
  it('lets one workload go at a time, the API server first', () => {
    const seen = observation([
      handingBack(APISERVER, API, 'created'),
      handingBack(CONTROLLERS, EXCLUSIVE, 'created'),
      handingBack(SCHEDULER, EXCLUSIVE, 'ended'),
    ]);
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual(['makeRoom kube-apiserver']);
  });

  it('makes room at the moment a container starts, not while the kubelet waits before it starts it again', () => {
    expect(kinds(decide(EMPTY_MEMORY, observation([handingBack(APISERVER, API, 'ended')]), POLICY))).toEqual([]);
    expect(decide(EMPTY_MEMORY, observation([handingBack(APISERVER, API, 'ended')]), POLICY).wakeAt).toBe(NOW + 50);
    expect(kinds(decide(EMPTY_MEMORY, observation([handingBack(APISERVER, API, 'running')]), POLICY))).toEqual(['makeRoom kube-apiserver']);
  });

  it("removes the parent's crashes from the runtime while the copy holds its port, at boot and later, but not after a failed trial", () => {
    const ended = { ...handingBack(APISERVER, API, 'ended'), parentPods: [runtimePod('ended', { endedContainerIds: ['c1', 'c2'] })] };
    const forget = (seen: Observation, memory = EMPTY_MEMORY) =>
      decide(memory, seen, POLICY).actions.filter((action) => action.kind === 'forgetExits');
    expect(forget(observation([ended]))).toMatchObject([{ containerIds: ['c1', 'c2'] }]);
    expect(forget(observation([{ ...ended, parent: { state: 'unknown' } }], { api: { state: 'unreachable', detail: '' } }))).toHaveLength(
      1,
    );
    expect(forget(observation([{ ...ended, active: [] }]))).toEqual([]);
    expect(forget(observation([{ ...ended, parentPods: [runtimePod('running', { endedContainerIds: ['c1'] })] }]))).toEqual([]);
    const failed: Memory = { workloads: new Map([[workloadKey(APISERVER), { failedTrials: { count: 1, retryAt: NOW + 1 } }]]) };
    expect(forget(observation([ended]), failed)).toEqual([]);
  });

  it('kills a copy that serves the API and lets others release their leases', () => {
    const stop = (of: Workload, traits: Traits) =>
      decide(EMPTY_MEMORY, observation([handingBack(of, traits, 'created')]), POLICY).actions[0];
    expect(stop(APISERVER, API)).toMatchObject({ kind: 'makeRoom', graceful: false });
    expect(stop(SCHEDULER, EXCLUSIVE)).toMatchObject({ kind: 'makeRoom', graceful: true });
  });

  it('lets the others wait until the API server has handed back, but not for ever', () => {
    const seen = observation([handingBack(APISERVER, API, 'ended'), handingBack(SCHEDULER, EXCLUSIVE, 'created')]);
    const first = decide(EMPTY_MEMORY, seen, POLICY);
    expect(kinds(first)).toEqual([]);
    expect(kinds(decide(first.memory, { ...seen, now: NOW + POLICY.downFor }, POLICY))).toEqual(['makeRoom kube-scheduler']);
  });

  it('starts no other yield while a parent is still on its way up', () => {
    const first = decide(
      EMPTY_MEMORY,
      observation([handingBack(CONTROLLERS, EXCLUSIVE, 'created'), handingBack(SCHEDULER, EXCLUSIVE, 'created')]),
      POLICY,
    );
    const after = observation(
      [{ ...handingBack(CONTROLLERS, EXCLUSIVE, 'created'), active: [], copyPods: [] }, handingBack(SCHEDULER, EXCLUSIVE, 'created')],
      { now: NOW + 200 },
    );
    const second = decide(first.memory, after, POLICY);
    expect(kinds(second)).toEqual([]);
    const up = observation(
      [{ ...handingBack(CONTROLLERS, EXCLUSIVE, 'running'), active: [], copyPods: [] }, handingBack(SCHEDULER, EXCLUSIVE, 'created')],
      { now: NOW + 400 },
    );
    expect(kinds(decide(second.memory, up, POLICY))).toEqual(['makeRoom kube-scheduler']);
  });

  it('does not keep the API server for another parent that still needs it to start: the copy of that one runs', () => {
    const seen = observation([handingBack(APISERVER, API, 'created'), handingBack(SCHEDULER, EXCLUSIVE, 'sandbox')]);
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual(['makeRoom kube-apiserver']);
  });

  it('doubles the time between trials that fail, up to half an hour', () => {
    const failing = { ...handingBack(SCHEDULER, EXCLUSIVE, 'created'), active: [], copyPods: [] };
    const waits: number[] = [];
    let failedTrials: { count: number; retryAt: number } | undefined;
    for (let round = 0; round < 8; round++) {
      const memory: Memory = {
        workloads: new Map([
          [
            workloadKey(SCHEDULER),
            { trial: { since: NOW - 90_000, deadline: NOW }, ...(failedTrials === undefined ? {} : { failedTrials }) },
          ],
        ]),
      };
      const decision = decide(memory, observation([failing]), POLICY);
      expect(kinds(decision)).toEqual(['activate kube-scheduler']);
      failedTrials = decision.memory.workloads.get(workloadKey(SCHEDULER))?.failedTrials;
      waits.push((failedTrials?.retryAt ?? 0) - NOW);
    }
    expect(waits).toEqual([90_000, 180_000, 360_000, 720_000, 1_440_000, 1_800_000, 1_800_000, 1_800_000]);
  });

  it('goes on trying to bring the copy back after a trial that failed, and counts it once', () => {
    const failing = { ...handingBack(SCHEDULER, EXCLUSIVE, 'created'), active: [], copyPods: [] };
    const memory: Memory = { workloads: new Map([[workloadKey(SCHEDULER), { trial: { since: NOW - 90_000, deadline: NOW } }]]) };
    const first = decide(memory, observation([failing]), POLICY);
    const running = { ...failing, parentPods: [runtimePod('ended', { attempts: 7 })] };
    const again = decide(first.memory, observation([running], { now: NOW + 1_000 }), POLICY);
    expect(kinds(again)).toEqual(['activate kube-scheduler']);
    const remembered = again.memory.workloads.get(workloadKey(SCHEDULER));
    expect(remembered?.failedTrials).toMatchObject({ count: 1, retryAt: NOW + 90_000 });
    const back = decide(again.memory, observation([handingBack(SCHEDULER, EXCLUSIVE, 'ended')], { now: NOW + 2_000 }), POLICY);
    expect(back.memory.workloads.get(workloadKey(SCHEDULER))?.trial).toBeUndefined();
    expect(back.reports.get(workloadKey(SCHEDULER))?.reason).toBe('YieldPending');
  });

  it('does not hold the failures of one spec against another', () => {
    const seen = (of: string) => {
      const parentOf = parent({ kind: 'copy', copy: copyOf(of, EXCLUSIVE) }, { ready: false });
      return observation([{ ...handingBack(SCHEDULER, EXCLUSIVE, 'created'), parent: { state: 'present', pod: parentOf } }]);
    };
    const memory: Memory = {
      workloads: new Map([[workloadKey(SCHEDULER), { failedTrials: { count: 5, retryAt: NOW + 60_000, digest: digest('bad') } }]]),
    };
    expect(kinds(decide(memory, seen('bad'), POLICY))).not.toContain('makeRoom kube-scheduler');
    expect(kinds(decide(memory, seen('mended'), POLICY))).toContain('makeRoom kube-scheduler');
  });

  it('does not end a copy that can share its port while the objects of its parent are being read again', () => {
    const overlap: Traits = { servesApi: true, handBack: 'overlap' };
    const seen = observation([
      { ...handingBack(APISERVER, overlap, 'running'), parent: { state: 'present', pod: parent({ kind: 'waiting', objects: [] }) } },
    ]);
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual([]);
  });

  it('does not call a parent up that only runs for a moment between crashes', () => {
    const parentPods = (now: number) => [runtimePod('running', { attempts: Math.floor((now - NOW) / 2_000) })];
    const overlap: Traits = { servesApi: true, handBack: 'overlap' };
    const decision = over(
      Array.from({ length: 60 }, (_, second) => NOW + second * 1_000),
      (now) => observation([{ ...handingBack(APISERVER, overlap, 'running'), parentPods: parentPods(now) }]),
    );
    expect(decision.reports.get(workloadKey(APISERVER))?.reason).toBe('Overlap');
    expect(kinds(decision)).toEqual([]);
  });

  it('does not count it as a failed trial when the parent lost its sandbox and no API server is there to bring another', () => {
    const memory: Memory = {
      apiUnreachableSince: NOW - 10_000,
      workloads: new Map([
        [workloadKey(APISERVER), { trial: { since: NOW - 10_000, deadline: NOW + 80_000 }, parentDownSince: NOW - 4_000 }],
      ]),
    };
    const seen = observation(
      [workload(APISERVER, { stored: stored([generation(1, 'spec', API)], { newest: 1, proven: 1, activations: 4 }) })],
      { api: { state: 'unreachable', detail: 'refused' } },
    );
    const decision = decide(memory, seen, POLICY);
    expect(decision.actions).toMatchObject([{ kind: 'activate', generation: 1, activation: 5 }]);
    expect(decision.reports.get(workloadKey(APISERVER))?.reason).toBe('Activating');
    expect(decision.memory.workloads.get(workloadKey(APISERVER))?.failedTrials).toBeUndefined();
  });
});

describe('activate', () => {
  const down = workload(APISERVER, { stored: stored([generation(3, 'spec', API)], { newest: 3, proven: 3, activations: 7 }) });

  it('waits for --activate-after from when both parent and API server were gone, then acts at that moment', () => {
    const world = (now: number) =>
      observation([down], { now, api: now < NOW + 2_000 ? { state: 'ok' } : { state: 'unreachable', detail: 'refused' } });
    const present = (now: number): Observation => {
      const seen = world(now);
      return seen.api.state === 'ok'
        ? observation([{ ...down, parent: { state: 'present', pod: parent({ kind: 'waiting', objects: [] }) } }], { now })
        : seen;
    };
    const early = over([NOW, NOW + 1_000, NOW + 2_000, NOW + 4_999], present);
    expect(kinds(early)).toEqual([]);
    expect(early.wakeAt).toBe(NOW + 5_000);
    expect(over([NOW, NOW + 2_000, NOW + 5_000], present).actions).toMatchObject([{ kind: 'activate', generation: 3, activation: 8 }]);
  });

  it.each([
    ['the API server is away', { api: { state: 'unreachable', detail: 'refused' } }],
    ['the runtime does not answer', { runtime: { state: 'unknown', detail: '' } }],
    ['both are away', { api: { state: 'unreachable', detail: 'refused' }, runtime: { state: 'unknown', detail: '' } }],
  ] as const)('looks again in half a second while %s, and no sooner', (_, away) => {
    const { wakeAt, flux } = decide(EMPTY_MEMORY, observation([], away), POLICY);
    expect({ wakeAt, flux }).toEqual({ wakeAt: NOW + 500, flux: false });
  });

  it('does not wait for a parent that was on its way out when the API server went: it drains its watches for half a minute', () => {
    const draining = { ...down, parentPods: [runtimePod('running')] };
    const world = (now: number): Observation =>
      now === NOW
        ? observation(
            [{ ...draining, parent: { state: 'present', pod: parent({ kind: 'waiting', objects: [] }, { terminating: true }) } }],
            { now },
          )
        : observation([draining], { now, api: { state: 'unreachable', detail: 'refused' } });
    expect(kinds(over([NOW, NOW + 500, NOW + 3_400], world))).toEqual([]);
    expect(kinds(over([NOW, NOW + 500, NOW + 3_500], world))).toEqual(['activate kube-apiserver']);
    const staying = (now: number): Observation => observation([draining], { now, api: { state: 'unreachable', detail: 'refused' } });
    expect(kinds(over([NOW + 500, NOW + 60_000], staying))).toEqual([]);
  });

  it('settles the boot only when nothing is left to be activated at once', () => {
    const cold = observation([down], { settledBootId: 'boot-0', api: { state: 'unreachable', detail: 'refused' } });
    expect(kinds(decide(EMPTY_MEMORY, cold, POLICY))).toEqual(['activate kube-apiserver']);
    const activated = observation([{ ...down, active: [{ file: 'f', generation: 3, activation: 8 }] }], {
      settledBootId: 'boot-0',
      api: { state: 'unreachable', detail: 'refused' },
    });
    expect(kinds(decide(EMPTY_MEMORY, activated, POLICY))).toEqual(['settleBoot']);
    for (const seen of [
      { ...activated, api: { state: 'unknown' } as const },
      { ...activated, runtime: { state: 'unknown', detail: '' } as const },
    ]) {
      expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual([]);
    }
  });

  it('keeps the latest of two active manifests', () => {
    const two = {
      ...down,
      active: [
        { file: 'old', generation: 3, activation: 6 },
        { file: 'new', generation: 3, activation: 7 },
      ],
    };
    expect(decide(EMPTY_MEMORY, observation([two], { api: { state: 'unreachable', detail: '' } }), POLICY).actions).toMatchObject([
      { kind: 'deactivate', file: 'old' },
    ]);
  });
});

describe('save', () => {
  const copy = (of: string) => ({ kind: 'copy', copy: copyOf(of, EXCLUSIVE) }) as const;

  it('proves a generation after --prove-after without a restart, and counts anew after one', () => {
    const store = stored([generation(1, 'spec', EXCLUSIVE)], { newest: 1 });
    const world = (now: number) =>
      observation([
        workload(SCHEDULER, {
          parent: { state: 'present', pod: parent(copy('spec'), { restarts: now < NOW + 20_000 ? 0 : 1 }) },
          parentPods: [runtimePod('running')],
          stored: store,
        }),
      ]);
    expect(kinds(over([NOW, NOW + 19_000, NOW + 20_000, NOW + 49_000], world))).toEqual([]);
    expect(over([NOW, NOW + 20_000, NOW + 49_000], world).wakeAt).toBe(NOW + 50_000);
    expect(kinds(over([NOW, NOW + 20_000, NOW + 50_000], world))).toEqual(['prove kube-scheduler']);
  });

  it('does not let another spec inherit the time that the one before it was Ready', () => {
    const store = (now: number) =>
      now < NOW + 20_000
        ? stored([generation(1, 'old', EXCLUSIVE)], { newest: 1 })
        : stored([generation(1, 'old', EXCLUSIVE), generation(2, 'new', EXCLUSIVE)], { newest: 2 });
    const world = (now: number) =>
      observation([
        workload(SCHEDULER, {
          parent: { state: 'present', pod: parent(copy(now < NOW + 20_000 ? 'old' : 'new')) },
          parentPods: [runtimePod('running')],
          stored: store(now),
        }),
      ]);
    expect(kinds(over([NOW, NOW + 20_000, NOW + 31_000], world))).not.toContain('prove kube-scheduler');
    expect(kinds(over([NOW, NOW + 20_000, NOW + 50_000], world))).toContain('prove kube-scheduler');
  });

  it('removes what nothing points at and nothing runs, and only when the runtime says so', () => {
    const generations = [1, 2, 3, 4, 5, 6].map((number) => generation(number, `spec-${number}`, EXCLUSIVE));
    const seen = workload(SCHEDULER, {
      parent: { state: 'present', pod: parent(copy('spec-6')) },
      parentPods: [runtimePod('running')],
      copyPods: [copyPod(2)],
      stored: stored(generations, { newest: 6, proven: 5, previous: 4 }),
    });
    expect(decide(EMPTY_MEMORY, observation([seen]), POLICY).actions).toMatchObject([{ kind: 'prune', generations: [1, 3] }]);
    expect(
      kinds(decide(EMPTY_MEMORY, observation([{ ...seen, copyPods: [] }], { runtime: { state: 'unknown', detail: '' } }), POLICY)),
    ).toEqual([]);
  });

  it('quarantines what does not verify, before anything else', () => {
    const damaged = { ...stored([generation(1, 'spec', API)], { newest: 1, proven: 1 }), damaged: new Map([[2, 'index.json is missing']]) };
    const seen = observation([workload(APISERVER, { stored: damaged })], {
      settledBootId: 'boot-0',
      api: { state: 'unreachable', detail: '' },
    });
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual(['quarantine kube-apiserver', 'activate kube-apiserver']);
  });
});

describe('an active copy whose generation is damaged', () => {
  const whole = stored([generation(1, 'spec', API)], { newest: 1, proven: 1, activations: 2 });
  const damaged = { ...whole, damaged: new Map([[2, 'index.json is missing']]) };
  const active = [{ file: 'f', generation: 2, activation: 2 }];
  const copyPods = [{ ...copyPod(2), activation: 2, up: false }];

  it('is replaced by a good one, and only then are its files moved away', () => {
    const before = decide(EMPTY_MEMORY, observation([workload(APISERVER, { stored: damaged, active, copyPods })]), POLICY);
    expect(kinds(before)).toEqual(['activate kube-apiserver', 'makeRoom kube-apiserver']);
    const ended = [{ ...copyPod(2), activation: 2, alive: 0, running: 0 }];
    const after = [{ file: 'g', generation: 1, activation: 3 }];
    const then = decide(EMPTY_MEMORY, observation([workload(APISERVER, { stored: damaged, active: after, copyPods: ended })]), POLICY);
    expect(kinds(then)).toContain('quarantine kube-apiserver');
  });

  it('stays where it is while the runtime does not say what runs', () => {
    const seen = observation([workload(APISERVER, { stored: damaged })], { runtime: { state: 'unknown', detail: '' } });
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual([]);
  });
});

describe('retire', () => {
  const ownerGone = new Map([[workloadKey(SCHEDULER), { state: 'gone' as const }]]);
  const gone = workload(SCHEDULER, {
    parent: { state: 'absent', unmarked: false },
    stored: stored([generation(1, 'spec', EXCLUSIVE)], { newest: 1, proven: 1 }),
  });

  it('asks for the pod by name after the grace period, again after another one, and retires when it is confirmed', () => {
    const absences = (now: number) => new Map(now < NOW + 130_000 ? [] : [[PARENT_UID, 'gone' as const]]);
    const world = (now: number) => observation([gone], { absences: absences(now), owners: ownerGone });
    expect(kinds(over([NOW, NOW + 59_000], world))).toEqual([]);
    expect(over([NOW, NOW + 60_000], world).actions).toMatchObject([
      { kind: 'confirmAbsence', pod: { name: 'parent-abcde', uid: PARENT_UID } },
    ]);
    expect(kinds(over([NOW, NOW + 60_000, NOW + 61_000], world))).toEqual([]);
    expect(kinds(over([NOW, NOW + 60_000, NOW + 120_000], world))).toEqual(['confirmAbsence kube-scheduler']);
    expect(kinds(over([NOW, NOW + 60_000, NOW + 130_000], world))).toEqual(['retire kube-scheduler']);
  });

  it('starts the grace period anew when the API server was away in between', () => {
    const world = (now: number) =>
      observation([now === NOW + 30_000 ? { ...gone, parent: { state: 'unknown' } } : gone], {
        api: now === NOW + 30_000 ? { state: 'unreachable', detail: '' } : { state: 'ok' },
        owners: ownerGone,
      });
    expect(
      decide(over([NOW, NOW + 30_000, NOW + 31_000], world).memory, { ...world(NOW + 60_000), now: NOW + 60_000 }, POLICY).reports.get(
        workloadKey(SCHEDULER),
      )?.reason,
    ).toBe('ParentAbsent');
  });

  it('asks for the pod that was seen last, not for the one that was saved', () => {
    const seen = observation([
      { ...gone, parent: { state: 'present', pod: parent({ kind: 'waiting', objects: [] }, { name: 'later', uid: 'uid-later' }) } },
    ]);
    const before = decide(EMPTY_MEMORY, seen, POLICY);
    expect(over([NOW + 1, NOW + 60_001], () => observation([gone]), before.memory).actions).toMatchObject([
      { kind: 'confirmAbsence', pod: { uid: 'uid-later' } },
    ]);
  });
});

describe('self', () => {
  const own = (more: Partial<WorkloadObservation>) => observation([workload(SELF, more)], { self: workloadKey(SELF) });
  const present = (of: string) => ({ state: 'present', pod: parent({ kind: 'copy', copy: copyOf(of, EXCLUSIVE) }) }) as const;

  it('keeps its own copy active beside its parent, whatever the API server says', () => {
    const seen = own({
      parent: present('spec'),
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'spec', EXCLUSIVE)], { newest: 1 }),
    });
    expect(kinds(decide(EMPTY_MEMORY, seen, POLICY))).toEqual(['activate pod-checkpointer']);
    expect(kinds(decide(EMPTY_MEMORY, { ...seen, api: { state: 'unreachable', detail: '' } }, POLICY))).toEqual([
      'activate pod-checkpointer',
    ]);
  });

  it('replaces its running copy by a proven one only', () => {
    const active = [{ file: 'old', generation: 1, activation: 1 }];
    const generations = [generation(1, 'old', EXCLUSIVE), generation(2, 'spec', EXCLUSIVE)];
    const unproven = own({
      parent: present('spec'),
      parentPods: [runtimePod('running')],
      copyPods: [copyPod(1)],
      active,
      stored: stored(generations, { newest: 2, proven: 1, activations: 1 }),
    });
    expect(kinds(decide(EMPTY_MEMORY, unproven, POLICY))).toEqual([]);
    const proven = own({
      parent: present('spec'),
      parentPods: [runtimePod('running')],
      copyPods: [copyPod(1)],
      active,
      stored: stored(generations, { newest: 2, proven: 2, previous: 1, activations: 1 }),
    });
    expect(decide(EMPTY_MEMORY, proven, POLICY).actions).toMatchObject([
      { kind: 'activate', generation: 2, activation: 2 },
      { kind: 'deactivate', file: 'old' },
    ]);
  });

  it('does not leave because its pod is missing for a while, and goes on leaving once its generations are out of use', () => {
    const absences = new Map([[PARENT_UID, 'gone' as const]]);
    const gone = workload(SELF, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'self', EXCLUSIVE)], { newest: 1, proven: 1 }),
      active: [{ file: 'self', generation: 1, activation: 1, edits: [] }],
    });
    const running = workload(SCHEDULER, {
      parent: present('spec'),
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'spec', EXCLUSIVE)], { newest: 1, proven: 1 }),
    });
    const world = (now: number) =>
      observation(now < NOW + 700_000 ? [gone, running] : [{ ...running, stored: undefined }], { self: workloadKey(SELF), absences });
    expect(over([NOW, NOW + 599_000], world).reports.get(workloadKey(SCHEDULER))?.reason).toBe('Protected');
    expect(kinds(over([NOW, NOW + 600_000], world))).toContain('retire kube-scheduler');
    expect(kinds(over([NOW, NOW + 600_000, NOW + 700_000, NOW + 701_000], world))).toEqual([]);
  });

  it('leaves last: the others first, then its manifest, then its store', () => {
    const self = workload(SELF, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'self', EXCLUSIVE)], { newest: 1, proven: 1 }),
      active: [{ file: 'self', generation: 1, activation: 1 }],
    });
    const absences = new Map([[PARENT_UID, 'gone' as const]]);
    const memory: Memory = {
      workloads: new Map([[workloadKey(SELF), { absentSince: NOW - 600_000, lastParent: { name: 'self', uid: PARENT_UID } }]]),
    };
    const running = workload(SCHEDULER, {
      parent: present('spec'),
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'spec', EXCLUSIVE)], { newest: 1, proven: 1 }),
    });
    const bridging = handingBack(CONTROLLERS, EXCLUSIVE, 'sandbox');
    const first = decide(memory, observation([self, running, bridging], { self: workloadKey(SELF), absences }), POLICY);
    expect(kinds(first)).toEqual(['retire kube-scheduler']);
    expect(first.reports.get(workloadKey(SELF))?.reason).toBe('Leaving');
    const storedOnly = { ...running, parent: { state: 'absent' as const, unmarked: true }, parentPods: [] };
    const waiting = decide(memory, observation([self, storedOnly], { self: workloadKey(SELF), absences }), POLICY);
    expect(kinds(waiting)).toEqual(['retire kube-scheduler']);
    const last = decide(memory, observation([self], { self: workloadKey(SELF), absences }), POLICY);
    expect(last.actions).toMatchObject([{ kind: 'leave', files: ['self'] }]);
  });
});
