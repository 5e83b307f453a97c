import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { copyBaseName, ownsPodName, type Workload, workloadFileName, workloadKey, workloadOf } from '../../src/checkpoint/workload.ts';

const workload = (kind: string, name: string, namespace = 'kube-system', group = kind === 'Pod' ? '' : 'apps'): Workload => ({
  namespace,
  group,
  kind,
  name,
});

function owned(apiVersion: string, kind: string, name: string, labels: Record<string, string> = {}): V1Pod {
  const references = [
    { apiVersion: 'v1', kind: 'ConfigMap', name: 'not-the-controller', uid: '1' },
    { apiVersion, kind, name, uid: '2', controller: true },
  ];
  return { metadata: { name: 'p', namespace: 'ns', labels, ownerReferences: references } };
}

describe('the workload of a pod', () => {
  it.each([
    ['a DaemonSet', owned('apps/v1', 'DaemonSet', 'proxy'), 'ns/DaemonSet/proxy'],
    ['a StatefulSet', owned('apps/v1', 'StatefulSet', 'etcd'), 'ns/StatefulSet/etcd'],
    [
      'the Deployment behind a ReplicaSet',
      owned('apps/v1', 'ReplicaSet', 'web-5f7c9d6b8', { 'pod-template-hash': '5f7c9d6b8' }),
      'ns/Deployment/web',
    ],
    ['a ReplicaSet of its own', owned('apps/v1', 'ReplicaSet', 'web-5f7c9d6b8'), 'ns/ReplicaSet/web-5f7c9d6b8'],
    [
      'a ReplicaSet whose name does not end in the hash',
      owned('apps/v1', 'ReplicaSet', 'web', { 'pod-template-hash': 'x' }),
      'ns/ReplicaSet/web',
    ],
    [
      'an owner of another group, which it names',
      owned('apps.kruise.io/v1alpha1', 'DaemonSet', 'proxy'),
      'ns/DaemonSet.apps.kruise.io/proxy',
    ],
    ['the bare pod', { metadata: { name: 'alone', namespace: 'ns' } }, 'ns/Pod/alone'],
    [
      'the bare pod where no owner is the controller',
      { metadata: { name: 'alone', namespace: 'ns', ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'n', uid: '1' }] } },
      'ns/Pod/alone',
    ],
  ])('is %s', (_, pod, key) => {
    expect(workloadKey(workloadOf(pod))).toBe(key);
  });

  it('a pod without a name or a namespace is an error that says what is expected', () => {
    expect(() => workloadOf({ metadata: { name: 'p' } })).toThrow('metadata.namespace');
  });

  it('is the same for every pod of one owner', () => {
    const one = owned('apps/v1', 'DaemonSet', 'proxy');
    const other = { ...one, metadata: { ...one.metadata, name: 'another' } };
    expect(workloadKey(workloadOf(one))).toBe(workloadKey(workloadOf(other)));
  });
});

describe('names made from a workload', () => {
  const pairs: [string, Workload, Workload][] = [
    ['a-b/c and a/b-c', workload('DaemonSet', 'c', 'a-b'), workload('DaemonSet', 'b-c', 'a')],
    ['a DaemonSet and a Deployment of one name', workload('DaemonSet', 'web'), workload('Deployment', 'web')],
    ['a pod named like a DaemonSet and its kind', workload('Pod', 'web-ds'), workload('DaemonSet', 'web')],
    ['two groups', workload('DaemonSet', 'web'), workload('DaemonSet', 'web', 'kube-system', 'apps.kruise.io')],
    ['two long names with a common beginning', workload('DaemonSet', `${'x'.repeat(240)}a`), workload('DaemonSet', `${'x'.repeat(240)}b`)],
  ];

  it.each(pairs)('are distinct for %s', (_, a, b) => {
    expect(workloadKey(a)).not.toBe(workloadKey(b));
    expect(workloadFileName(a)).not.toBe(workloadFileName(b));
    if (a.namespace === b.namespace) expect(copyBaseName(a)).not.toBe(copyBaseName(b));
  });

  it.each([
    workload('DaemonSet', 'kube-apiserver'),
    workload('Deployment', `${'a'.repeat(119)}.${'b'.repeat(120)}`),
    workload('Widget', 'x'.repeat(253), 'ns', 'example.org'),
  ])('leave room for generation, activation and a node name of 76 characters', (w) => {
    const name = copyBaseName(w);
    expect(name.length).toBeLessThanOrEqual(160);
    expect(`${name}-g999999-a999999-${'n'.repeat(76)}`).toMatch(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
    expect(`${name}-g999999-a999999-${'n'.repeat(76)}`.length).toBeLessThanOrEqual(253);
    expect(workloadFileName(w).length).toBeLessThanOrEqual(200);
  });

  it('say what they are', () => {
    expect(copyBaseName(workload('DaemonSet', 'kube-apiserver'))).toBe('kube-apiserver-ds');
    expect(workloadFileName(workload('DaemonSet', 'kube-apiserver'))).toBe('kube-system.ds.kube-apiserver');
  });
});

describe('whether a workload’s controller made a pod of this name', () => {
  const long = 'a-daemonset-whose-name-is-longer-than-the-api-server-leaves-it';
  const longDeployment = 'a-deployment-with-a-name-of-fifty-characters-in-al';
  it.each([
    [workload('DaemonSet', 'proxy'), 'proxy-x7k2f', true],
    [workload('DaemonSet', 'proxy'), 'proxy-x7k2', false],
    [workload('DaemonSet', 'proxy'), 'proxy-x7k2fg', false],
    [workload('DaemonSet', 'proxy'), 'proxy-aaaaa', false],
    [workload('DaemonSet', 'proxy'), 'proxy', false],
    [workload('DaemonSet', 'proxy'), 'proxy-second-x7k2f', false],
    [workload('DaemonSet', 'proxy'), 'proxies-x7k2f', false],
    [workload('DaemonSet', long), `${long.slice(0, 58)}x7k2f`, true],
    [workload('DaemonSet', long), `${long}-x7k2f`, false],
    [workload('ReplicaSet', 'web-5f7c9d6b8'), 'web-5f7c9d6b8-mtq6j', true],
    [workload('Deployment', 'web'), 'web-5f7c9d6b8-mtq6j', true],
    [workload('Deployment', 'web'), 'web-mtq6j', false],
    [workload('Deployment', 'web'), 'web-admin-5f7c9d6b8-mtq6j', false],
    [workload('Deployment', longDeployment), `${`${longDeployment}-5f7c9d6b8-`.slice(0, 58)}mtq6j`, true],
    [workload('Deployment', `${long}-${long}`), `${`${long}-${long}-5f7c9d6b8-`.slice(0, 58)}mtq6j`, true],
    [workload('StatefulSet', 'etcd'), 'etcd-0', true],
    [workload('StatefulSet', 'etcd'), 'etcd-12', true],
    [workload('StatefulSet', 'etcd'), 'etcd-main-0', false],
    [workload('StatefulSet', 'etcd'), 'etcd-x7k2f', false],
    [workload('Pod', 'alone'), 'alone', true],
    [workload('Pod', 'alone'), 'alone-x7k2f', false],
    [workload('Widget', 'thing', 'ns', 'example.org'), 'thing-anything', true],
    [workload('Widget', 'thing', 'ns', 'example.org'), 'things', false],
  ])('$kind $name: %s → %s', (w, pod, expected) => {
    expect(ownsPodName(w, pod)).toBe(expected);
  });
});
