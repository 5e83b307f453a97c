import { describe, expect, it } from 'vitest';
import { objectReferences, objectTitle } from '../../src/checkpoint/references.ts';
import { container, markedPod } from '../support/marked-pods.ts';

const titles = (...args: Parameters<typeof markedPod>) => objectReferences(markedPod(...args)).map(objectTitle);

describe('the objects that a pod names', () => {
  it('are those of volumes, projected sources, variables and init containers, each once and sorted', () => {
    const spec = {
      volumes: [
        { name: 'a', secret: { secretName: 'z-volume' } },
        { name: 'b', configMap: { name: 'volume', optional: true } },
        {
          name: 'c',
          projected: {
            sources: [{ secret: { name: 'projected' } }, { configMap: { name: 'projected' } }, { serviceAccountToken: { path: 't' } }],
          },
        },
        { name: 'd', emptyDir: {} },
        { name: 'e', secret: { secretName: 'z-volume', items: [{ key: 'k', path: 'p' }] } },
      ],
      containers: [
        container({
          env: [
            { name: 'A', valueFrom: { secretKeyRef: { name: 'env', key: 'k' } } },
            { name: 'B', valueFrom: { configMapKeyRef: { name: 'env', key: 'k' } } },
            { name: 'C', value: 'c' },
            { name: 'D', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          ],
        }),
      ],
      initContainers: [container({ name: 'init', envFrom: [{ secretRef: { name: 'init' } }, { configMapRef: { name: 'init' } }] })],
    };
    expect(titles(spec)).toEqual([
      'ConfigMap kube-system/env',
      'ConfigMap kube-system/init',
      'ConfigMap kube-system/projected',
      'ConfigMap kube-system/volume',
      'Secret kube-system/env',
      'Secret kube-system/init',
      'Secret kube-system/projected',
      'Secret kube-system/z-volume',
      'token of ServiceAccount kube-system/default',
    ]);
  });

  it('are not the pull secrets: the copy does not carry them', () => {
    expect(titles({ imagePullSecrets: [{ name: 'registry' }] })).toEqual([]);
  });

  it('are of the pod’s namespace', () => {
    expect(titles({ volumes: [{ name: 'a', secret: { secretName: 's' } }] }, { namespace: 'other' })).toEqual(['Secret other/s']);
  });

  it('a name that is not set names nothing', () => {
    expect(
      titles({
        volumes: [
          { name: 'a', secret: {} },
          { name: 'b', configMap: { name: '' } },
        ],
      }),
    ).toEqual([]);
  });

  it('a pod without a namespace is an error that says so', () => {
    expect(() => objectReferences({ metadata: { name: 'a' } })).toThrow('metadata.namespace');
  });
});
