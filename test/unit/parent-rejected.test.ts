import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { CHECKPOINT } from '../../src/checkpoint/annotations.ts';
import { type Decision, decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { RuntimePod, WorkloadObservation } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { observe } from '../../src/sources/observe.ts';
import {
  copyOf,
  copyPod,
  generation,
  observation,
  POLICY,
  parent,
  runtimePod,
  SCHEDULER,
  stored,
  workload,
} from '../support/observations.ts';

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const KEY = workloadKey(SCHEDULER);
const OUT_OF_CPU = {
  reason: 'OutOfcpu',
  message: "Pod was rejected: Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000",
};

function pod(name: string, status: NonNullable<V1Pod['status']>, created = '2026-01-01T00:00:00Z'): V1Pod {
  return {
    metadata: {
      name,
      namespace: 'kube-system',
      uid: name,
      creationTimestamp: new Date(created),
      annotations: { [CHECKPOINT]: 'true' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: SCHEDULER.name, uid: 'ds', controller: true }],
    },
    status,
  };
}

function rejectedOf(...pods: readonly V1Pod[]): WorkloadObservation['rejected'] {
  const seen = observe(
    {
      now: 0,
      bootId: 'boot-1',
      api: {
        state: { state: 'ok' },
        pods: new Map(pods.map((one) => [one.metadata?.uid ?? '', one])),
        object: () => ({ state: 'unknown', detail: '' }),
        absences: new Map(),
      },
      runtime: { state: 'ok', sandboxes: [] },
      disk: {
        state: 'ok',
        store: {
          settledBootId: 'boot-1',
          workloads: new Map([[KEY, { workload: SCHEDULER, stored: stored([generation(1, 'old', TRAITS)], {}) }]]),
          retired: [],
        },
        manifests: [],
      },
      kubelet: { state: 'unknown', detail: '' },
      self: undefined,
    },
    () => ({ kind: 'waiting', objects: [] }),
  );
  return seen.workloads.get(KEY)?.rejected;
}

describe('a pod that the kubelet refused at admission', () => {
  it('is Failed with a reason and without a container; the newest counts', () => {
    const older = pod('a', { phase: 'Failed', reason: 'NodePorts', message: 'x' });
    expect(rejectedOf(older, pod('b', { phase: 'Failed', ...OUT_OF_CPU }, '2026-01-02T00:00:00Z'))).toEqual(OUT_OF_CPU);
    expect(rejectedOf(older, pod('c', { phase: 'Pending' }, '2026-01-02T00:00:00Z'))).toEqual({ reason: 'NodePorts', message: 'x' });
  });

  it.each<[string, NonNullable<V1Pod['status']>]>([
    ['waits', { phase: 'Pending' }],
    ['ended by itself', { phase: 'Failed' }],
    [
      'ran and was evicted',
      {
        phase: 'Failed',
        reason: 'Evicted',
        containerStatuses: [{ name: 'c', restartCount: 0, image: '', imageID: '', ready: false }],
      },
    ],
  ])('is not one that %s', (_, status) => {
    expect(rejectedOf(pod('a', status))).toBeUndefined();
  });
});

describe('beside its active copy, a parent that the kubelet refuses', () => {
  const present = (parentPods: readonly RuntimePod[] = []): Partial<WorkloadObservation> => ({
    parent: { state: 'present', pod: parent({ kind: 'copy', copy: copyOf('spec', TRAITS) }, { ready: false }) },
    parentPods,
  });
  const seen = (more: Partial<WorkloadObservation>) =>
    observation([
      workload(SCHEDULER, {
        copyPods: [copyPod(1)],
        stored: stored([generation(1, 'spec', TRAITS)], { newest: 1, proven: 1 }),
        active: [{ file: 'pod-checkpointer.x.json', generation: 1, activation: 1 }],
        ...more,
      }),
    ]);
  const next = (before: Decision | undefined, more: Partial<WorkloadObservation>): Decision =>
    decide(before?.memory ?? EMPTY_MEMORY, seen(more), POLICY);
  const reason = (decision: Decision) => decision.reports.get(KEY)?.reason;

  it('is the reason why the copy stays, with what to do about it', () => {
    const decision = next(undefined, { ...present(), rejected: OUT_OF_CPU });
    expect(decision.reports.get(KEY)).toEqual({
      reason: 'ParentRejected',
      message:
        `the kubelet refuses the parent (OutOfcpu: ${OUT_OF_CPU.message}): what it and its copy request together is more than the node has: ` +
        'lower its requests, or make room; the copy stays (the copy runs; the parent has no container yet)',
    });
    expect(decision.actions).toEqual(next(undefined, present()).actions);
  });

  it('stays the reason between a refused pod and the next, and until the kubelet takes one', () => {
    const refused = next(undefined, { ...present(), rejected: OUT_OF_CPU });
    const between = next(refused, { parent: { state: 'absent', unmarked: false } });
    expect(reason(between)).toBe('ParentRejected');
    const again = next(between, present());
    expect(reason(again)).toBe('ParentRejected');
    expect(reason(next(again, present([runtimePod('sandbox')])))).toBe('YieldPending');
  });

  it('is forgotten with the copy', () => {
    const refused = next(undefined, { ...present(), rejected: OUT_OF_CPU });
    expect(next(refused, { ...present(), active: [], copyPods: [] }).memory.workloads.get(KEY)?.rejection).toBeUndefined();
  });
});
