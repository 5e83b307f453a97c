import { describe, expect, test } from 'vitest';
import { admit } from '../../src/embedded/kubelet/admission.ts';
import { apiReferenceOf } from '../../src/embedded/kubelet/api-references.ts';
import { mergeSource } from '../../src/embedded/kubelet/config.ts';
import type { Pod } from '../../src/embedded/kubelet/pod.ts';
import { parseManifest } from '../../src/embedded/kubelet/static-pod.ts';

const FILE = '/etc/kubernetes/manifests/a.yaml';
const spec = { containers: [{ name: 'main', image: 'registry.local/sleep' }] };
const manifest = (metadata: object = {}, more: object = {}) =>
  JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', ...metadata }, spec: { ...spec, ...more } });

describe('a manifest as a static pod', () => {
  test('gets the node name, a namespace, its UID as hash annotation, its source, and tolerates NoExecute', () => {
    const pod = parseManifest(manifest(), FILE, 'Node-1');
    expect(pod.metadata).toMatchObject({ name: 'a-node-1', namespace: 'default' });
    expect(pod.metadata.annotations).toEqual({ 'kubernetes.io/config.hash': pod.metadata.uid, 'kubernetes.io/config.source': 'file' });
    expect(pod.spec.tolerations).toEqual([{ operator: 'Exists', effect: 'NoExecute' }]);
    expect(pod.spec.nodeName).toBe('Node-1');
  });

  test('has a UID that changes with the content, the annotations, the file and the node, and with nothing else', () => {
    const uid = (text: string, file = FILE, node = 'n1') => parseManifest(text, file, node).metadata.uid;
    const same = uid(manifest());
    expect(same).toMatch(/^[0-9a-f]{32}$/);
    expect(uid('spec: {containers: [{image: registry.local/sleep, name: main}]}\nkind: Pod\nmetadata: {name: a}\napiVersion: v1')).toBe(
      same,
    );
    const others = [
      uid(manifest({ annotations: { a: 'b' } })),
      uid(manifest(), '/etc/kubernetes/manifests/b.yaml'),
      uid(manifest(), FILE, 'n2'),
      uid(manifest({}, { priority: 1 })),
    ];
    expect(new Set([same, ...others]).size).toBe(5);
  });

  test('declares its host ports by being in the host network', () => {
    const pod = parseManifest(
      manifest({}, { hostNetwork: true, containers: [{ ...spec.containers[0], ports: [{ containerPort: 6443 }] }] }),
      FILE,
      'n1',
    );
    expect(pod.spec.containers[0]?.ports).toEqual([{ protocol: 'TCP', containerPort: 6443, hostPort: 6443 }]);
  });

  test.each([
    ['no pod', 'apiVersion: v1\nkind: Service\nmetadata: {name: a}', /couldn't parse as pod/],
    ['no YAML', '\tnot: [yaml', /./],
    ['half a file', manifest().slice(0, 40), /./],
    ['no name', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: {}, spec }), /name is needed/],
    ['no containers', JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a' }, spec: {} }), /spec.containers/],
    ['an impossible name', manifest({ name: 'A_b' }), /metadata.name/],
    ['a service account', manifest({}, { serviceAccountName: 'x' }), /static pods may not reference serviceaccounts/],
  ])('is refused: %s', (_what, text, reason) => {
    expect(() => parseManifest(text, FILE, 'n1')).toThrow(reason);
  });
});

describe('references of a static pod to the API', () => {
  const container = { name: 'main', image: 'i' };
  test.each<[string, object, string | undefined]>([
    ['nothing', {}, undefined],
    [
      'hostPath, emptyDir and downwardAPI volumes',
      {
        volumes: [
          { name: 'a', hostPath: { path: '/' } },
          { name: 'b', emptyDir: {} },
          { name: 'c', downwardAPI: {} },
        ],
      },
      undefined,
    ],
    [
      'the downward API in the environment',
      { containers: [{ ...container, env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }] },
      undefined,
    ],
    ['a projected downward API', { volumes: [{ name: 'a', projected: { sources: [{ downwardAPI: {} }] } }] }, undefined],
    ['a service account', { serviceAccountName: 'default' }, 'serviceaccounts'],
    ['a pull secret', { imagePullSecrets: [{ name: 's' }] }, 'secrets'],
    ['a Secret in the environment', { containers: [{ ...container, envFrom: [{ secretRef: { name: 's' } }] }] }, 'secrets'],
    [
      'a Secret in an init container',
      { initContainers: [{ ...container, env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }] }] },
      'secrets',
    ],
    ['a Secret volume', { volumes: [{ name: 'a', secret: { secretName: 's' } }] }, 'secrets'],
    ['a projected Secret', { volumes: [{ name: 'a', projected: { sources: [{ secret: { name: 's' } }] } }] }, 'secrets'],
    ['a ConfigMap in the environment', { containers: [{ ...container, envFrom: [{ configMapRef: { name: 's' } }] }] }, 'configmaps'],
    ['a ConfigMap volume', { volumes: [{ name: 'a', configMap: { name: 's' } }] }, 'configmaps'],
    ['a resource claim', { resourceClaims: [{ name: 'r' }] }, 'resourceclaims'],
    [
      'a token',
      { volumes: [{ name: 'a', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } }] },
      'serviceaccounts (via projected volumes)',
    ],
    [
      'a trust bundle',
      { volumes: [{ name: 'a', projected: { sources: [{ clusterTrustBundle: { path: 't' } }] } }] },
      'clustertrustbundles',
    ],
    ['a claim', { volumes: [{ name: 'a', persistentVolumeClaim: { claimName: 'c' } }] }, 'persistentvolumeclaims'],
    ['an ephemeral volume', { volumes: [{ name: 'a', ephemeral: {} }] }, 'persistentvolumeclaims (via ephemeral volumes)'],
    ['a CSI volume', { volumes: [{ name: 'a', csi: { driver: 'd' } }] }, 'csidrivers (via CSI volumes)'],
    ['glusterfs', { volumes: [{ name: 'a', glusterfs: { endpoints: 'e', path: '/' } }] }, 'endpoints (via glusterFS volumes)'],
  ])('%s', (_what, more, expected) => {
    expect(apiReferenceOf({ containers: [container], ...more })).toBe(expected);
  });
});

const pod = (uid: string, more: { name?: string; ports?: object[]; metadata?: object; status?: Pod['status'] } = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { uid, name: more.name ?? uid, namespace: 'default', ...more.metadata },
  spec: { containers: [{ name: 'main', image: 'i', ports: (more.ports ?? []) as never }] },
  ...(more.status === undefined ? {} : { status: more.status }),
});

describe('admission by host port', () => {
  const on = (uid: string, hostPort: number, more: object = {}) =>
    pod(uid, { ports: [{ containerPort: hostPort, hostPort, protocol: 'TCP', ...more }] });
  test.each([
    ['the same port', on('a', 80), on('b', 80), 'NodePorts'],
    ['another port', on('a', 81), on('b', 80), undefined],
    ['another protocol', on('a', 80, { protocol: 'UDP' }), on('b', 80), undefined],
    ['two addresses', on('a', 80, { hostIP: '10.0.0.1' }), on('b', 80, { hostIP: '10.0.0.2' }), undefined],
    ['an address and all of them', on('a', 80, { hostIP: '10.0.0.1' }), on('b', 80), 'NodePorts'],
    ['itself', on('a', 80), on('a', 80), undefined],
    ['a port that is not on the host', pod('a', { ports: [{ containerPort: 80 }] }), on('b', 80), undefined],
  ])('%s', (_what, wanted, active, expected) => {
    expect(admit(wanted, [active])?.reason).toBe(expected);
  });
});

describe('what changes when a source speaks', () => {
  const now = '2026-01-01T00:00:00Z';
  const before = mergeSource('api', new Map(), [pod('a'), pod('b')], now).after;

  test('new, changed, gone and merely reported pods are told apart', () => {
    const changes = mergeSource(
      'api',
      before,
      [pod('a', { status: { phase: 'Running' } }), pod('c'), pod('b', { metadata: { labels: { x: 'y' } } })],
      now,
    ).changes;
    expect(changes.adds.map(({ metadata }) => metadata.uid)).toEqual(['c']);
    expect(changes.updates.map(({ metadata }) => metadata.uid)).toEqual(['b']);
    expect(changes.reconciles.map(({ metadata }) => metadata.uid)).toEqual(['a']);
    expect(mergeSource('api', before, [pod('a')], now).changes.removes.map(({ metadata }) => metadata.uid)).toEqual(['b']);
  });

  test('the same word again changes nothing, also later', () => {
    const { changes } = mergeSource('api', before, [pod('a'), pod('b')], '2026-01-02T00:00:00Z');
    expect(Object.values(changes).flat()).toEqual([]);
  });

  test('a deletion timestamp is a change', () => {
    const { changes } = mergeSource('api', before, [pod('a', { metadata: { deletionTimestamp: now } }), pod('b')], now);
    expect(changes.updates.map(({ metadata }) => metadata.uid)).toEqual(['a']);
  });

  test('of two pods with one name the first counts', () => {
    const { after } = mergeSource('file', new Map(), [pod('a', { name: 'x' }), pod('b', { name: 'x' })], now);
    expect([...after.keys()]).toEqual(['a']);
    expect(after.get('a')?.metadata.annotations?.['kubernetes.io/config.source']).toBe('file');
  });
});
