import type { V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { warningsOf } from '../../src/checkpoint/copy/warnings.ts';
import { container, copyOf, filesOf, markedPod } from '../support/marked-pods.ts';

/** What belongs to one pod and not to every pod of its spec. */
const hostnameOf = (pod: V1Pod) => copyOf(pod).pod.spec?.hostname;

describe('the hostname of a copy', () => {
  it('is the one that the parent’s containers see: the pod’s name', () => {
    expect(hostnameOf(markedPod({}, { name: 'etcd-7d9f' }))).toBe('etcd-7d9f');
  });

  it.each<[string, Partial<V1PodSpec>, string | undefined]>([
    ['the host’s network: it is the node’s', { hostNetwork: true }, undefined],
    ['a hostname of its own', { hostname: 'etcd-0', subdomain: 'etcd' }, 'etcd-0'],
    ['an override', { hostnameOverride: 'etcd.example.org' }, undefined],
  ])('is left alone with %s', (_, spec, expected) => {
    expect(hostnameOf(markedPod(spec))).toBe(expected);
  });

  it.each([
    ['a'.repeat(63), 'a'.repeat(63)],
    ['a'.repeat(64), 'a'.repeat(63)],
    [`${'a'.repeat(61)}--b`, 'a'.repeat(61)],
  ])('is cut as the kubelet cuts it: %s', (name, expected) => {
    expect(hostnameOf(markedPod({}, { name }))).toBe(expected);
  });

  it('is warned of where the parent’s name cannot be one', () => {
    const { pod } = copyOf(markedPod({}, { name: 'etcd.master' }));
    expect(pod.spec?.hostname).toBeUndefined();
    expect(warningsOf(pod)).toMatchObject([{ code: 'Hostname', field: 'metadata.name' }]);
  });

  it('does not make another copy when the pod is made anew, but one that is to be stored anew', () => {
    const [one, other] = ['proxy-aaaaa', 'proxy-bbbbb'].map((name) => copyOf(markedPod({}, { name })));
    expect(other?.digest).toBe(one?.digest);
    expect(other?.instance?.digest).not.toBe(one?.instance?.digest);
    expect(copyOf(markedPod({ hostname: 'other' })).digest).not.toBe(one?.digest);
  });
});

describe('annotations', () => {
  const annotated = (annotations: Record<string, string>, labels = { 'controller-revision-hash': '1' }) =>
    copyOf(
      markedPod(
        {
          volumes: [
            {
              name: 'v',
              downwardAPI: {
                items: [
                  { path: 'all', fieldRef: { fieldPath: 'metadata.annotations' } },
                  { path: 'ip', fieldRef: { fieldPath: "metadata.annotations['cni.projectcalico.org/podIP']" } },
                ],
              },
            },
          ],
          containers: [
            container({
              env: [
                { name: 'STATUS', valueFrom: { fieldRef: { fieldPath: "metadata.annotations['k8s.v1.cni.cncf.io/network-status']" } } },
              ],
            }),
          ],
        },
        { annotations, labels },
      ),
    );
  const first = annotated({ 'cni.projectcalico.org/podIP': '10.1.0.1/32', 'k8s.v1.cni.cncf.io/network-status': '[1]' });
  const second = annotated({ 'cni.projectcalico.org/podIP': '10.1.0.2/32', 'k8s.v1.cni.cncf.io/network-status': '[2]' });

  it('that a network plugin writes to each pod do not make another copy, but one that is to be stored anew', () => {
    expect(second.digest).toBe(first.digest);
    expect(second.instance?.digest).not.toBe(first.instance?.digest);
    expect(filesOf(second)['v/ip']).toBe('10.1.0.2/32');
    expect(second.pod.spec?.containers[0]?.env?.find(({ name }) => name === 'STATUS')?.value).toBe('[2]');
  });

  it('of a changed template come with another label of the owner: that makes another copy', () => {
    expect(annotated({}, { 'controller-revision-hash': '2' }).digest).not.toBe(annotated({}).digest);
  });
});
