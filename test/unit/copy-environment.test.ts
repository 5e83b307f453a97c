import type { V1EnvFromSource, V1EnvVar } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { CopyPolicy } from '../../src/checkpoint/copy-types.ts';
import {
  configMap,
  container,
  copyOf,
  firstContainer,
  lookupIn,
  markedPod,
  type Objects,
  REFUSE,
  refusalsOf,
  secret,
  withoutService,
} from '../support/marked-pods.ts';

const INLINE: CopyPolicy = { secretEnv: 'inline' };
const objects: Objects = {
  'ConfigMap/c': configMap({ LEVEL: '2', price: '5$ or $(LEVEL) or $$', 'file.conf': 'x' }, { BLOB: new Uint8Array([1]) }),
  'ConfigMap/d': configMap({ LEVEL: '4', '9lives': 'yes' }),
  'ConfigMap/odd': configMap({ 'a=b': '1', '\u00e9': '2', fine: '3' }),
  'Secret/s': secret({ PASSWORD: 'pa$$word', BINARY: new Uint8Array([0xff, 0xfe]), NUL: 'a\0b' }),
  'Secret/plain': secret({ USER: 'root' }),
};

interface Given {
  readonly env?: V1EnvVar[];
  readonly envFrom?: V1EnvFromSource[];
}
const podWith = (given: Given) =>
  markedPod({ serviceAccountName: 'proxy', containers: [container(given)] }, { labels: { app: 'proxy' }, annotations: { note: 'a $(b)' } });
const envOf = (given: Given, policy: CopyPolicy = REFUSE) =>
  withoutService(firstContainer(copyOf(podWith(given), objects, policy).pod).env);
const reasons = (given: Given, policy: CopyPolicy = REFUSE, more: Objects = {}) =>
  refusalsOf(podWith(given), { ...objects, ...more }, policy).map(({ code, field }) => `${code} ${field}`);
const key = (kind: 'configMapKeyRef' | 'secretKeyRef', name: string, of: string, optional = false): V1EnvVar => ({
  name: 'X',
  valueFrom: { [kind]: { name, key: of, optional } },
});

describe('variables from a ConfigMap', () => {
  it('become literal values, and the kubelet must not expand what it would not have expanded', () => {
    expect(envOf({ env: [key('configMapKeyRef', 'c', 'price')] })).toEqual([{ name: 'X', value: '5$$ or $$(LEVEL) or $$$$' }]);
  });

  it('of a whole ConfigMap come before all others, with their prefix, in an order that does not change', () => {
    const envFrom = [{ prefix: 'P_', configMapRef: { name: 'c' } }, { configMapRef: { name: 'd' } }];
    expect(envOf({ envFrom, env: [{ name: 'A', value: '$(LEVEL)' }] })?.map((v) => `${v.name}=${v.value}`)).toEqual([
      '9lives=yes',
      'LEVEL=4',
      'P_LEVEL=2',
      'P_file.conf=x',
      'P_price=5$$ or $$(LEVEL) or $$$$',
      'A=$(LEVEL)',
    ]);
  });

  it('of two ConfigMaps: the later one wins, and env wins over both', () => {
    const envFrom = [{ configMapRef: { name: 'c' } }, { configMapRef: { name: 'd' } }];
    const named = envOf({ envFrom, env: [{ name: 'LEVEL', value: '$(LEVEL)0' }] })?.filter((v) => v.name === 'LEVEL');
    expect(named?.map((v) => v.value)).toEqual(['4', '$(LEVEL)0']);
  });

  it('keep a byte order mark', () => {
    const pod = podWith({ env: [key('configMapKeyRef', 'marked', 'k')] });
    const { env } = firstContainer(copyOf(pod, { 'ConfigMap/marked': configMap({ k: '\ufeffx' }) }).pod);
    expect(env?.at(-1)?.value).toBe('\ufeffx');
  });

  it('with a name that no variable can have are left out, as the kubelet leaves them out', () => {
    expect(envOf({ envFrom: [{ configMapRef: { name: 'odd' } }] })).toEqual([{ name: 'fine', value: '3' }]);
  });

  it('that are optional are left out where object or key are missing', () => {
    expect(
      envOf({
        env: [
          key('configMapKeyRef', 'none', 'k', true),
          key('configMapKeyRef', 'c', 'none', true),
          key('configMapKeyRef', 'c', 'BLOB', true),
        ],
        envFrom: [{ configMapRef: { name: 'none', optional: true } }],
      }),
    ).toBeUndefined();
  });

  it('with a key that is missing are refused, naming it', () => {
    expect(reasons({ env: [key('configMapKeyRef', 'c', 'none')] })).toEqual([
      'MissingKey spec.containers[0].env[0].valueFrom.configMapKeyRef.key',
    ]);
  });
});

describe('variables from a Secret', () => {
  const one = { env: [key('secretKeyRef', 's', 'PASSWORD')] };
  const all = { envFrom: [{ prefix: 'S_', secretRef: { name: 'plain' } }] };

  it('are refused by default, before the Secret is even read', () => {
    expect(reasons(one)).toEqual(['SecretEnvRefused spec.containers[0].env[0].valueFrom.secretKeyRef']);
    expect(reasons(one, REFUSE, { 'Secret/s': 'unknown' })).toEqual(['SecretEnvRefused spec.containers[0].env[0].valueFrom.secretKeyRef']);
    expect(reasons(all)).toEqual(['SecretEnvRefused spec.containers[0].envFrom[0].secretRef']);
    expect(reasons(all, REFUSE, { 'Secret/plain': 'unknown' })).toEqual(['SecretEnvRefused spec.containers[0].envFrom[0].secretRef']);
  });

  it('that are optional are refused only where there is a value', () => {
    expect(reasons({ env: [key('secretKeyRef', 's', 'PASSWORD', true)] })).toEqual([
      'SecretEnvRefused spec.containers[0].env[0].valueFrom.secretKeyRef',
    ]);
    expect(reasons({ envFrom: [{ secretRef: { name: 'plain', optional: true } }] })).toEqual([
      'SecretEnvRefused spec.containers[0].envFrom[0].secretRef',
    ]);
    expect(envOf({ env: [key('secretKeyRef', 'none', 'k', true), key('secretKeyRef', 's', 'none', true)] })).toBeUndefined();
  });

  it('become literal values where that is allowed', () => {
    expect(envOf(one, INLINE)).toEqual([{ name: 'X', value: 'pa$$$$word' }]);
    expect(envOf(all, INLINE)).toEqual([{ name: 'S_USER', value: 'root' }]);
  });

  it('that are not text are refused, and nothing of them is said', () => {
    expect(reasons({ env: [key('secretKeyRef', 's', 'BINARY')] }, INLINE)).toEqual([
      'VariableNotText spec.containers[0].env[0].valueFrom.secretKeyRef',
    ]);
    expect(reasons({ env: [key('secretKeyRef', 's', 'NUL')] }, INLINE)).toEqual([
      'VariableNotText spec.containers[0].env[0].valueFrom.secretKeyRef',
    ]);
    const messages = refusalsOf(podWith({ envFrom: [{ secretRef: { name: 's' } }] }), objects, INLINE).map((r) => r.message);
    expect(messages.join()).not.toMatch(/pa\$|a\0b/);
  });
});

describe('fields of the pod', () => {
  const field = (fieldPath: string): V1EnvVar => ({ name: 'X', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } });

  it.each(['spec.nodeName', 'metadata.namespace', "metadata.labels['app']"])(
    '%s stays a reference: a static pod gets the same answer',
    (path) => {
      expect(envOf({ env: [field(path)] })).toEqual([field(path)]);
    },
  );

  it.each([
    ['metadata.name', 'proxy-x7k2f'],
    ['metadata.uid', '5b1f8c1e-0000-4000-8000-000000000001'],
    ['spec.serviceAccountName', 'proxy'],
    ["metadata.annotations['note']", 'a $$(b)'],
    ["metadata.annotations['none']", ''],
  ])('%s is the parent’s', (path, value) => {
    expect(envOf({ env: [field(path)] })).toEqual([{ name: 'X', value }]);
  });

  const addresses = {
    hostIP: '10.0.0.1',
    hostIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }],
    podIP: '10.0.0.1',
    podIPs: [{ ip: '10.0.0.1' }],
  };

  it.each([
    ['status.hostIP', '10.0.0.1'],
    ['status.hostIPs', '10.0.0.1,fd00::1'],
    ['status.podIP', '10.0.0.1'],
    ['status.podIPs', '10.0.0.1'],
  ])(
    '%s on the host’s network is the parent’s: a kubelet may not know its node’s addresses before it has seen the API server',
    (path, value) => {
      const parent = podWith({ env: [field(path)] });
      const hostNetwork = { ...parent, spec: { ...parent.spec, containers: parent.spec?.containers ?? [], hostNetwork: true } };
      expect(makeCopy({ ...hostNetwork, status: {} }, lookupIn(objects), REFUSE)).toEqual({
        kind: 'waiting',
        objects: [`${path} of the pod`],
      });
      const outcome = makeCopy({ ...hostNetwork, status: addresses }, lookupIn(objects), REFUSE);
      expect(outcome.kind === 'copy' && withoutService(outcome.copy.pod.spec?.containers[0]?.env)).toEqual([{ name: 'X', value }]);
    },
  );

  it('status.podIP of a pod with a network of its own stays a reference: a static pod has its own address', () => {
    const parent = podWith({ env: [field('status.podIP')] });
    const outcome = makeCopy(
      { ...parent, spec: { ...parent.spec, containers: parent.spec?.containers ?? [], hostNetwork: false } },
      lookupIn(objects),
      REFUSE,
    );
    expect(outcome.kind === 'copy' && withoutService(outcome.copy.pod.spec?.containers[0]?.env)).toEqual([field('status.podIP')]);
  });

  it('a field that is not known is refused', () => {
    expect(reasons({ env: [field('status.phase')] })).toEqual(['UnsupportedField spec.containers[0].env[0].valueFrom.fieldRef']);
  });

  it('resources and files stay references: the copy has the same', () => {
    const env = [
      { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
      { name: 'FILE', valueFrom: { fileKeyRef: { volumeName: 'v', path: 'p', key: 'k' } } },
    ];
    expect(envOf({ env })).toEqual(env);
  });

  it('a source that is not known is refused', () => {
    const env = [{ name: 'X', valueFrom: { oracle: {} } as V1EnvVar['valueFrom'] & object }];
    expect(reasons({ env })).toEqual(['UnsupportedVariable spec.containers[0].env[0].valueFrom.oracle']);
    expect(reasons({ envFrom: [{ prefix: 'A' }] })).toEqual(['UnsupportedVariable spec.containers[0].envFrom[0]']);
  });
});

describe('where the API server is', () => {
  const policy: CopyPolicy = { ...REFUSE, kubernetesService: { host: '10.0.0.10', port: 6443 } };

  it('is told to every container that does not say it itself', () => {
    expect(envOf({ env: [{ name: 'A', value: 'a' }] }, policy)).toEqual([
      { name: 'KUBERNETES_SERVICE_HOST', value: '10.0.0.10' },
      { name: 'KUBERNETES_SERVICE_PORT', value: '6443' },
      { name: 'A', value: 'a' },
    ]);
    const init = copyOf(markedPod({ initContainers: [container({ name: 'init' })] }), objects, policy).pod.spec?.initContainers?.[0];
    expect(init?.env).toHaveLength(2);
  });

  it('is left to a container that says it', () => {
    const env = [{ name: 'KUBERNETES_SERVICE_HOST', value: '127.0.0.1' }];
    expect(envOf({ env }, policy)).toEqual([{ name: 'KUBERNETES_SERVICE_PORT', value: '6443' }, ...env]);
  });
});
