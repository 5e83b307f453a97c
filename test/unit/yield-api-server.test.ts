/** Rule 4, for the one that the others need: when an API server's copy makes way for its parent, and how on a port that they share. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { CopyOutcome, RuntimePod, Traits } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { API, EXCLUSIVE, handingBack, kinds } from '../support/handing-back.ts';
import { APISERVER, copyOf, copyPod, digest, NOW, observation, POLICY, parent, runtimePod, SCHEDULER } from '../support/observations.ts';

/** With the API server's parent started again that often. */
function starting(startedAgain: number, { workloads, ...rest }: Memory): Memory {
  const key = workloadKey(APISERVER);
  return { ...rest, workloads: new Map([...workloads, [key, { ...workloads.get(key), startedAgain }]]) };
}

describe('the copy of an API server', () => {
  it('does not take an API server away before its own readiness probes were answered once, but not for ever', () => {
    const uid = copyPod(1).uid;
    const api = (answer?: boolean) => ({
      ...handingBack(APISERVER, API, 'created'),
      ...(answer !== undefined && { answering: new Map([[uid, answer]]) }),
    });
    const starting = decide(EMPTY_MEMORY, observation([api(false)]), POLICY);
    expect(kinds(starting)).toEqual([]);
    expect(starting.reports.get(workloadKey(APISERVER))?.message).toBe('the copy runs; it is not ready yet');
    expect(starting.questions.probes).toEqual([{ workload: APISERVER, uid, generation: 1 }]);
    expect(kinds(decide(starting.memory, observation([api(true)], { now: NOW + 500 }), POLICY))).toEqual(['makeRoom kube-apiserver']);
    expect(kinds(decide(starting.memory, observation([api(false)], { now: NOW + POLICY.downFor }), POLICY))).toEqual([
      'makeRoom kube-apiserver',
    ]);
    // One that cannot be asked, and one that was ready and is not any more.
    expect(kinds(decide(EMPTY_MEMORY, observation([api()]), POLICY))).toEqual(['makeRoom kube-apiserver']);
    const ready = decide(EMPTY_MEMORY, observation([{ ...api(true), parentPods: [] }]), POLICY);
    expect(ready.questions.probes).toEqual([]);
    expect(kinds(decide(ready.memory, observation([api(false)], { now: NOW + 500 }), POLICY))).toEqual(['makeRoom kube-apiserver']);
  });

  it('lets the API server come back before it has the others started again', () => {
    const crashed = { ...handingBack(SCHEDULER, EXCLUSIVE, 'ended'), parentPods: [runtimePod('ended', { endedContainerIds: ['c1'] })] };
    const pending = decide(EMPTY_MEMORY, observation([handingBack(APISERVER, API, 'ended'), crashed]), POLICY);
    expect(kinds(pending)).not.toContain('forgetExits kube-scheduler');
    const onItsWay = { ...handingBack(APISERVER, API, 'created'), active: [], copyPods: [] };
    const trial: Memory = { workloads: new Map([[workloadKey(APISERVER), { trial: { since: NOW, deadline: NOW + 90_000 } }]]) };
    expect(kinds(decide(trial, observation([onItsWay, crashed]), POLICY))).not.toContain('forgetExits kube-scheduler');
    const back = { ...handingBack(APISERVER, API, 'running'), active: [], copyPods: [] };
    expect(kinds(decide(EMPTY_MEMORY, observation([back, crashed]), POLICY))).toContain('forgetExits kube-scheduler');
    const later = observation([handingBack(APISERVER, API, 'ended'), crashed], { now: NOW + POLICY.downFor });
    expect(kinds(decide(pending.memory, later, POLICY))).toContain('forgetExits kube-scheduler');
  });

  it('keeps the copy on a shared port until every answer has been good for a while, but not for ever', () => {
    const shared: Traits = { servesApi: true, handBack: 'overlap' };
    const uid = copyPod(1).uid;
    const at = (now: number, answer: boolean) =>
      observation([{ ...handingBack(APISERVER, shared, 'running'), answering: new Map([[uid, answer]]) }], { now });
    const up = decide(EMPTY_MEMORY, at(NOW, true), POLICY);
    expect(up.questions.probes).toEqual([{ workload: APISERVER, uid, generation: 1 }]);
    expect(up.wakeAt).toBe(NOW + 100);
    const bad = decide(up.memory, at(NOW + 9_000, false), POLICY);
    const good = decide(bad.memory, at(NOW + 9_100, true), POLICY);
    expect(kinds(decide(good.memory, at(NOW + POLICY.stableFor, true), POLICY))).toEqual([]);
    expect(kinds(decide(good.memory, at(NOW + 9_000 + POLICY.stableFor, true), POLICY))).toEqual(['deactivate kube-apiserver']);
    const long = NOW + POLICY.stableFor + POLICY.trialDeadline;
    expect(kinds(decide(starting(3, bad.memory), at(long - 1, false), POLICY))).toEqual([]);
    expect(kinds(decide(starting(3, bad.memory), at(long, false), POLICY))).toEqual(['deactivate kube-apiserver']);
  });

  it('starts a parent again that does not become ready beside its copy, each time after twice as long, three times', () => {
    const shared: Traits = { servesApi: true, handBack: 'overlap' };
    const uid = copyPod(1).uid;
    const at = (now: number, answer: boolean) =>
      observation([{ ...handingBack(APISERVER, shared, 'running'), answering: new Map([[uid, answer]]) }], { now });
    const up = decide(EMPTY_MEMORY, at(NOW, false), POLICY);
    expect(kinds(decide(up.memory, at(NOW + POLICY.stableFor - 1, false), POLICY))).toEqual([]);
    const again = decide(up.memory, at(NOW + POLICY.stableFor, false), POLICY);
    expect(again.actions).toEqual([{ kind: 'startAgain', workload: APISERVER, containerIds: ['c'], sandboxIds: [] }]);
    // One that took long and is ready.
    const late = decide(decide(up.memory, at(NOW + 9_900, false), POLICY).memory, at(NOW + POLICY.stableFor, true), POLICY);
    expect(kinds(late)).toEqual([]);
    const since = (times: number, ms: number) => kinds(decide(starting(times, up.memory), at(NOW + ms, false), POLICY));
    expect(since(1, 2 * POLICY.stableFor - 1)).toEqual([]);
    expect(since(1, 2 * POLICY.stableFor)).toEqual(['startAgain kube-apiserver']);
    expect(since(2, 4 * POLICY.stableFor)).toEqual(['startAgain kube-apiserver']);
    expect(since(3, 8 * POLICY.stableFor)).toEqual([]);
  });

  it('makes room as soon as nothing holds the next start of a parent back that found the port taken', () => {
    const uid = copyPod(1).uid;
    const at = (phase: 'created' | 'sandbox', ready: boolean, more: Partial<RuntimePod> = {}) => ({
      ...handingBack(APISERVER, API, phase),
      parentPods: [runtimePod(phase, more)],
      answering: new Map([[uid, ready]]),
    });
    const crashed = decide(EMPTY_MEMORY, observation([at('created', false)]), POLICY);
    // Its container was removed before the kubelet could hold it against it.
    const gone = decide(crashed.memory, observation([at('sandbox', false)], { now: NOW + 200 }), POLICY);
    expect(kinds(gone)).toEqual([]);
    expect(kinds(decide(gone.memory, observation([at('sandbox', true)], { now: NOW + 400 }), POLICY))).toEqual(['makeRoom kube-apiserver']);
    // A sandbox that no container was seen in may still wait for what only the API server has.
    const other = observation([at('sandbox', true, { sandboxId: 'another' })], { now: NOW + 400 });
    expect(kinds(decide(gone.memory, other, POLICY))).toEqual([]);
  });

  it('ends the wait of a kubelet that saw the end of a container before that was removed', () => {
    const at = (now: number, phase: 'created' | 'sandbox', more: Partial<RuntimePod> = {}) =>
      observation(
        [
          {
            ...handingBack(APISERVER, API, 'none'),
            parent: { state: 'unknown' },
            active: [],
            copyPods: [],
            parentPods: [runtimePod(phase, more)],
          },
        ],
        {
          now,
          api: { state: 'unreachable', detail: 'refused' },
        },
      );
    const trial = { workloads: new Map([[workloadKey(APISERVER), { trial: { since: NOW, deadline: NOW + 90_000 }, started: 's' }]]) };
    expect(kinds(decide(trial, at(NOW + 1_400, 'sandbox'), POLICY))).toEqual([]);
    expect(decide(trial, at(NOW + 1_500, 'sandbox'), POLICY).actions).toEqual([
      { kind: 'startAgain', workload: APISERVER, containerIds: [], sandboxIds: ['s'] },
    ]);
    // One that starts, one that has had no container yet, and one that was ended.
    expect(kinds(decide(trial, at(NOW + 1_500, 'created'), POLICY))).toEqual([]);
    expect(kinds(decide(trial, at(NOW + 1_500, 'sandbox', { sandboxId: 'next' }), POLICY))).toEqual([]);
    expect(kinds(decide(trial, at(NOW + 1_500, 'sandbox', { sandboxReady: false }), POLICY))).toEqual([]);
  });

  it('does not make room for a parent that may be the spec that is marked failing, while its objects are still being read', () => {
    const marked = (copy: CopyOutcome) => {
      const workload = handingBack(APISERVER, API, 'created');
      const failing = new Map([[digest('bad'), { since: '2026-01-01T00:00:00Z', detail: 'crashed' }]]);
      return {
        ...workload,
        parent: { state: 'present' as const, pod: parent(copy) },
        stored: workload.stored && { ...workload.stored, failing },
      };
    };
    const waiting: CopyOutcome = { kind: 'waiting', objects: ['Secret kube-system/x'] };
    const reading = decide(EMPTY_MEMORY, observation([marked(waiting)]), POLICY);
    expect(kinds(reading)).toEqual([]);
    expect(reading.reports.get(workloadKey(APISERVER))?.message).toContain('marked failing');
    const read = observation([marked({ kind: 'copy', copy: copyOf('x', API) })], { now: NOW + 500 });
    expect(kinds(decide(reading.memory, read, POLICY))).toContain('makeRoom kube-apiserver');
    const bad = observation([marked({ kind: 'copy', copy: copyOf('bad', API) })], { now: NOW + 500 });
    expect(kinds(decide(reading.memory, bad, POLICY))).not.toContain('makeRoom kube-apiserver');
    expect(kinds(decide(reading.memory, observation([marked(waiting)], { now: NOW + POLICY.downFor }), POLICY))).toEqual([
      'makeRoom kube-apiserver',
    ]);
  });
});
