import { expect, test } from 'vitest';
import { asPod, type KubeObject, type Pod } from '../../src/embedded/apiserver/objects.ts';
import { type DaemonSetView, planDaemonSet } from '../../src/embedded/controllers/daemonset/plan.ts';
import { type DaemonSet, podFor, revisionHash } from '../../src/embedded/controllers/daemonset/template.ts';
import { chooseNode } from '../../src/embedded/controllers/schedule.ts';
import { daemonSet, node, pod } from '../support/embedded/objects.ts';

const NOW = Date.parse('2030-01-01T00:10:00Z');

interface PodState {
  readonly old?: boolean;
  readonly ready?: boolean;
  readonly readyAt?: string;
  readonly phase?: string;
  readonly terminating?: boolean;
}

function setOf(spec: object = {}, template: object = {}): DaemonSet {
  const set = daemonSet('set', spec, template) as DaemonSet;
  return { ...set, metadata: { ...set.metadata, uid: 'set-uid', generation: 1 } };
}

function nodeOf(name: string, taints: readonly object[] = []): KubeObject {
  return node(name, { spec: { taints } }) as KubeObject;
}

function podOn(set: DaemonSet, nodeName: string, state: PodState = {}): Pod {
  const made = podFor(set, nodeName) as Pod;
  const labels = { ...made.metadata.labels, 'controller-revision-hash': state.old ? 'old' : revisionHash(set) };
  const ready = {
    type: 'Ready',
    status: state.ready === false ? 'False' : 'True',
    lastTransitionTime: state.readyAt ?? '2030-01-01T00:00:00Z',
  };
  return asPod({
    ...made,
    metadata: {
      ...made.metadata,
      name: `${nodeName}${state.old ? '-old' : ''}`,
      labels,
      creationTimestamp: state.old ? '2029-01-01T00:00:00Z' : '2029-06-01T00:00:00Z',
      ...(state.terminating ? { deletionTimestamp: '2030-01-01T00:09:59Z' } : {}),
    },
    spec: { ...made.spec, nodeName },
    status: { phase: state.phase ?? 'Running', conditions: [ready] },
  });
}

function plan(set: DaemonSet, nodes: readonly KubeObject[], pods: readonly Pod[], more: Partial<DaemonSetView> = {}) {
  const made = planDaemonSet({ set, nodes, pods, now: NOW, backoff: () => 0, ...more });
  return { create: made.create, remove: made.remove.map((item) => item.metadata.name), againInMs: made.againInMs };
}

const rolling = (rollingUpdate: object) => ({ updateStrategy: { type: 'RollingUpdate', rollingUpdate } });
const three = ['a', 'b', 'c'].map((name) => nodeOf(name));

test('a node without a pod gets one', () => {
  const set = setOf();
  expect(plan(set, three, [podOn(set, 'b')])).toMatchObject({ create: ['a', 'c'], remove: [] });
});

test('a pod that is ending keeps the next one from being made', () => {
  const set = setOf();
  expect(plan(set, [nodeOf('a')], [podOn(set, 'a', { terminating: true })])).toMatchObject({ create: [], remove: [] });
});

test('a failed pod is removed, in its backoff only when that is over', () => {
  const set = setOf();
  const failed = podOn(set, 'a', { phase: 'Failed', ready: false });
  expect(plan(set, [nodeOf('a')], [failed])).toMatchObject({ remove: ['a'] });
  expect(plan(set, [nodeOf('a')], [failed], { backoff: () => 700 })).toMatchObject({ remove: [], againInMs: 700 });
});

test('NoSchedule lets a pod stay and none come, NoExecute lets none stay', () => {
  const set = setOf();
  const taint = (effect: string) => nodeOf('a', [{ key: 'x', effect }]);
  expect(plan(set, [taint('NoSchedule')], [])).toMatchObject({ create: [] });
  expect(plan(set, [taint('NoSchedule')], [podOn(set, 'a')])).toMatchObject({ remove: [] });
  expect(plan(set, [taint('NoExecute')], [podOn(set, 'a')])).toMatchObject({ remove: ['a'] });
  const tolerant = setOf({}, { tolerations: [{ operator: 'Exists' }] });
  expect(plan(tolerant, [taint('NoExecute')], [])).toMatchObject({ create: ['a'] });
});

test.each([
  ['one at a time', { maxUnavailable: 1 }, ['a-old']],
  ['two at a time', { maxUnavailable: 2 }, ['a-old', 'b-old']],
  ['a share, rounded up', { maxUnavailable: '34%' }, ['a-old', 'b-old']],
])('a rolling update takes old pods away %s', (_, limits, removed) => {
  const set = setOf(rolling(limits));
  const pods = ['a', 'b', 'c'].map((name) => podOn(set, name, { old: true }));
  expect(plan(set, three, pods)).toMatchObject({ create: [], remove: removed });
});

test('a rolling update waits for the new pod, and does not wait for an old one that is not available anyway', () => {
  const set = setOf(rolling({ maxUnavailable: 1 }));
  const waiting = [podOn(set, 'a', { ready: false }), podOn(set, 'b', { old: true }), podOn(set, 'c', { old: true })];
  expect(plan(set, three, waiting)).toMatchObject({ remove: [] });
  const broken = [podOn(set, 'a'), podOn(set, 'b', { old: true, ready: false }), podOn(set, 'c', { old: true })];
  expect(plan(set, three, broken)).toMatchObject({ remove: ['b-old'] });
});

test('minReadySeconds makes a pod available only after that time', () => {
  const set = setOf({ minReadySeconds: 30, ...rolling({ maxUnavailable: 1 }) });
  const pods = [podOn(set, 'a', { readyAt: '2030-01-01T00:09:40Z' }), podOn(set, 'b', { old: true }), podOn(set, 'c', { old: true })];
  expect(plan(set, three, pods)).toMatchObject({ remove: [], againInMs: 10_000 });
});

test('a surge makes new pods beside the old ones, as many as it may, and removes an old one once its successor is available', () => {
  const set = setOf(rolling({ maxSurge: 1, maxUnavailable: 0 }));
  const old = ['a', 'b', 'c'].map((name) => podOn(set, name, { old: true }));
  expect(plan(set, three, old)).toMatchObject({ create: ['a'], remove: [] });
  expect(plan(set, three, [...old, podOn(set, 'a', { ready: false })])).toMatchObject({ create: [], remove: [] });
  expect(plan(set, three, [...old, podOn(set, 'a')])).toMatchObject({ create: [], remove: ['a-old'] });
});

test('the scheduler leaves a pod unbound where no node fits, and says why', () => {
  const wants = asPod(pod('p', { nodeSelector: { zone: 'x' } }) as KubeObject);
  expect(chooseNode(wants, three, [])).toEqual({
    unschedulable: "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
  });
  expect(chooseNode(asPod(pod('p') as KubeObject), three, [])).toEqual({ node: 'a' });
  expect(chooseNode(asPod(pod('p') as KubeObject), [], [])).toEqual({ unschedulable: '0/0 nodes are available: no nodes.' });
});
