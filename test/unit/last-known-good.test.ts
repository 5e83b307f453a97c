/** Never worse than before: proofs without an API server, specs that fail, orphaned owners, copies that the kubelet refuses, new versions of the checkpointer. */
import { describe, expect, it } from 'vitest';
import { type Decision, decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { Observation, StoredWorkload, WorkloadObservation } from '../../src/checkpoint/model.ts';
import type { OwnerState } from '../../src/checkpoint/owner-wants.ts';
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
const GOOD = generation(1, 'good', TRAITS);
const BAD = generation(2, 'bad', TRAITS);
const DOWN = { state: 'unreachable', detail: 'refused' } as const;
const KEY = workloadKey(SCHEDULER);

/** A world that goes on from step to step, as the daemon sees it. */
function story(policy = POLICY) {
  let memory: Memory = EMPTY_MEMORY;
  let now = NOW;
  let last: Decision | undefined;
  return {
    at(after: number, of: Partial<WorkloadObservation>, more: Partial<Observation> = {}, self?: boolean): Decision {
      now += after;
      const seen = { ...observation([workload(SCHEDULER, of)], more), now, ...(self && { self: KEY }) };
      last = decide(memory, seen, policy);
      memory = last.memory;
      return last;
    },
    get reason() {
      return last?.reports.get(KEY)?.reason;
    },
    get message() {
      return last?.reports.get(KEY)?.message ?? '';
    },
    get done() {
      return (last?.actions ?? []).map((action) => ('generation' in action ? `${action.kind} ${action.generation}` : action.kind));
    },
    get memory() {
      return memory.workloads.get(KEY);
    },
  };
}

const bad = (more = {}) => ({
  state: 'present' as const,
  pod: parent({ kind: 'copy', copy: copyOf('bad', TRAITS) }, { ready: false, ...more }),
});
const good = (more = {}) => ({ state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('good', TRAITS) }, more) });
const crashed = (...ids: string[]) => [runtimePod('ended', { endedContainerIds: ids, crashedContainerIds: ids })];
const rolledOut = (more: Partial<StoredWorkload> = {}) => ({ ...stored([GOOD, BAD], { newest: 2, proven: 1 }), ...more });
const active = (gen: number, activation = 1) => [{ file: `f${activation}`, generation: gen, activation }];

describe('a spec that crashes', () => {
  it('gives way to the proven one at its second crash while the API server is away, and is marked', () => {
    const s = story();
    s.at(0, { parent: bad(), parentPods: [runtimePod('running')], stored: rolledOut() });
    s.at(1000, { parentPods: crashed('c1'), stored: rolledOut() }, { api: DOWN });
    expect(s.done).toEqual([]);
    s.at(1000, { parentPods: crashed('c1', 'c2'), stored: rolledOut() }, { api: DOWN });
    expect(s.reason).toBe('RolledBack');
    expect(s.done).toEqual(['activate 1', 'markFailing']);
  });

  it('has as long as any parent that is down while the API server answers', () => {
    const s = story();
    s.at(0, { parent: bad(), parentPods: [runtimePod('running')], stored: rolledOut() });
    s.at(1000, { parent: bad(), parentPods: crashed('c1'), stored: rolledOut() });
    // It runs for a moment between its crashes: it is never down for long.
    s.at(10_000, { parent: bad(), parentPods: [runtimePod('running', { crashedContainerIds: ['c1'] })], stored: rolledOut() });
    s.at(1000, { parent: bad(), parentPods: crashed('c1', 'c2'), stored: rolledOut() });
    expect(s.reason).toBe('ParentDown');
    s.at(49_000, { parent: bad(), parentPods: crashed('c1', 'c2'), stored: rolledOut() });
    expect(s.done).toEqual(['activate 1', 'markFailing']);
  });

  it('is marked until the disk has the mark, and is not given the place of the copy', () => {
    const s = story();
    s.at(0, { parent: bad(), parentPods: [runtimePod('running')], stored: rolledOut() });
    s.at(1000, { parentPods: crashed('c1', 'c2'), stored: rolledOut() }, { api: DOWN });
    const running = { parent: bad(), parentPods: [runtimePod('created')], copyPods: [copyPod(1)], active: active(1) };
    s.at(5000, { ...running, stored: rolledOut() });
    expect(s.reason).toBe('FailingSpec');
    expect(s.done).toContain('markFailing');
    const failing = new Map([[digest('bad'), { since: '', detail: 'it crashed' }]]);
    s.at(5000, { ...running, stored: rolledOut({ failing }) });
    expect(s.reason).toBe('FailingSpec');
    expect(s.message).toContain('it crashed');
    expect(s.done).toEqual([]);
    s.at(5000, { ...running, stored: rolledOut() });
    expect(s.reason, 'a person cleared the mark').toBe('Yielding');
  });

  it('gets the place of the copy again when it changes', () => {
    const s = story();
    const failing = new Map([[digest('bad'), { since: '', detail: 'it crashed' }]]);
    s.at(0, {
      parent: good(),
      parentPods: [runtimePod('created')],
      copyPods: [copyPod(1)],
      active: active(1),
      stored: rolledOut({ failing }),
    });
    expect(s.reason).toBe('Yielding');
  });

  it('is not proven however Ready it is while it is marked', () => {
    const s = story();
    const failing = new Map([[digest('bad'), { since: '', detail: '' }]]);
    const seen = { parent: bad({ ready: true }), parentPods: [runtimePod('running')], stored: rolledOut({ failing }) };
    s.at(0, seen);
    s.at(60_000, seen);
    expect(s.done).toEqual([]);
    expect(s.reason).toBe('FailingSpec');
  });

  it('is not one for crashes of before this daemon, nor for those beside a running copy, nor for those of a pod that is being ended', () => {
    const s = story();
    s.at(0, { parentPods: crashed('c1', 'c2', 'c3'), stored: rolledOut() }, { api: DOWN });
    expect(s.memory?.crashes?.count).toBe(0);
    s.at(1000, { parentPods: crashed('c1', 'c4'), copyPods: [copyPod(1)], active: active(1), stored: rolledOut() }, { api: DOWN });
    expect(s.memory?.crashes?.count).toBe(0);
    s.at(1000, { parent: bad({ terminating: true }), parentPods: crashed('c4', 'c5'), stored: rolledOut() });
    expect(s.memory?.crashes?.count).toBe(0);
  });

  it('counts the crash of a parent that had been up for long, and forgets those from before', () => {
    const s = story();
    s.at(0, { parent: good(), parentPods: [runtimePod('running')], stored: rolledOut() });
    s.at(600_000, { parent: good(), parentPods: [runtimePod('running')], stored: rolledOut() });
    s.at(1000, { parent: good(), parentPods: crashed('c1'), stored: rolledOut() });
    expect(s.memory?.crashes?.count).toBe(1);
  });

  it('gives the proof back to the generation before it', () => {
    const s = story();
    const failing = new Map([[digest('bad'), { since: '', detail: '' }]]);
    const demoted = { stored: stored([GOOD, BAD], { newest: 2, proven: 2, previous: 1, failing }) };
    s.at(0, demoted, { api: DOWN });
    expect(s.done).toEqual(['demote 1']);
    s.at(3000, demoted, { api: DOWN });
    expect(s.done).toContain('activate 1');
  });
});

describe('a trial', () => {
  const yielding = { parent: bad(), parentPods: [runtimePod('created')], copyPods: [copyPod(1)], active: active(1), stored: rolledOut() };

  it('ends at the second crash, not at its deadline, and removes the first one so that the kubelet does not wait', () => {
    const s = story();
    s.at(0, yielding);
    expect(s.reason).toBe('Yielding');
    s.at(500, { parent: bad(), parentPods: crashed('c1'), stored: rolledOut() });
    expect(s.reason).toBe('Trial');
    expect(s.done).toEqual(['forgetExits']);
    s.at(500, { parent: bad(), parentPods: crashed('c2'), stored: rolledOut() });
    expect(s.reason).toBe('TrialFailed');
    expect(s.done).toEqual(['activate 1', 'markFailing']);
  });

  it('of the same spec as the copy comes again later, and never marks it', () => {
    const s = story();
    const seen = { ...yielding, parent: good() };
    s.at(0, seen);
    s.at(500, { parent: good(), parentPods: crashed('c1'), stored: rolledOut() });
    s.at(500, { parent: good(), parentPods: crashed('c2'), stored: rolledOut() });
    expect(s.reason).toBe('TrialFailed');
    expect(s.done).not.toContain('markFailing');
    s.at(1000, seen);
    expect(s.reason).toBe('YieldPending');
    s.at(90_000, seen);
    expect(s.reason).toBe('Yielding');
  });

  it('that was passed counts as failed when the parent crashes soon after it', () => {
    const s = story();
    s.at(0, { ...yielding, parent: good() });
    const up = { parent: good(), parentPods: [runtimePod('running')], stored: rolledOut() };
    s.at(1000, up);
    s.at(10_000, up);
    expect(s.memory?.passed?.uid).toBe(PARENT_UID);
    s.at(5000, { parentPods: crashed('c1'), stored: rolledOut() }, { api: DOWN });
    s.at(3000, { parentPods: crashed('c1'), stored: rolledOut() }, { api: DOWN });
    expect(s.done).toEqual(['activate 1']);
    expect(s.memory?.failedTrials?.count).toBe(1);
  });
});

describe('a world that does not change', () => {
  it.each(['exclusive', 'overlap'] as const)(
    'sees at most three activations in ten minutes of a parent that crashes soon after each hand-back (%s)',
    (handBack) => {
      const traits = { servesApi: true, handBack };
      const store = stored([generation(1, 'good', traits)], { newest: 1, proven: 1 });
      const pod = { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf('good', traits) }) };
      const s = story();
      const activations: number[] = [];
      let activation = 0;
      let copy = false;
      let upSince: number | undefined;
      let crash = 0;
      for (let t = 0; t <= 3_600_000; t += 500) {
        // Alone the parent crashes 15 s after its start, and is started again at once.
        const runs = upSince !== undefined && t - upSince < 15_000;
        if (upSince !== undefined && !runs && !copy) crash++;
        if (!runs) upSince = copy || crash === 0 || upSince === undefined ? upSince : undefined;
        const ids = crash === 0 ? [] : [`c${crash}`];
        const phase = copy || runs ? 'running' : 'ended';
        const decision = s.at(
          500,
          {
            parent: copy || runs ? pod : { state: 'unknown' },
            parentPods: [runtimePod(phase, { crashedContainerIds: ids, attempts: crash })],
            copyPods: copy ? [{ ...copyPod(1), activation }] : [],
            active: copy ? active(1, activation) : [],
            stored: { ...store, activations: activation },
          },
          { api: copy || runs ? { state: 'ok' } : DOWN },
        );
        for (const action of decision.actions) {
          if (action.kind === 'activate') {
            activations.push(t);
            activation = action.activation;
            copy = true;
          }
          if (action.kind === 'makeRoom' || action.kind === 'deactivate') {
            copy = false;
            upSince = t;
          }
        }
        if (t === 0) upSince = 0;
      }
      for (const at of activations)
        expect(activations.filter((other) => other >= at && other < at + 600_000).length).toBeLessThanOrEqual(3);
      expect(activations.length).toBeGreaterThan(3);
    },
  );
});

describe('an active copy', () => {
  const both = stored([GOOD, BAD], { newest: 2, proven: 2, previous: 1 });
  const missing = { active: active(2), stored: both };

  it('gets a new manifest after 20 s without a sandbox, and after three the reason is said', () => {
    const s = story();
    s.at(0, missing, { api: DOWN });
    s.at(19_000, missing, { api: DOWN });
    expect(s.done).toEqual([]);
    s.at(1000, missing, { api: DOWN });
    expect(s.done).toEqual(['activate 2', 'makeRoom']);
    s.at(100, { ...missing, active: active(2, 2) }, { api: DOWN });
    s.at(20_000, { ...missing, active: active(2, 2) }, { api: DOWN });
    expect(s.done).toEqual(['activate 2', 'makeRoom']);
    const third = { ...missing, active: active(2, 3), refusal: ['image x is not on this node'] };
    s.at(100, third, { api: DOWN });
    s.at(20_000, third, { api: DOWN });
    expect(s.reason).toBe('CopyRefused');
    expect(s.message).toContain('image x is not on this node');
    expect(s.done).toEqual([]);
    s.at(600_000, third, { api: DOWN });
    expect(s.reason).toBe('Reissuing');
  });

  it('that is refused after other activations gets no fourth manifest in 10 min', () => {
    const s = story();
    for (const activation of [1, 2, 3]) s.at(100, { ...missing, active: active(2, activation) }, { api: DOWN });
    s.at(20_000, { ...missing, active: active(2, 3) }, { api: DOWN });
    expect(s.reason).toBe('CopyRefused');
    expect(s.done).toEqual([]);
    s.at(580_000, { ...missing, active: active(2, 3) }, { api: DOWN });
    expect(s.done).toEqual(['activate 2', 'makeRoom']);
  });

  it('gets its new manifest however often it takes to write it, and what was not written was not refused', () => {
    const s = story();
    s.at(0, missing, { api: DOWN });
    for (const after of [20_000, 200, 200, 5000]) {
      s.at(after, missing, { api: DOWN });
      expect(s.done).toEqual(['activate 2', 'makeRoom']);
    }
    const second = { ...missing, active: active(2, 2) };
    s.at(100, second, { api: DOWN });
    s.at(20_000, second, { api: DOWN });
    expect(s.done).toEqual(['activate 2', 'makeRoom']);
    const third = { ...missing, active: active(2, 3) };
    s.at(100, third, { api: DOWN });
    s.at(20_000, third, { api: DOWN });
    expect(s.reason).toBe('CopyRefused');
    expect(s.message).toContain('none of the last 3 manifests');
  });

  it('asks why while it has no container', () => {
    const s = story();
    s.at(0, missing, { api: DOWN });
    expect(s.at(5000, missing, { api: DOWN }).questions.refusals).toEqual([]);
    expect(s.at(10_000, missing, { api: DOWN }).questions.refusals).toMatchObject([{ generation: 2, file: 'f1' }]);
  });

  it('that crashes twice makes room for the generation proven before it, and comes back when that is no better', () => {
    const s = story();
    const crashing = (gen: number, activation: number, ...ids: string[]) => ({
      ...missing,
      active: active(gen, activation),
      copyPods: [
        {
          ...copyPod(gen),
          activation,
          uid: `copy-${activation}`,
          running: 0,
          alive: 0,
          up: false,
          crashedContainerIds: ids,
          runningContainerIds: [],
        },
      ],
    });
    s.at(0, missing, { api: DOWN });
    s.at(100, crashing(2, 1), { api: DOWN });
    s.at(100, crashing(2, 1, 'x1'), { api: DOWN });
    expect(s.done).toEqual([]);
    s.at(100, crashing(2, 1, 'x1', 'x2'), { api: DOWN });
    expect(s.reason).toBe('CopyCrashing');
    expect(s.done).toEqual(['activate 1', 'makeRoom']);
    s.at(100, { ...missing, active: active(1, 2) }, { api: DOWN });
    s.at(100, crashing(1, 2), { api: DOWN });
    s.at(100, crashing(1, 2, 'y1', 'y2'), { api: DOWN });
    expect(s.done).toEqual(['activate 2', 'makeRoom']);
    s.at(100, { ...missing, active: active(2, 3) }, { api: DOWN });
    s.at(100, crashing(2, 3), { api: DOWN });
    const waiting = s.at(100, crashing(2, 3, 'z1', 'z2', 'z3'), { api: DOWN });
    expect(s.reason).toBe('CopyCrashing');
    expect(s.done).toEqual([]);
    // What kept the other one from running may be over: they take turns, three in 10 min.
    expect(waiting.wakeAt).toBeLessThanOrEqual(NOW + 600_000);
    s.at(600_000, crashing(2, 3, 'z1', 'z2', 'z3'), { api: DOWN });
    expect(s.done).toEqual(['activate 1', 'makeRoom']);
  });

  it('that crashes makes room for an earlier one where none was ever proven, and one that is marked failing is the last that is tried', () => {
    const unproven = stored([GOOD, BAD], { newest: 2 });
    const crashing = (...ids: string[]) => ({
      active: active(2),
      copyPods: [{ ...copyPod(2), running: 0, alive: 0, up: false, crashedContainerIds: ids, runningContainerIds: [] }],
      stored: unproven,
    });
    const s = story();
    s.at(0, { active: active(2), stored: unproven }, { api: DOWN });
    s.at(100, crashing(), { api: DOWN });
    s.at(100, crashing('x1', 'x2'), { api: DOWN });
    expect(s.done).toEqual(['activate 1', 'makeRoom']);

    const failing = new Map([[digest('bad'), { since: '', detail: '' }]]);
    const booted = { settledBootId: 'boot-0', api: DOWN };
    const t = story();
    t.at(0, { stored: { ...unproven, failing } }, booted);
    expect(t.done).toEqual(['activate 1']);
    const u = story();
    u.at(0, { stored: { ...stored([BAD], { newest: 2 }), failing } }, booted);
    expect(u.done).toEqual(['activate 2']);
  });

  it('that falls back postpones the next trial, so that a world that does not change sees three activations in 10 min', () => {
    const s = story();
    const parentUp = { parent: good(), parentPods: [runtimePod('created')] };
    const crashing = (activation: number, ...ids: string[]) => ({
      ...copyPod(2),
      activation,
      uid: `copy-${activation}`,
      running: 0,
      alive: 0,
      up: false,
      crashedContainerIds: ids,
      runningContainerIds: [],
    });
    s.at(0, { ...missing, active: active(2, 1) }, { api: DOWN });
    s.at(5000, { ...missing, active: active(2, 2) }, { api: DOWN });
    s.at(100, { ...missing, active: active(2, 2), copyPods: [crashing(2)] }, { api: DOWN });
    s.at(100, { ...missing, active: active(2, 2), copyPods: [crashing(2, 'x1', 'x2')] }, { api: DOWN });
    expect(s.done).toEqual(['activate 1', 'makeRoom']);
    const third = { ...missing, ...parentUp, active: active(1, 3), copyPods: [{ ...copyPod(1), activation: 3 }] };
    s.at(100, third);
    s.at(200_000, third);
    expect(s.reason).toBe('YieldPending');
    expect(s.done).not.toContain('makeRoom');
    s.at(400_000, third);
    expect(s.done).toContain('makeRoom');
  });

  it('does not crash by its own fault while the parent runs', () => {
    const s = story();
    const beside = { parentPods: [runtimePod('running')], active: active(2), stored: both };
    s.at(0, beside, { api: DOWN });
    s.at(100, { ...beside, copyPods: [{ ...copyPod(2), running: 0, up: false, crashedContainerIds: ['x1', 'x2'] }] }, { api: DOWN });
    expect(s.memory?.copy?.crashes?.count).toBe(0);
  });

  it('without a manifest is stopped once the kubelet has forgotten it, and only while nobody else does', () => {
    const s = story();
    const left = { ...missing, active: active(1, 2), copyPods: [copyPod(2), { ...copyPod(1), activation: 2 }] };
    s.at(0, left, { api: DOWN });
    expect(s.done).toEqual([]);
    const decision = s.at(5000, left, { api: DOWN });
    expect(decision.actions).toMatchObject([{ kind: 'stopLeftover', containerIds: ['copy-container'], sandboxIds: ['copy-sandbox'] }]);
    s.at(100, left);
    expect(s.done).not.toContain('stopLeftover');
  });
});

describe('an orphaned owner', () => {
  const gone = { parent: { state: 'absent' as const, unmarked: false }, stored: stored([GOOD], { newest: 1, proven: 1 }) };
  const owned = (owner: OwnerState) => ({ owners: new Map([[KEY, owner]]), absences: new Map([[PARENT_UID, 'gone' as const]]) });
  const present = (more: object): OwnerState => ({
    state: 'present',
    uid: 'o',
    deleting: false,
    wantsPodHere: true,
    pods: { state: 'ok', ready: [], pending: [] },
    ...more,
  });

  it('has its copy after 20 s, for as long as it takes', () => {
    const s = story();
    s.at(0, gone, owned(present({})));
    s.at(19_000, gone, owned(present({})));
    expect(s.done).toEqual([]);
    s.at(1000, gone, owned(present({})));
    expect(s.done).toEqual(['activate 1']);
    const bridged = { ...gone, active: active(1), copyPods: [copyPod(1)] };
    s.at(3_600_000, bridged, owned(present({})));
    expect(s.reason).toBe('Orphaned');
    expect(s.done).toEqual([]);
  });

  it('does not need it while one of its pods is Ready somewhere, or its pods are not known, and is not retired then either', () => {
    for (const pods of [
      { state: 'ok', ready: [{ name: 'x', uid: 'x', node: 'n2', since: 0 }], pending: [] },
      { state: 'unknown', detail: 'denied' },
    ]) {
      const s = story();
      s.at(0, gone, owned(present({ pods })));
      s.at(600_000, gone, owned(present({ pods })));
      expect(s.done).toEqual([]);
      expect(s.reason).toBe('ParentAwaited');
    }
  });

  it('whose containers still run here has no copy, and nothing is looked at again by time alone', () => {
    const s = story();
    const running = { ...gone, parentPods: [runtimePod('running')] };
    s.at(0, running, owned(present({})));
    const later = s.at(60_000, running, owned(present({})));
    expect(s.reason).toBe('ParentAwaited');
    expect(s.message).toContain('still run here');
    expect(later.wakeAt).toBeUndefined();
    s.at(1000, gone, owned(present({})));
    expect(s.done).toEqual(['activate 1']);
  });

  it('is asked about its pods only while its pod is missing', () => {
    const s = story();
    expect(s.at(0, { ...gone, parent: good() }).questions.owners).toEqual([]);
    expect(s.at(0, gone).questions.owners).toEqual([KEY]);
  });

  it('that nobody may read has its copy for a while, if it is a DaemonSet, and is retired after the grace period', () => {
    const s = story();
    const unknown = owned({ state: 'unknown', detail: 'denied' });
    s.at(0, gone, unknown);
    s.at(20_000, gone, unknown);
    expect(s.done).toEqual(['activate 1']);
    const bridged = { ...gone, active: active(1), copyPods: [copyPod(1)] };
    s.at(10_000, bridged, unknown);
    expect(s.reason).toBe('Orphaned');
    s.at(30_000, bridged, unknown);
    expect(s.reason).toBe('Retiring');
  });

  it('that does not want a pod here has none, and its copy is retired', () => {
    const s = story();
    s.at(0, gone, owned(present({ wantsPodHere: false })));
    s.at(60_000, gone, owned(present({ wantsPodHere: false })));
    expect(s.done).toEqual(['retire']);
  });
});

describe('a generation that runs while the API server is away', () => {
  const unproven = stored([GOOD], { newest: 1 });
  const running = { active: active(1), copyPods: [copyPod(1)], stored: unproven };

  it('is proven when its own probes are answered for --prove-after, without a restart', () => {
    const s = story();
    expect(s.at(0, running, { api: DOWN }).questions.probes).toMatchObject([{ uid: 'uid-copy', generation: 1 }]);
    const answering = { ...running, answering: new Map([['uid-copy', true]]) };
    s.at(1000, answering, { api: DOWN });
    s.at(29_000, answering, { api: DOWN });
    expect(s.done).toEqual([]);
    s.at(1000, answering, { api: DOWN });
    expect(s.done).toEqual(['prove 1']);
  });

  it('is not proven by an answer that fails once, or by another start of its containers', () => {
    const s = story();
    const answering = (answer: boolean, attempts = 0) => ({
      ...running,
      copyPods: [{ ...copyPod(1), attempts }],
      answering: new Map([['uid-copy', answer]]),
    });
    s.at(0, answering(true), { api: DOWN });
    s.at(20_000, answering(false), { api: DOWN });
    s.at(1000, answering(true), { api: DOWN });
    s.at(20_000, answering(true, 1), { api: DOWN });
    s.at(20_000, answering(true, 1), { api: DOWN });
    expect(s.done).toEqual([]);
    s.at(10_000, answering(true, 1), { api: DOWN });
    expect(s.done).toEqual(['prove 1']);
  });

  it('is proven by what the parent was when the API server last said so', () => {
    const s = story();
    const seen = { parentPods: [runtimePod('running')], stored: stored([GOOD, BAD], { newest: 2, proven: 1 }) };
    s.at(0, { ...seen, parent: bad() });
    expect(s.at(1000, seen, { api: DOWN }).questions.probes).toMatchObject([{ uid: PARENT_UID, generation: 2 }]);
    const other = story();
    other.at(0, { ...seen, parent: good() });
    expect(other.at(1000, seen, { api: DOWN }).questions.probes).toEqual([]);
  });
});

describe('a new version of the checkpointer', () => {
  const seen = (of: string) => ({
    parent: { state: 'present' as const, pod: parent({ kind: 'copy', copy: copyOf(of, TRAITS) }) },
    parentPods: [runtimePod('running')],
    copyPods: [copyPod(1)],
    active: active(1),
    stored: rolledOut(),
  });
  const old = { runsIn: { pod: 'uid-copy' } };

  it('is given the lead once it has been up for a while, and is not proven by being Ready', () => {
    const s = story();
    s.at(0, seen('bad'), old, true);
    s.at(9000, seen('bad'), old, true);
    expect(s.done).toEqual([]);
    s.at(1000, seen('bad'), old, true);
    expect(s.reason).toBe('SteppingDown');
    expect(s.done).toEqual(['stepDown']);
    s.at(60_000, seen('bad'), { ...old, steppedDown: { digest: digest('bad'), count: 1, at: NOW + 10_000 } }, true);
    expect(s.done).toEqual([]);
  });

  it('is proven by leading, and then its copy takes the place of the old one', () => {
    const s = story();
    const itself = { runsIn: { pod: PARENT_UID } };
    s.at(0, seen('bad'), itself, true);
    s.at(30_000, seen('bad'), itself, true);
    expect(s.done).toEqual(['prove 2']);
    s.at(100, { ...seen('bad'), stored: rolledOut({ proven: 2, previous: 1 }) }, itself, true);
    expect(s.done).toEqual(['activate 2', 'deactivate']);
  });

  it('that did not work three times is marked, and the old one goes on', () => {
    const s = story();
    s.at(0, seen('bad'), old, true);
    s.at(3_600_000, seen('bad'), { ...old, steppedDown: { digest: digest('bad'), count: 3, at: NOW } }, true);
    expect(s.reason).toBe('FailingSpec');
    expect(s.done).toEqual(['markFailing']);
    const failing = new Map([[digest('bad'), { since: '', detail: 'it led 3 times' }]]);
    s.at(1000, { ...seen('bad'), stored: rolledOut({ failing }) }, old, true);
    expect(s.reason, 'for as long as it is marked').toBe('FailingSpec');
    expect(s.message).toContain('it led 3 times');
    expect(s.done).toEqual([]);
  });

  it('of the spec that is proven needs no lead', () => {
    const s = story();
    s.at(0, seen('good'), old, true);
    s.at(60_000, seen('good'), old, true);
    expect(s.reason).toBe('SelfActive');
  });
});

describe('the API server', () => {
  const API = { servesApi: true, handBack: 'exclusive' } as const;
  const key = workloadKey(APISERVER);

  it('that was brought back because nothing took its place is not retired again, whoever says that its owner is gone', () => {
    const entry = { workload: APISERVER, entry: 'e', age: 0, servesApi: true };
    const revived = decide(
      { workloads: new Map(), apiUnreachableSince: 0 },
      observation([], { api: DOWN, retired: [entry], settledBootId: 'boot-1' }),
      POLICY,
    );
    expect(revived.actions).toMatchObject([{ kind: 'revive' }]);
    const serving = workload(APISERVER, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'good', API)], { newest: 1, proven: 1 }),
      active: active(1),
      copyPods: [copyPod(1)],
    });
    const gone = { owners: new Map([[key, { state: 'gone' as const }]]), absences: new Map([[PARENT_UID, 'gone' as const]]) };
    let { memory } = decide(revived.memory, observation([{ ...serving, parent: { state: 'unknown' } }], { api: DOWN }), POLICY);
    for (const after of [0, 60_000, 600_000]) {
      const decision = decide(memory, { ...observation([serving], gone), now: NOW + after }, POLICY);
      memory = decision.memory;
      expect(decision.actions.filter(({ kind }) => kind === 'makeRoom' || kind === 'retire')).toEqual([]);
    }
    const back = workload(APISERVER, {
      ...serving,
      parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('good', API) }) },
    });
    memory = decide(memory, { ...observation([back]), now: NOW + 700_000 }, POLICY).memory;
    memory = decide(memory, { ...observation([serving], gone), now: NOW + 800_000 }, POLICY).memory;
    const again = decide(memory, { ...observation([serving], gone), now: NOW + 900_000 }, POLICY);
    const kinds = again.actions.map(({ kind }) => kind);
    expect(kinds, 'its owner was there again meanwhile').toEqual(['makeRoom']);
    // The API server went with its copy, before its generations could be moved away.
    const down = { ...serving, parent: { state: 'unknown' as const }, active: [], copyPods: [] };
    let last = decide(again.memory, { ...observation([down], { api: DOWN }), now: NOW + 901_000 }, POLICY);
    last = decide(last.memory, { ...observation([down], { api: DOWN }), now: NOW + 904_000 }, POLICY);
    expect(last.actions).toMatchObject([{ kind: 'activate' }]);
    for (const after of [906_000, 966_000, 1_600_000])
      last = decide(last.memory, { ...observation([serving], gone), now: NOW + after }, POLICY);
    expect(last.reports.get(key)?.reason).toBe('KeptServingApi');
  });

  it('has no copy by time alone: the answer that its pod is gone came from another one', () => {
    const gone = workload(APISERVER, {
      parent: { state: 'absent', unmarked: false },
      stored: stored([generation(1, 'good', API)], { newest: 1, proven: 1 }),
    });
    let memory: Memory = EMPTY_MEMORY;
    for (const after of [0, 20_000, 59_000]) {
      const decision = decide(memory, { ...observation([gone]), now: NOW + after }, POLICY);
      memory = decision.memory;
      expect(decision.actions).toEqual([]);
      expect(decision.reports.get(key)?.reason).toBe('ParentAbsent');
    }
  });
});
