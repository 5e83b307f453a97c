/** Rule 4, for the one that the others need: when an API server's copy makes way for its parent, and how on a port that they share. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import type { CopyOutcome, Traits, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { API, EXCLUSIVE, handingBack, kinds } from '../support/handing-back.ts';
import { APISERVER, copyPod, digest, NOW, observation, POLICY, parent, runtimePod, SCHEDULER } from '../support/observations.ts';

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
    expect(kinds(decide(bad.memory, at(long - 1, false), POLICY))).toEqual([]);
    expect(kinds(decide(bad.memory, at(long, false), POLICY))).toEqual(['deactivate kube-apiserver']);
  });

  it('takes a parent whose objects are being read again for what it was: a spec that is marked failing gets no place', () => {
    const marked = (workload: WorkloadObservation, copy: CopyOutcome, uid?: string) => ({
      ...workload,
      parent: { state: 'present' as const, pod: parent(copy, uid === undefined ? {} : { uid }) },
      stored: workload.stored && {
        ...workload.stored,
        failing: new Map([[digest('spec'), { since: '2026-01-01T00:00:00Z', detail: 'crashed' }]]),
      },
    });
    const waiting: CopyOutcome = { kind: 'waiting', objects: ['Secret kube-system/x'] };
    const shared: Traits = { servesApi: true, handBack: 'overlap' };
    for (const workload of [
      handingBack(APISERVER, API, 'created'),
      handingBack(APISERVER, shared, 'running'),
      handingBack(SCHEDULER, EXCLUSIVE, 'created'),
    ]) {
      const reading = decide(EMPTY_MEMORY, observation([marked(workload, waiting)]), POLICY);
      expect(kinds(decide(reading.memory, observation([marked(workload, waiting)], { now: NOW + 2 * POLICY.downFor }), POLICY))).toEqual(
        [],
      );
      expect(reading.reports.get(workloadKey(workload.workload))?.reason).toBe('FailingSpec');
    }
    // Another pod is another chance.
    const next = marked(
      { ...handingBack(APISERVER, API, 'none'), parentPods: [runtimePod('created', { uid: 'uid-next' })] },
      waiting,
      'uid-next',
    );
    expect(kinds(decide(EMPTY_MEMORY, observation([next]), POLICY))).toEqual(['makeRoom kube-apiserver']);
  });
});
