import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { ACTIVATION, CHECKPOINT, CONFIG_SOURCE, GENERATION, WORKLOAD } from '../../src/checkpoint/annotations.ts';
import type { ApiState } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import type { DiskSnapshot } from '../../src/sources/disk.ts';
import { observe } from '../../src/sources/observe.ts';
import type { ApiSnapshot, Container, RuntimeSnapshot, Sandbox } from '../../src/sources/snapshots.ts';
import { APISERVER, generation, SCHEDULER, stored } from '../support/observations.ts';

const TRAITS = { servesApi: true, handBack: 'exclusive' } as const;
const KEY = workloadKey(APISERVER);

function pod(
  name: string,
  uid: string,
  more: { marked?: boolean; deleted?: boolean; created?: string; ready?: boolean; restarts?: number } = {},
): V1Pod {
  return {
    metadata: {
      name,
      namespace: 'kube-system',
      uid,
      creationTimestamp: new Date(more.created ?? '2026-01-01T00:00:00Z'),
      ...(more.deleted === true ? { deletionTimestamp: new Date('2026-01-02T00:00:00Z') } : {}),
      annotations: more.marked === false ? {} : { [CHECKPOINT]: 'true' },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'kube-apiserver', uid: 'ds', controller: true }],
    },
    status: {
      conditions: [{ type: 'Ready', status: more.ready === true ? 'True' : 'False' }],
      containerStatuses: [{ name: 'c', restartCount: more.restarts ?? 0, image: '', imageID: '', ready: true }],
    },
  };
}

function api(state: ApiState, ...pods: V1Pod[]): ApiSnapshot {
  return {
    state,
    pods: new Map(pods.map((one) => [one.metadata?.uid ?? '', one])),
    object: () => ({ state: 'unknown', detail: '' }),
    absences: new Map(),
  };
}

function container(name: string, state: Container['state'], attempt = 0, exitCode = 0): Container {
  return { id: `${name}-${attempt}`, name, attempt, state, createdAt: 0, startedAt: 0, finishedAt: 0, exitCode, image: '' };
}

function sandbox(name: string, uid: string, containers: readonly Container[], more: Partial<Sandbox> = {}): Sandbox {
  return {
    id: `${uid}-sandbox`,
    name,
    namespace: 'kube-system',
    uid,
    attempt: 0,
    ready: true,
    createdAt: 0,
    labels: {},
    annotations: { [CONFIG_SOURCE]: 'api', [CHECKPOINT]: 'true' },
    containers,
    ...more,
  };
}

const runtime = (...sandboxes: Sandbox[]): RuntimeSnapshot => ({ state: 'ok', sandboxes });

function disk(more: Partial<Extract<DiskSnapshot, { state: 'ok' }>> = {}): DiskSnapshot {
  return {
    state: 'ok',
    store: {
      settledBootId: 'b',
      workloads: new Map([[KEY, { workload: APISERVER, stored: stored([generation(1, 'x', TRAITS)], { newest: 1 }) }]]),
      retired: [],
    },
    manifests: [],
    ...more,
  };
}

function look(given: { api?: ApiSnapshot; runtime?: RuntimeSnapshot; disk?: DiskSnapshot }) {
  const all = { now: 0, bootId: 'b', api: api({ state: 'ok' }), runtime: runtime(), disk: disk(), self: undefined, ...given };
  const seen = observe(all as Parameters<typeof observe>[0], (parent) => ({ kind: 'waiting', objects: [parent.metadata?.name ?? ''] }));
  return { seen, apiserver: seen.workloads.get(KEY) };
}

describe('the parent', () => {
  it('is the newest pod that is not on its way out', () => {
    const pods = [
      pod('kube-apiserver-aaaaa', '1', { created: '2026-01-03T00:00:00Z', deleted: true }),
      pod('kube-apiserver-bbbbb', '2'),
      pod('kube-apiserver-ccccc', '3', { created: '2026-01-02T00:00:00Z', ready: true, restarts: 2 }),
    ];
    const { apiserver } = look({ api: api({ state: 'ok' }, ...pods) });
    expect(apiserver?.parent).toMatchObject({
      state: 'present',
      pod: { name: 'kube-apiserver-ccccc', uid: '3', terminating: false, ready: true, restarts: 2 },
    });
  });

  it('is unknown while the API server does not answer, whatever was last read', () => {
    for (const state of ['unknown', 'unreachable', 'denied'] as const) {
      expect(look({ api: api({ state, detail: '' }, pod('kube-apiserver-aaaaa', '1')) }).apiserver?.parent).toEqual({ state: 'unknown' });
    }
  });

  it('is absent when the API server lists none, and unmarked when it has lost its mark', () => {
    expect(look({}).apiserver?.parent).toEqual({ state: 'absent', unmarked: false });
    expect(look({ api: api({ state: 'ok' }, pod('kube-apiserver-aaaaa', '1', { marked: false })) }).apiserver?.parent).toEqual({
      state: 'absent',
      unmarked: true,
    });
  });
});

describe('a pod that was evicted', () => {
  it('is no parent, however long it stays in the API', () => {
    const evicted = pod('kube-apiserver-aaaaa', '1');
    expect(look({ api: api({ state: 'ok' }, { ...evicted, status: { phase: 'Failed' } }) }).apiserver?.parent).toMatchObject({
      state: 'absent',
    });
  });
});

describe('pods of the runtime', () => {
  it('do not belong to a workload by name when the API server says that they are of another', () => {
    const other = sandbox('kube-apiserver-bcdfg', '1', [container('c', 'running')]);
    const owner = { ...pod('kube-apiserver-bcdfg', '1'), metadata: { ...pod('kube-apiserver-bcdfg', '1').metadata, ownerReferences: [] } };
    expect(look({ api: api({ state: 'ok' }, owner), runtime: runtime(other) }).apiserver?.parentPods).toEqual([]);
  });

  it('belong to a parent by uid, and without the API server by mark and name', () => {
    const one = sandbox('kube-apiserver-bcdfg', '1', [container('c', 'running')]);
    expect(look({ api: api({ state: 'ok' }, pod('kube-apiserver-bcdfg', '1')), runtime: runtime(one) }).apiserver?.parentPods).toHaveLength(
      1,
    );
    const away = api({ state: 'unreachable', detail: '' });
    expect(look({ api: away, runtime: runtime(one) }).apiserver?.parentPods).toHaveLength(1);
    expect(look({ api: away, runtime: runtime({ ...one, annotations: { [CONFIG_SOURCE]: 'api' } }) }).apiserver?.parentPods).toHaveLength(
      0,
    );
    expect(look({ api: away, runtime: runtime({ ...one, name: 'kube-apiserver-ds-g1-a1-node' }) }).apiserver?.parentPods).toHaveLength(0);
    expect(look({ api: away, runtime: runtime({ ...one, namespace: 'other' }) }).apiserver?.parentPods).toHaveLength(0);
  });

  it('belong to a copy by our annotations, and never because an API pod carries them', () => {
    const annotations = { [CONFIG_SOURCE]: 'file', [WORKLOAD]: KEY, [GENERATION]: '4', [ACTIVATION]: '7' };
    const copy = sandbox('kube-apiserver-ds-g4-a7-node', '2', [container('c', 'running')], { annotations });
    expect(look({ runtime: runtime(copy) }).apiserver?.copyPods).toMatchObject([
      { generation: 4, activation: 7, runningContainerIds: ['c-0'] },
    ]);
    expect(look({ runtime: runtime({ ...copy, annotations: { ...annotations, [CONFIG_SOURCE]: 'api' } }) }).apiserver?.copyPods).toEqual(
      [],
    );
    expect(
      look({ runtime: runtime({ ...copy, annotations: { ...annotations, [WORKLOAD]: workloadKey(SCHEDULER) } }) }).apiserver?.copyPods,
    ).toEqual([]);
  });

  const ofParent = (...sandboxes: Sandbox[]) =>
    look({ api: api({ state: 'unreachable', detail: '' }), runtime: runtime(...sandboxes) }).apiserver?.parentPods[0];

  it.each([
    ['a sandbox alone', [], { created: 0, alive: 0, running: 0, up: false }],
    ['a container that was created', [container('c', 'created')], { created: 1, alive: 1, running: 0, up: false }],
    ['one that runs', [container('c', 'running')], { created: 1, alive: 1, running: 1, up: true }],
    ['one that crashed', [container('c', 'exited', 0, 1)], { created: 1, alive: 0, running: 0, up: false, endedContainerIds: ['c-0'] }],
    [
      'one that runs again',
      [container('c', 'exited', 0, 1), container('c', 'running', 1)],
      { created: 1, alive: 1, running: 1, up: true, attempts: 1 },
    ],
    ['a finished init container beside one that runs', [container('init', 'exited'), container('c', 'running')], { running: 1, up: true }],
    [
      'one that runs beside one that crashed',
      [container('c', 'running'), container('d', 'exited', 3, 1)],
      { running: 1, up: false, attempts: 3 },
    ],
  ])('%s', (_what, containers, expected) => {
    expect(ofParent(sandbox('kube-apiserver-bcdfg', '1', containers))).toMatchObject(expected);
  });

  it('are their latest sandbox; of an earlier one only what has ended counts', () => {
    const before = sandbox('kube-apiserver-bcdfg', '1', [container('old', 'exited')], { id: 'before', ready: false });
    const now = sandbox('kube-apiserver-bcdfg', '1', [container('new', 'running')], { id: 'now', attempt: 1 });
    for (const order of [
      [before, now],
      [now, before],
    ]) {
      expect(ofParent(...order)).toMatchObject({ sandboxId: 'now', sandboxReady: true, running: 1, endedContainerIds: ['old-0'] });
    }
  });

  it('do not run in a sandbox that is not ready, whatever their containers say', () => {
    expect(ofParent(sandbox('kube-apiserver-bcdfg', '1', [container('c', 'running')], { ready: false }))).toMatchObject({
      created: 0,
      running: 0,
      up: false,
    });
  });
});

describe('sources that did not answer', () => {
  it('leave every workload out when it was the disk', () => {
    const { seen } = look({ disk: { state: 'unknown', detail: 'EIO' } });
    expect(seen).toMatchObject({ disk: { state: 'unknown', detail: 'EIO' } });
    expect(seen.workloads.size).toBe(0);
  });

  it('say so when it was the runtime', () => {
    const { seen, apiserver } = look({ runtime: { state: 'unknown', detail: 'deadline' } });
    expect(seen.runtime).toEqual({ state: 'unknown', detail: 'deadline' });
    expect(apiserver?.parentPods).toEqual([]);
  });
});
