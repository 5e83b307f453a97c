import type { V1Pod, V1PodSpec, V1SecurityContext } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { WARNINGS, warningsOf } from '../../src/checkpoint/copy/warnings.ts';
import { explainCopy, makeCopy } from '../../src/checkpoint/copy.ts';
import type { BoundClaim, ObjectLookup } from '../../src/checkpoint/copy-types.ts';
import { materialize } from '../../src/checkpoint/materialize.ts';
import { container, copyOf, lookupIn, markedPod, REFUSE, secret } from '../support/marked-pods.ts';

const objects = { 'Secret/s': secret({ key: 'value' }) };
const codesOf = (pod: V1Pod) => warningsOf(copyOf(pod, objects).pod).map(({ code, field }) => `${code} ${field}`);

describe('the warnings of a copy', () => {
  it('are none for a pod of which nothing is missing, and leave no trace in it', () => {
    const { pod } = copyOf(markedPod({}));
    expect(warningsOf(pod)).toEqual([]);
    expect(pod.metadata?.annotations).not.toHaveProperty([WARNINGS]);
  });

  it.each<[string, Partial<V1PodSpec>, string]>([
    ['a pull secret', { imagePullSecrets: [{ name: 'registry' }] }, 'ImagePullSecrets spec.imagePullSecrets'],
    ['a runtime class', { runtimeClassName: 'gvisor', overhead: { memory: '128Mi' } }, 'RuntimeClass spec.runtimeClassName'],
  ])('name %s', (_, spec, expected) => {
    expect(codesOf(markedPod(spec))).toEqual([expected]);
  });

  it('are the same, sentence by sentence, when the copy is made and when its stored or active pod is read', () => {
    const parent = markedPod({ imagePullSecrets: [{ name: 'registry' }], runtimeClassName: 'kata' });
    const { warnings, outcome } = explainCopy(parent, lookupIn({}), REFUSE);
    expect(warnings).toHaveLength(2);
    for (const { message } of warnings) expect(message).toMatch(/^[A-Z].*[a-z].*\.$/s);
    if (outcome.kind !== 'copy') throw new Error('no copy');
    const active = materialize(outcome.copy.pod, { generationDir: '/g', generation: 1, activation: 1 });
    expect(warningsOf(JSON.parse(JSON.stringify(active)))).toEqual(warnings);
  });

  it('of another version are told with their code, and nonsense is none', () => {
    const annotated = (value: string): V1Pod => ({ metadata: { annotations: { [WARNINGS]: value } } });
    expect(warningsOf(annotated('["FromTheFuture spec.x"]'))).toMatchObject([{ code: 'FromTheFuture', field: 'spec.x' }]);
    for (const value of ['{', '7', '{}', '[7, "x", null]', '']) expect(warningsOf(annotated(value))).toEqual([]);
    expect(warningsOf({})).toEqual([]);
  });
});

describe('a label of SELinux', () => {
  const mounting = (securityContext: V1SecurityContext | undefined, spec: Partial<V1PodSpec> = {}) =>
    markedPod({
      volumes: [{ name: 'v', secret: { secretName: 's' } }],
      containers: [container({ volumeMounts: [{ name: 'v', mountPath: '/v' }], ...(securityContext && { securityContext }) })],
      ...spec,
    });
  const label = { level: 's0:c1,c2' };

  it('is warned of where the container mounts what the kubelet would have labelled for it', () => {
    expect(codesOf(mounting({ seLinuxOptions: label }))).toEqual(['SELinuxLabel spec.containers[0].securityContext.seLinuxOptions']);
    expect(codesOf(mounting(undefined, { securityContext: { seLinuxOptions: label } }))).toEqual([
      'SELinuxLabel spec.securityContext.seLinuxOptions',
    ]);
  });

  it('does not matter to a container that is not confined, and not where nothing of the generation is mounted', () => {
    expect(codesOf(mounting({ privileged: true, seLinuxOptions: label }))).toEqual([]);
    expect(codesOf(mounting({ seLinuxOptions: { type: 'spc_t' } }, { securityContext: { seLinuxOptions: label } }))).toEqual([]);
    expect(codesOf(mounting({ seLinuxOptions: label }, { volumes: [{ name: 'v', hostPath: { path: '/srv' } }] }))).toEqual([]);
  });
});

describe('a device', () => {
  const limited = (limits: Record<string, string>) => markedPod({ containers: [container({ resources: { limits } })] });

  it('is warned of: a copy may start without it, and the parent not beside the copy', () => {
    expect(codesOf(limited({ cpu: '1', 'example.org/hsm': '1' }))).toEqual(['ExtendedResource spec.containers[0].resources.limits']);
  });

  it('is not what every node has', () => {
    expect(codesOf(limited({ cpu: '1', memory: '1Gi', 'hugepages-2Mi': '4Mi', 'kubernetes.io/batch-cpu': '1' }))).toEqual([]);
  });
});

describe('the token of a pod whose own replacement waits for it', () => {
  const field = 'BoundToken spec.volumes[0].projected.sources[1].serviceAccountToken';
  const running = (command: string[], mounted = true) => {
    const downwardAPI = { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] };
    const sources = [{ downwardAPI }, { serviceAccountToken: { path: 'token' } }];
    const volumeMounts = [{ name: 'v', mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }];
    const containers = [container({ command, ...(mounted && { volumeMounts }) })];
    const token = { token: 't', renewAt: '2026-11-21T10:00:00Z', expiresAt: '2026-11-21T11:00:00Z' };
    const lookup: ObjectLookup = (ref) => (ref.kind === 'Token' ? { state: 'present', object: token } : lookupIn({})(ref));
    const { warnings } = explainCopy(markedPod({ volumes: [{ name: 'v', projected: { sources } }], containers }), lookup, REFUSE);
    return warnings.map(({ code, field: where }) => `${code} ${where}`);
  };

  it.each([
    ['the scheduler', ['/usr/local/bin/kube-scheduler', '--leader-elect']],
    ['the controller manager', ['/hyperkube', 'controller-manager']],
    ['one that is started by a shell', ['sh', '-c', 'exec kube-scheduler --v=2']],
  ])('is warned of: %s', (_, command) => {
    expect(running(command)).toEqual([field]);
  });

  it('does not matter with a kubeconfig, where the token is not mounted, and to everyone else', () => {
    expect(running(['kube-scheduler', '--kubeconfig=/etc/kubernetes/scheduler.conf'])).toEqual([]);
    expect(running(['kube-scheduler', '--kubeconfig', '/etc/kubernetes/scheduler.conf'])).toEqual([]);
    expect(running(['kube-scheduler'], false)).toEqual([]);
    expect(running(['kube-proxy'])).toEqual([]);
  });
});

describe('a local volume', () => {
  it('is warned of: only the node knows whether its path is a directory', () => {
    const object: BoundClaim = {
      claim: { spec: { volumeName: 'pv' } },
      volume: { state: 'present', object: { spec: { local: { path: '/mnt/disks/a' } } } },
    };
    const lookup: ObjectLookup = (ref) => (ref.kind === 'PersistentVolumeClaim' ? { state: 'present', object } : lookupIn({})(ref));
    const pod = markedPod({ volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c' } }] });
    const outcome = makeCopy(pod, lookup, REFUSE);
    expect(outcome.kind === 'copy' && warningsOf(outcome.copy.pod)).toMatchObject([
      { code: 'LocalVolumePath', field: 'spec.volumes[0].persistentVolumeClaim' },
    ]);
  });
});
