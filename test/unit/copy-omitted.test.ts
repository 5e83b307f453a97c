import type { V1Container, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { OMIT_INIT_CONTAINERS } from '../../src/checkpoint/annotations.ts';
import { container, copyOf, markedPod } from '../support/marked-pods.ts';

const mounts = (name: string, ...volumes: string[]): V1Container =>
  container({ name, volumeMounts: volumes.map((volume) => ({ name: volume, mountPath: `/${volume}` })) });
const local = (...names: string[]) => names.map((name) => ({ name, hostPath: { path: `/srv/${name}` } }));

function specOf(omit: string, spec: Partial<V1PodSpec>) {
  const { initContainers, volumes } = copyOf(markedPod(spec, { annotations: { [OMIT_INIT_CONTAINERS]: omit } })).pod.spec ?? {};
  return { init: initContainers?.map(({ name }) => name), volumes: volumes?.map(({ name }) => name) };
}

describe('init containers that a pod names', () => {
  it('are not in its copy, and neither are the volumes that only they mount', () => {
    const spec = {
      initContainers: [mounts('install', 'host', 'shared'), mounts('wait', 'etc')],
      containers: [mounts('main', 'shared')],
      volumes: local('host', 'shared', 'etc', 'unmounted'),
    };
    expect(specOf('install', spec)).toEqual({ init: ['wait'], volumes: ['shared', 'etc', 'unmounted'] });
    expect(specOf(' wait , install ', spec)).toEqual({ init: undefined, volumes: ['shared', 'unmounted'] });
  });

  it('stay where nothing is there under that name, and where they are sidecars', () => {
    const initContainers = [mounts('install'), { ...mounts('sidecar'), restartPolicy: 'Always' }];
    expect(specOf('sidecar,other', { initContainers }).init).toEqual(['install', 'sidecar']);
    expect(specOf('', { initContainers }).init).toEqual(['install', 'sidecar']);
  });
});
