import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import type { CopyPolicy } from '../../src/checkpoint/copy-types.ts';
import { configMap, container, copyOf, markedPod, type Objects, REFUSE, refusalsOf, secret } from '../support/marked-pods.ts';

const objects: Objects = {
  'ConfigMap/c': configMap({ 'master-1': 'for this node', PLACE: 'from/a/map' }),
  'Secret/s': secret({ PLACE: 'hush' }),
};

const podWith = (subPathExpr: string, fields: Partial<V1Container>, name = 'proxy-x7k2f') =>
  markedPod(
    {
      volumes: [{ name: 'v', configMap: { name: 'c' } }],
      containers: [container({ ...fields, volumeMounts: [{ name: 'v', mountPath: '/v', subPathExpr }] })],
    },
    { name, labels: { zone: 'b' } },
  );
const directories = (subPathExpr: string, fields: Partial<V1Container>, policy: CopyPolicy = REFUSE) =>
  copyOf(podWith(subPathExpr, fields), objects, policy).directories.map(({ path }) => path);
const field = (name: string, fieldPath: string): V1EnvVar => ({ name, valueFrom: { fieldRef: { fieldPath } } });

describe('a subPathExpr into a volume that is filled from the API', () => {
  // The kubelet would make the directory when it starts the container: in a generation, which would not verify any more.
  it.each<[string, string, Partial<V1Container>, string[]]>([
    ['a value', '$(A)', { env: [{ name: 'A', value: 'a/b' }] }, ['v/a', 'v/a/b']],
    [
      'a value that names another',
      'x-$(B)',
      {
        env: [
          { name: 'A', value: 'a' },
          { name: 'B', value: '$(A)$$$(C)' },
        ],
      },
      ['v/x-a$$(C)'],
    ],
    [
      'the later one of two values',
      '$(A)',
      {
        env: [
          { name: 'A', value: 'a' },
          { name: 'A', value: '$(A)b' },
        ],
      },
      ['v/ab'],
    ],
    ['the node', 'on/$(NODE)', { env: [field('NODE', 'spec.nodeName')] }, ['v/on', 'v/on/master-1']],
    ['a label', '$(ZONE)', { env: [field('ZONE', "metadata.labels['zone']")] }, ['v/b']],
    ['the pod', '$(POD)', { env: [field('POD', 'metadata.name')] }, ['v/proxy-x7k2f']],
    ['a ConfigMap', '$(P_PLACE)', { envFrom: [{ prefix: 'P_', configMapRef: { name: 'c' } }] }, ['v/from', 'v/from/a', 'v/from/a/map']],
    ['nothing', '$$(A)', {}, ['v/$(A)']],
  ])('has its directory beforehand where it stands for %s', (_, expression, fields, expected) => {
    expect(directories(expression, fields)).toEqual(['v', ...expected]);
  });

  it('needs none for a file that is there, for the whole volume, or where the container is never started', () => {
    expect(directories('$(NODE)', { env: [field('NODE', 'spec.nodeName')] })).toEqual(['v']);
    expect(directories('$(A)', { env: [{ name: 'A', value: '' }] })).toEqual(['v']);
    expect(directories('$(NONE)', {})).toEqual(['v']);
  });

  it.each<[string, Partial<V1Container>]>([
    ['an address that the copy gets when it runs', { env: [field('A', 'status.podIP')] }],
    ['what the node has to give', { env: [{ name: 'A', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } }] }],
    ['what is made from such a value', { env: [field('IP', 'status.podIP'), { name: 'A', value: 'of-$(IP)' }] }],
    ['a Secret', { env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'PLACE' } } }] }],
    ['what is made from a Secret', { envFrom: [{ secretRef: { name: 's' } }], env: [{ name: 'A', value: '$(PLACE)' }] }],
  ])('is a reason against a copy where it stands for %s', (_, fields) => {
    const refusals = refusalsOf(podWith('$(A)', fields), objects, { secretEnv: 'inline' });
    expect(refusals.map(({ code, field: where }) => `${code} ${where}`)).toEqual(['UnknownSubPath spec.volumes[0]']);
    expect(JSON.stringify(refusals)).not.toContain('hush');
  });

  it('that leaves the volume is a reason against a copy', () => {
    const refusals = refusalsOf(podWith('$(A)', { env: [{ name: 'A', value: '../etc' }] }), objects);
    expect(refusals.map(({ code }) => code)).toEqual(['UnsafePath']);
  });

  it('is not asked about in a volume of the pod’s own', () => {
    const volumeMounts = [{ name: 'logs', mountPath: '/logs', subPathExpr: '$(A)' }];
    const containers = [container({ env: [field('A', 'status.podIP')], volumeMounts })];
    expect(copyOf(markedPod({ volumes: [{ name: 'logs', emptyDir: {} }], containers })).directories).toEqual([]);
  });

  it('that names the pod does not make another copy when the pod is made anew, but one that is to be stored anew', () => {
    const env = [field('POD', 'metadata.name')];
    const spec = { hostname: 'same' };
    const [one, other] = ['proxy-aaaaa', 'proxy-bbbbb'].map((name) => {
      const pod = podWith('$(POD)', { env }, name);
      return copyOf({ ...pod, spec: { containers: [], ...pod.spec, ...spec } }, objects);
    });
    expect(other?.digest).toBe(one?.digest);
    expect(other?.instance?.digest).not.toBe(one?.instance?.digest);
    expect(other?.directories.map(({ path }) => path)).toEqual(['v', 'v/proxy-bbbbb']);
    // The same directory for every pod of the spec counts.
    const [same, another] = ['a', 'b'].map((value) => copyOf(podWith('$(A)', { env: [{ name: 'A', value }] }), objects));
    expect(same?.digest).not.toBe(another?.digest);
  });
});
