import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { HAND_BACK } from '../../src/checkpoint/annotations.ts';
import { container, copyOf, markedPod } from '../support/marked-pods.ts';

const traitsOf = (spec: Partial<V1PodSpec>, annotations = {}) => copyOf(markedPod(spec, { annotations })).traits;
const withContainer = (fields: Partial<V1Container>, spec: Partial<V1PodSpec> = {}) =>
  traitsOf({ containers: [container(fields)], ...spec });

describe('a pod serves the API', () => {
  it.each<[string, Partial<V1Container>]>([
    ['by its command', { command: ['kube-apiserver', '--secure-port=6443'] }],
    ['by the path of its command', { command: ['/usr/local/bin/kube-apiserver'] }],
    ['by its arguments', { command: ['/usr/bin/flock'], args: ['/var/lock/api', 'kube-apiserver'] }],
    ['as a part of hyperkube', { command: ['/hyperkube', 'apiserver'] }],
    ['as a part of a newer hyperkube', { command: ['./hyperkube'], args: ['kube-apiserver'] }],
    ['from a script given to a shell', { command: ['/bin/sh', '-c', 'exec kube-apiserver --v=2\n'] }],
    ['by its image', { image: 'registry.example.org:5000/k8s/kube-apiserver:v1.36.2@sha256:0123', args: ['--secure-port=6443'] }],
    ['by its image for one architecture', { image: 'kube-apiserver-arm64:v1.36.2' }],
  ])('%s', (_, fields) => {
    expect(withContainer(fields).servesApi).toBe(true);
  });

  it.each<[string, Partial<V1Container>]>([
    ['a scheduler', { command: ['kube-scheduler', '--kubeconfig=/etc/kubernetes/kube-apiserver'] }],
    ['a part of hyperkube that is another', { command: ['/hyperkube', 'controller-manager'] }],
    ['an image with a longer name', { image: 'registry.example.org/kube-apiserver-operator:1' }],
    ['an image with a tag of that name', { image: 'registry.example.org/tools:kube-apiserver' }],
    ['a registry path of that name', { image: 'registry.example.org/kube-apiserver/tools:1' }],
    ['an init container that ends', {}],
  ])('but not %s', (_, fields) => {
    const initContainers = [container({ name: 'wait', command: ['kube-apiserver', '--version'] })];
    expect(withContainer(fields, { initContainers }).servesApi).toBe(false);
  });

  it('from a sidecar too', () => {
    expect(traitsOf({ initContainers: [container({ name: 'api', restartPolicy: 'Always', command: ['kube-apiserver'] })] }).servesApi).toBe(
      true,
    );
  });
});

describe('a pod only asks the API', () => {
  const controllers = container({ name: 'controllers', command: ['kube-controller-manager'] });
  it.each<[string, Partial<V1PodSpec>, true | undefined]>([
    ['as a controller manager', { containers: [controllers] }, true],
    ['as a scheduler of hyperkube', { containers: [container({ command: ['/hyperkube', 'scheduler'] })] }, true],
    ['but not with something else beside it', { containers: [controllers, container({ name: 'exporter' })] }, undefined],
    [
      'but not with a sidecar',
      { initContainers: [container({ name: 'x', restartPolicy: 'Always' })], containers: [controllers] },
      undefined,
    ],
    ['but not as an API server', { containers: [container({ command: ['kube-apiserver'] })] }, undefined],
    [
      'but not where it serves the API, too',
      { containers: [container({ command: ['sh', '-c', 'kube-apiserver & exec kube-scheduler'] })] },
      undefined,
    ],
    ['but not as anything else', { containers: [container({ command: ['etcd'] })] }, undefined],
  ])('%s', (_, spec, expected) => {
    expect(traitsOf(spec).asksApi).toBe(expected);
  });
});

describe('how a pod is handed back', () => {
  const host = { hostNetwork: true };
  const api = (...flags: string[]): Partial<V1Container> => ({ command: ['kube-apiserver', ...flags] });

  it.each<[string, Partial<V1Container>, Partial<V1PodSpec>, 'overlap' | 'exclusive']>([
    ['a pod on its own network', {}, {}, 'overlap'],
    ['a pod on the host’s network', {}, host, 'exclusive'],
    ['an API server', api(), host, 'exclusive'],
    ['an API server that shares its port', api('--permit-port-sharing'), host, 'overlap'],
    ['an API server that says so in full', api('--permit-port-sharing=true'), host, 'overlap'],
    [
      'an API server that says so in an argument',
      { command: ['/hyperkube'], args: ['apiserver', '--permit-port-sharing=1'] },
      host,
      'overlap',
    ],
    ['an API server that takes it back', api('--permit-port-sharing', '--permit-port-sharing=false'), host, 'exclusive'],
    ['an API server that permits another sharing', api('--permit-address-sharing', '--permit-port-sharing-not'), host, 'exclusive'],
    ['something else that says it', { command: ['proxy', '--permit-port-sharing'] }, host, 'exclusive'],
    [
      'a pod that writes to the host, where two would write',
      { volumeMounts: [{ name: 'data', mountPath: '/data' }] },
      { volumes: [{ name: 'data', hostPath: { path: '/var/lib/etcd' } }] },
      'exclusive',
    ],
    [
      'a pod that only reads from the host',
      { volumeMounts: [{ name: 'data', mountPath: '/data', readOnly: true }] },
      { volumes: [{ name: 'data', hostPath: { path: '/etc/ssl' } }] },
      'overlap',
    ],
    [
      'an API server beside something on the host’s network that does not share',
      api('--permit-port-sharing'),
      { ...host, initContainers: [container({ name: 'proxy2', restartPolicy: 'Always' })] },
      'exclusive',
    ],
  ])('%s', (_, fields, spec, expected) => {
    expect(withContainer(fields, spec).handBack).toBe(expected);
  });

  it.each([
    ['overlap', 'overlap'],
    ['exclusive', 'exclusive'],
    ['other', 'exclusive'],
  ])('as the pod’s annotation %s says, where it says something', (said, expected) => {
    expect(traitsOf({ hostNetwork: true }, { [HAND_BACK]: said }).handBack).toBe(expected);
  });

  it('as the annotation says, also where nothing is shared', () => {
    expect(traitsOf({}, { [HAND_BACK]: 'exclusive' }).handBack).toBe('exclusive');
  });
});
