import type { V1LabelSelector, V1Pod } from '@kubernetes/client-node';
import { describe, expect, test } from 'vitest';
import { type OwnerKind, type OwnerObject, ownerKind, podsOf, selectorText, wantsPodOn } from '../../src/checkpoint/owner-wants.ts';
import type { NodePlace } from '../../src/checkpoint/placement.ts';

const NODE: NodePlace = { name: 'n1', labels: { role: 'master' }, taints: [] };

function owner(spec: object = {}, template: object = {}, metadata: object = {}): OwnerObject {
  const pod = { spec: { containers: [], ...template } };
  return { metadata: { name: 'o', uid: 'u', ...metadata }, spec: { selector: {}, template: pod, ...spec } } as OwnerObject;
}

const tainted = (key: string, effect: string): NodePlace => ({ ...NODE, taints: [{ key, effect }] });

describe('whether an owner wants a pod on this node', () => {
  test.each<[string, OwnerKind, OwnerObject, NodePlace, boolean]>([
    ['a DaemonSet that selects it', 'DaemonSet', owner({}, { nodeSelector: { role: 'master' } }), NODE, true],
    ['a DaemonSet that selects others', 'DaemonSet', owner({}, { nodeSelector: { role: 'worker' } }), NODE, false],
    ['a DaemonSet that is being deleted', 'DaemonSet', owner({}, {}, { deletionTimestamp: '2030-01-01T00:00:00Z' }), NODE, false],
    ['a DaemonSet kept away by a taint of somebody', 'DaemonSet', owner(), tainted('maintenance', 'NoSchedule'), false],
    [
      'a DaemonSet kept away for as long as the node is not ready',
      'DaemonSet',
      owner(),
      tainted('node.kubernetes.io/not-ready', 'NoSchedule'),
      true,
    ],
    ['the same while nobody hears the kubelet', 'DaemonSet', owner(), tainted('node.kubernetes.io/unreachable', 'NoSchedule'), true],
    ['a DaemonSet on a node given up by a person', 'DaemonSet', owner(), tainted('node.kubernetes.io/out-of-service', 'NoExecute'), false],
    ['a Deployment', 'Deployment', owner({ replicas: 2 }), NODE, true],
    ['a Deployment that says nothing of replicas', 'Deployment', owner(), NODE, true],
    ['a Deployment scaled to zero', 'Deployment', owner({ replicas: 0 }), NODE, false],
    ['a ReplicaSet scaled to zero', 'ReplicaSet', owner({ replicas: 0 }), NODE, false],
    ['a StatefulSet', 'StatefulSet', owner({ replicas: 1 }), NODE, true],
    [
      'a Deployment whose pods may only be elsewhere',
      'Deployment',
      owner({ replicas: 1 }, { nodeSelector: { role: 'worker' } }),
      NODE,
      false,
    ],
    [
      'a Deployment that is being deleted',
      'Deployment',
      owner({ replicas: 1 }, {}, { deletionTimestamp: '2030-01-01T00:00:00Z' }),
      NODE,
      false,
    ],
    ['a Deployment on a node with a taint', 'Deployment', owner({ replicas: 1 }), tainted('maintenance', 'NoSchedule'), true],
  ])('%s', (_, kind, object, node, wants) => {
    expect(wantsPodOn(kind, object, node)).toBe(wants);
  });
});

test.each([
  ['apps', 'DaemonSet', 'DaemonSet'],
  ['apps', 'StatefulSet', 'StatefulSet'],
  ['', 'Pod', undefined],
  ['batch', 'Job', undefined],
  ['apps.kruise.io', 'DaemonSet', undefined],
])('an owner of group "%s" and kind %s is read as %s', (group, kind, expected) => {
  expect(ownerKind({ namespace: 'ns', group, kind, name: 'o' })).toBe(expected);
});

test.each<[string, V1LabelSelector | undefined, string | undefined]>([
  ['labels', { matchLabels: { a: '1', b: '' } }, 'a=1,b='],
  [
    'expressions',
    {
      matchExpressions: [
        { key: 'a', operator: 'In', values: ['1', '2'] },
        { key: 'b', operator: 'NotIn', values: ['3'] },
        { key: 'c', operator: 'Exists' },
        { key: 'd', operator: 'DoesNotExist' },
      ],
    },
    'a in (1,2),b notin (3),c,!d',
  ],
  ['an operator that nobody knows', { matchLabels: { a: '1' }, matchExpressions: [{ key: 'a', operator: 'Near' }] }, undefined],
  ['nothing', {}, undefined],
  ['none', undefined, undefined],
])('a selector of %s as a query', (_, selector, text) => {
  expect(selectorText(selector)).toBe(text);
});

interface Made {
  readonly controller?: string;
  readonly node?: string;
  readonly ready?: string;
  readonly phase?: string;
  readonly terminating?: boolean;
  readonly only?: string;
}

function pod(name: string, { controller = 'u', node, ready, phase = 'Running', terminating, only }: Made): V1Pod {
  const reference = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'o', uid: controller, controller: true };
  const terms = [{ matchFields: [{ key: 'metadata.name', operator: 'In', values: [only ?? ''] }] }];
  // As JSON has it: times are text.
  return {
    metadata: {
      name,
      uid: `uid-${name}`,
      ownerReferences: [reference],
      ...(terminating && { deletionTimestamp: '2030-01-01T00:00:00Z' }),
    },
    spec: {
      ...(node !== undefined && { nodeName: node }),
      ...(only !== undefined && {
        affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } } },
      }),
    },
    status: {
      phase,
      conditions: [{ type: 'Ready', status: ready === undefined ? 'False' : 'True', lastTransitionTime: ready }],
    },
  } as unknown as V1Pod;
}

describe("an owner's pods", () => {
  const at = '2030-01-01T00:00:05Z';
  const of = (...pods: V1Pod[]) => podsOf(pods, new Set(['u']), 'n1');

  test('are Ready where their condition says so, on whatever node', () => {
    expect(of(pod('b', { node: 'n2', ready: at }), pod('a', { node: 'n1', ready: at }), pod('c', { node: 'n3' }))).toEqual({
      state: 'ok',
      ready: [
        { name: 'a', uid: 'uid-a', node: 'n1', since: Date.parse(at) },
        { name: 'b', uid: 'uid-b', node: 'n2', since: Date.parse(at) },
      ],
      pending: [],
    });
  });

  test('are neither those on their way out nor those of somebody else with the same labels', () => {
    const others = [
      pod('leaving', { node: 'n1', ready: at, terminating: true }),
      pod('mirror', { node: 'n1', ready: at, controller: 'node-uid' }),
    ];
    expect(of(...others)).toEqual({ state: 'ok', ready: [], pending: [] });
  });

  test('are pending here while they wait to be bound or to start', () => {
    const pods = [
      pod('bound', { phase: 'Pending', node: 'n1' }),
      pod('elsewhere', { phase: 'Pending', node: 'n2' }),
      pod('for-n1', { phase: 'Pending', only: 'n1' }),
      pod('for-n2', { phase: 'Pending', only: 'n2' }),
      pod('unbound', { phase: 'Pending' }),
    ];
    expect(of(...pods)).toMatchObject({
      pending: [
        { name: 'bound', bound: true },
        { name: 'for-n1', bound: false },
        { name: 'unbound', bound: false },
      ],
    });
  });
});
