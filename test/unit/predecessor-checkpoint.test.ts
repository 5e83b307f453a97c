import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import type { CopyOutcome } from '../../src/checkpoint/model.ts';
import { copyOfCheckpoint, parsePredecessorManifest } from '../../src/predecessor/checkpoint.ts';

const BASE = '/etc/kubernetes';
const NAME = 'kube-apiserver-d8x5v';
const FILE = `kube-system-${NAME}.json`;

/** As its binary wrote it (bootkube v0.14 on Kubernetes 1.36), without what says nothing. */
const MANIFEST: V1Pod = {
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: {
    name: NAME,
    namespace: 'kube-system',
    labels: { 'controller-revision-hash': '5f9fb644b6', 'k8s-app': 'kube-apiserver', 'pod-template-generation': '1' },
    annotations: { 'checkpointer.alpha.coreos.com/checkpoint-of': NAME },
    ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name: NAME, uid: 'uid-1', controller: true }],
  },
  spec: {
    volumes: [
      { name: 'secrets', hostPath: { path: `${BASE}/checkpoint-secrets/kube-system/${NAME}/kube-apiserver` } },
      { name: 'config', hostPath: { path: `${BASE}/checkpoint-configmaps/kube-system/${NAME}/audit` } },
      { name: 'certs', hostPath: { path: '/usr/share/ca-certificates' } },
    ],
    containers: [
      {
        name: 'kube-apiserver',
        image: 'registry.example.org/kube-apiserver:v1',
        command: ['kube-apiserver', '--secure-port=6443'],
        volumeMounts: [
          { name: 'secrets', mountPath: '/secrets', readOnly: true },
          { name: 'config', mountPath: '/config', readOnly: true },
        ],
      },
    ],
    nodeName: 'node1',
    hostNetwork: true,
  },
};

const parse = (pod: unknown, file = FILE) => parsePredecessorManifest(file, Buffer.from(JSON.stringify(pod)));
const changed = (change: (pod: V1Pod) => void): V1Pod => {
  const pod = structuredClone(MANIFEST);
  change(pod);
  return pod;
};
const withMetadata = (name: string, labels: Record<string, string>): V1Pod =>
  changed((pod) => {
    pod.metadata = { ...pod.metadata, name, labels, annotations: { 'checkpointer.alpha.coreos.com/checkpoint-of': name } };
  });
const workloadIn = (name: string, labels: Record<string, string>) =>
  parse(withMetadata(name, labels), `kube-system-${name}.json`)?.workload;

describe("a manifest of bootkube's pod-checkpointer", () => {
  it('is known by its name, its annotation and the pod in it', () => {
    expect(parse(MANIFEST)).toMatchObject({
      namespace: 'kube-system',
      name: NAME,
      uid: 'uid-1',
      workload: { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-apiserver' },
      isCheckpointer: false,
      ours: undefined,
    });
  });

  it.each<[string, V1Pod | unknown, string]>([
    ['has another name than it gives its files', MANIFEST, 'kube-apiserver.json'],
    ['has no annotations', changed((pod) => delete pod.metadata?.annotations), FILE],
    [
      'is of another pod than the annotation says',
      changed((pod) => {
        if (pod.metadata) pod.metadata.annotations = { 'checkpointer.alpha.coreos.com/checkpoint-of': 'other' };
      }),
      FILE,
    ],
    ['is no pod', { ...MANIFEST, kind: 'ConfigMap' }, FILE],
    ['has no containers', { ...MANIFEST, spec: {} }, FILE],
    ['is no object', null, FILE],
  ])('is none where the file %s', (_what, pod, file) => {
    expect(parse(pod, file)).toBeUndefined();
  });

  it('is none where the file is no JSON', () => {
    expect(parsePredecessorManifest(FILE, Buffer.from('apiVersion: v1\nkind: Pod\n'))).toBeUndefined();
  });

  it("tells its workload by what controllers write on their pods: the owner's kind by a label, its name by the pod's", () => {
    expect(workloadIn('kube-scheduler-6447bf5db4-m8c5v', { 'pod-template-hash': '6447bf5db4' })).toMatchObject({
      kind: 'Deployment',
      name: 'kube-scheduler',
    });
    expect(workloadIn('etcd-2', { 'statefulset.kubernetes.io/pod-name': 'etcd-2', 'controller-revision-hash': 'etcd-7f' })).toMatchObject({
      kind: 'StatefulSet',
      name: 'etcd',
    });
    expect(workloadIn('by-hand', { app: 'x' })).toMatchObject({ group: '', kind: 'Pod', name: 'by-hand' });
  });

  it('does not guess where a name was cut', () => {
    expect(workloadIn(`${'a'.repeat(57)}x7k2f`, { 'controller-revision-hash': 'h' })).toBeUndefined();
    expect(workloadIn(`${'a'.repeat(57)}-x7k2f`, { 'controller-revision-hash': 'h' })).toBeUndefined();
  });

  it('of the pod-checkpointer itself is known by its program or by its lock, and ours is not taken for it', () => {
    const run = (container: object) => parse({ ...MANIFEST, spec: { containers: [{ name: 'c', ...container }] } })?.isCheckpointer;
    expect(run({ image: 'registry.local/bootkube:1', args: ['--lock-file=/var/run/lock/pod-checkpointer.lock'] })).toBe(true);
    expect(run({ args: ['run', '--lock-file=/run/lock/pod-checkpointer.lock', '--self=kube-system/DaemonSet/x'] })).toBe(false);
    expect(run({ command: ['/checkpoint', '--lock-file=/var/run/lock/pod-checkpointer.lock'] })).toBe(true);
    expect(run({ image: 'quay.io/coreos/pod-checkpointer:v1', args: ['--lock-file=/run/lock/pod-checkpointer.lock'] })).toBe(true);
    expect(run({ command: ['kube-apiserver', '--lock-file=x'] })).toBe(false);
    expect(run({ image: 'registry.example.org/pod-checkpointer:v1' })).toBe(false);
  });

  it('holds a host port where it declares one, and on the network of the host where it declares any', () => {
    const holds = (spec: object) =>
      parse({ ...MANIFEST, spec: { containers: [{ name: 'c', ports: [{ containerPort: 443 }] }], ...spec } })?.holdsHostPort;
    expect(holds({ hostNetwork: true })).toBe(true);
    expect(holds({})).toBe(false);
    expect(holds({ containers: [{ name: 'c', ports: [{ containerPort: 1, hostPort: 443 }] }] })).toBe(true);
    expect(holds({ hostNetwork: true, containers: [{ name: 'c' }] })).toBe(false);
  });

  it('says so where it is a copy of ours that it took for its own', () => {
    const pod = changed(({ metadata }) => {
      if (metadata)
        metadata.annotations = {
          'checkpointer.alpha.coreos.com/checkpoint-of': 'kube-apiserver',
          'pod-checkpointer.io/workload': 'kube-system/DaemonSet/kube-apiserver',
        };
    });
    expect(parse(pod)).toMatchObject({ ours: 'kube-system/DaemonSet/kube-apiserver', workload: undefined });
  });
});

describe('our copy of it', () => {
  const objects = (names: readonly string[]) => ({
    secrets: new Map(names.includes('kube-apiserver') ? [['kube-apiserver', new Map([['tls.key', Buffer.from('key')]])]] : []),
    configMaps: new Map(names.includes('audit') ? [['audit', new Map([['policy.yaml', Buffer.from('rules')]])]] : []),
  });
  const copyOf = (pod: V1Pod, names = ['kube-apiserver', 'audit']): CopyOutcome => {
    const manifest = parse(pod);
    if (manifest === undefined) throw new Error('not recognized');
    return copyOfCheckpoint(manifest, objects(names), BASE);
  };

  it('carries its Secrets and ConfigMaps as files, and names none of its directories', () => {
    const outcome = copyOf(MANIFEST);
    if (outcome.kind !== 'copy') throw new Error(JSON.stringify(outcome));
    const { copy } = outcome;
    expect(copy.files.map(({ path, bytes }) => [path, Buffer.from(bytes).toString()])).toEqual([
      ['config/policy.yaml', 'rules'],
      ['secrets/tls.key', 'key'],
    ]);
    expect(JSON.stringify(copy.pod)).not.toMatch(/checkpoint-(secrets|configmaps)/);
    expect(copy.pod.metadata?.name).toBe('kube-apiserver-ds');
    expect(copy.pod.spec?.volumes).toContainEqual({ name: 'certs', hostPath: { path: '/usr/share/ca-certificates' } });
    expect(copy.traits.servesApi).toBe(true);
  });

  it('is told nothing of the API server, as it was', () => {
    const outcome = copyOf(MANIFEST);
    expect(outcome.kind === 'copy' && outcome.copy.pod.spec?.containers[0]?.env).toBeUndefined();
  });

  it('cannot be made without the files of a Secret that it mounts', () => {
    expect(copyOf(MANIFEST, ['audit'])).toMatchObject({ kind: 'waiting', objects: [expect.stringContaining('kube-apiserver')] });
  });

  it('cannot be made where it names what only the API server has', () => {
    const token = changed((pod) => {
      pod.spec?.volumes?.push({ name: 'token', projected: { sources: [{ serviceAccountToken: { path: 'token' } }] } });
    });
    expect(copyOf(token).kind).toBe('waiting');
    const variable = changed((pod) => {
      const container = pod.spec?.containers[0];
      if (container) container.env = [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'other', key: 'k' } } }];
    });
    expect(copyOf(variable).kind).toBe('refused');
  });

  it('does not take a path that only begins like one of its directories for a Secret', () => {
    const odd = changed((pod) => {
      pod.spec?.volumes?.push({ name: 'odd', hostPath: { path: `${BASE}/checkpoint-secrets/kube-system/${NAME}/a/b` } });
    });
    const outcome = copyOf(odd);
    expect(outcome.kind === 'copy' && outcome.copy.pod.spec?.volumes).toContainEqual({
      name: 'odd',
      hostPath: { path: `${BASE}/checkpoint-secrets/kube-system/${NAME}/a/b` },
    });
  });
});
