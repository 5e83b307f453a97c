/** What only asks the API server is brought back after it. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { Observation, Traits, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { actionName, build, OF, possible, type World, worlds } from '../support/decide-worlds.ts';
import { APISERVER, CONTROLLERS, generation, memoryOf, NOW, observation, POLICY, stored, workload } from '../support/observations.ts';

const ASKS: Traits = { servesApi: false, asksApi: true, handBack: 'exclusive' };
const SERVES: Traits = { servesApi: true, handBack: 'exclusive' };
const KEY = workloadKey(CONTROLLERS);

function of(traits: Traits, what = CONTROLLERS): WorkloadObservation {
  return workload(what, { stored: stored([generation(1, 'x', traits)], { newest: 1, proven: 1 }) });
}
const afterBoot = (...workloads: WorkloadObservation[]): Observation =>
  observation(workloads, { settledBootId: 'boot-0', api: { state: 'unreachable', detail: 'refused' } });

describe('after a boot', () => {
  it('the API server is activated at once, and a controller manager only where it does not answer for --api-server-first', () => {
    const seen = afterBoot(of(ASKS), of(SERVES, APISERVER));
    const first = decide(EMPTY_MEMORY, seen, POLICY);
    expect(first.actions.flatMap((action) => (action.kind === 'activate' ? [action.workload.name] : []))).toEqual(['kube-apiserver']);
    expect(first.reports.get(KEY)).toEqual({
      reason: 'ApiServerFirst',
      message:
        'the node has booted and the API server does not answer: the API server is brought back first; generation 1 is activated in 15 s, if it does not answer until then',
    });
    const soon = decide(first.memory, { ...seen, now: NOW + POLICY.apiServerFirst - 1 }, POLICY);
    expect(soon.reports.get(KEY)?.reason).toBe('ApiServerFirst');
    expect(soon.wakeAt).toBeLessThanOrEqual(NOW + POLICY.apiServerFirst);
    const late = decide(soon.memory, { ...seen, now: NOW + POLICY.apiServerFirst }, POLICY);
    expect(late.actions).toContainEqual(expect.objectContaining({ kind: 'activate', workload: CONTROLLERS, generation: 1 }));
  });

  it('it is activated at once on a node that has no API server of its own, and where nobody wants to wait', () => {
    expect(decide(EMPTY_MEMORY, afterBoot(of(ASKS)), POLICY).reports.get(KEY)?.reason).toBe('Activating');
    const nobodyWaits = decide(EMPTY_MEMORY, afterBoot(of(ASKS), of(SERVES, APISERVER)), { ...POLICY, apiServerFirst: 0 });
    expect(nobodyWaits.reports.get(KEY)?.reason).toBe('Activating');
  });

  it('the boot is settled meanwhile: the next outage is no cold boot', () => {
    const { memory } = decide(EMPTY_MEMORY, afterBoot(of(ASKS), of(SERVES, APISERVER)), POLICY);
    const active = { ...of(SERVES, APISERVER), active: [{ file: 'x.json', generation: 1, activation: 1 }] };
    const next = decide(memory, { ...afterBoot(of(ASKS), active), now: NOW + 500 }, POLICY);
    expect(next.actions).toContainEqual({ kind: 'settleBoot', bootId: 'boot-1' });
  });
});

it('later, it waits from the beginning of the outage: one that is long over its time waits no more', () => {
  const seen = { ...afterBoot(of(ASKS), of(SERVES, APISERVER)), settledBootId: 'boot-1' };
  const at = (unreachableFor: number, downFor: number) =>
    decide(memoryOf(CONTROLLERS, { parentDownSince: NOW - downFor }, NOW - unreachableFor), seen, POLICY).reports.get(KEY)?.reason;
  expect(at(1_000, 1_000)).toBe('ParentDown');
  expect(at(5_000, 5_000)).toBe('ApiServerFirst');
  expect(at(15_000, 5_000)).toBe('Activating');
  expect(at(60_000, 1_000)).toBe('ParentDown');
  expect(at(60_000, 3_000)).toBe('Activating');
});

it('where its pod is gone when the API server is back, its copy comes at once: nobody else creates or binds the next one', () => {
  const owner = { state: 'present', uid: 'u', deleting: false, wantsPodHere: true, pods: { state: 'ok', ready: [], pending: [] } } as const;
  const gone: WorkloadObservation = { ...of(ASKS), parent: { state: 'absent', unmarked: false } };
  const server = { ...of(SERVES, APISERVER), parent: { state: 'absent', unmarked: false } as const };
  const reason = (...workloads: WorkloadObservation[]) =>
    decide(EMPTY_MEMORY, observation(workloads, { owners: new Map([[KEY, owner]]) }), POLICY).reports.get(KEY)?.reason;
  expect(reason(gone, { ...server, active: [{ file: 'x.json', generation: 1, activation: 1 }] })).toBe('Orphaned');
  expect(reason(gone, server)).toBe('ParentAwaited');
});

it('where the API server denies the node, it has waited long enough: it may be what signs the next certificate of the kubelet', () => {
  const denied = { ...afterBoot(of(ASKS), of(SERVES, APISERVER)), api: { state: 'denied', detail: '401' } as const };
  const at = (downFor: number) =>
    decide(memoryOf(CONTROLLERS, { parentDownSince: NOW - downFor }), denied, POLICY).reports.get(KEY)?.reason;
  expect(at(14_999)).toBe('ParentDown');
  expect(at(15_000)).toBe('Activating');
});

it('in every world nothing but an activation without an API server is other than for the rest, and that only until the time is over', () => {
  const server = of(SERVES, APISERVER);
  const outcome = (world: World, asks: boolean, wait: number) => {
    const { memory, seen } = build(world);
    const one = seen.workloads.get(workloadKey(OF));
    if (one === undefined) throw new Error('no workload');
    const generations = new Map(
      [...(one.stored?.generations ?? [])].map(([number, g]) => [
        number,
        asks ? { ...g, traits: { ...g.traits, asksApi: true as const } } : g,
      ]),
    );
    const workloads = new Map([
      ...seen.workloads,
      [workloadKey(OF), one.stored === undefined ? one : { ...one, stored: { ...one.stored, generations } }] as const,
      [workloadKey(APISERVER), server] as const,
    ]);
    const { actions, reports } = decide(memory, { ...seen, workloads }, { ...POLICY, apiServerFirst: wait });
    return {
      reason: reports.get(workloadKey(OF))?.reason,
      actions: actions.flatMap((action) => ('workload' in action && action.workload.name === OF.name ? [actionName(action)] : [])),
    };
  };
  let held = 0;
  for (const world of worlds()) {
    // The server itself does not ask.
    if (!possible(world) || world.servesApi) continue;
    const plain = outcome(world, false, Number.POSITIVE_INFINITY);
    const waiting = outcome(world, true, Number.POSITIVE_INFINITY);
    if (JSON.stringify(outcome(world, true, 0)) !== JSON.stringify(plain))
      expect(outcome(world, true, 0), JSON.stringify(world)).toEqual(plain);
    if (JSON.stringify(waiting) === JSON.stringify(plain)) continue;
    held++;
    const activates = (actions: readonly string[]) => actions.filter((name) => name.startsWith('activate'));
    if (plain.reason !== 'Activating' || world.api !== 'unreachable' || activates(waiting.actions).length > 0)
      expect({ plain, waiting }, JSON.stringify(world)).toBe('the same');
    expect(waiting.reason).toBe('ApiServerFirst');
  }
  expect(held).toBeGreaterThan(100);
}, 120_000);
