import type { V1Container, V1LabelSelector, V1PersistentVolumeSpec, V1Pod, V1PodSpec, V1VolumeProjection } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { selects } from '../../src/checkpoint/copy/trust-bundles.ts';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { ApiObject, CopyPolicy, ObjectLookup, ObjectState } from '../../src/checkpoint/copy-types.ts';
import { objectKey, objectReferences } from '../../src/checkpoint/references.ts';
import { container, filesOf, markedPod, REFUSE, SERVICE, SERVICE_ENV } from '../support/marked-pods.ts';

const times = { renewAt: '2026-11-21T10:00:00.000Z', expiresAt: '2026-11-21T11:00:00.000Z' };
type States = Readonly<Record<string, ObjectState<ApiObject>>>;
const present = (object: ApiObject): ObjectState<ApiObject> => ({ state: 'present', object });
const denied: ObjectState<ApiObject> = { state: 'denied', detail: 'HTTP 403' };

/** States by the beginning of their keys; a token and the Service of the API server are there where nothing else is said. */
const lookupOf =
  (states: States): ObjectLookup =>
  (ref) => {
    const found = Object.entries(states).find(([key]) => objectKey(ref).startsWith(key));
    if (found !== undefined) return found[1];
    if (ref.kind === 'Service') return present(SERVICE);
    return ref.kind === 'Token' ? present({ token: `token for ${ref.audience}`, ...times }) : { state: 'absent' };
  };
const outcomeOf = (pod: V1Pod, states: States = {}, policy: CopyPolicy = REFUSE) => makeCopy(pod, lookupOf(states), policy);
function copyOf(pod: V1Pod, states: States = {}) {
  const outcome = outcomeOf(pod, states);
  if (outcome.kind !== 'copy') throw new Error(`no copy: ${JSON.stringify(outcome)}`);
  return outcome.copy;
}

describe('a token of a service account', () => {
  const sources: V1VolumeProjection[] = [
    { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
    { serviceAccountToken: { path: 'vault/token', audience: 'vault' } },
  ];
  const podWith = (spec: Partial<V1PodSpec> = {}, metadata: V1Pod['metadata'] = {}) =>
    markedPod({ serviceAccountName: 'sa', volumes: [{ name: 'v', projected: { sources } }], ...spec }, metadata);

  it('is named with the audience and the lifetime that the pod asks for', () => {
    const pod = { name: 'proxy-x7k2f', uid: '5b1f8c1e-0000-4000-8000-000000000001' };
    expect(objectReferences(podWith())).toEqual([
      { kind: 'Token', namespace: 'kube-system', name: 'sa', audience: 'vault', expirationSeconds: 3600, pod },
      { kind: 'Token', namespace: 'kube-system', name: 'sa', audience: '', expirationSeconds: 3607, pod },
    ]);
  });

  it('is a file like the others, and the copy says when it ends', () => {
    const { files, instance } = copyOf(podWith());
    expect(files.map(({ path, mode, uid }) => [path, mode.toString(8), uid])).toEqual([
      ['v/token', '644', 0],
      ['v/vault/token', '644', 0],
    ]);
    expect(instance?.tokens.map(({ path, audience, expiresAt }) => [path, audience, expiresAt])).toEqual([
      ['v/token', '', times.expiresAt],
      ['v/vault/token', 'vault', times.expiresAt],
    ]);
  });

  it.each<[string, Partial<V1PodSpec>, string, number, number]>([
    ['nobody in particular', {}, '644', 0, 0],
    ['the user of the pod', { securityContext: { runAsUser: 1000 } }, '600', 1000, 0],
    ['the user that every container has', { containers: [container({ securityContext: { runAsUser: 5 } })] }, '600', 5, 0],
    [
      'nobody where containers differ',
      { securityContext: { runAsUser: 1 }, initContainers: [container({ name: 'i', securityContext: { runAsUser: 2 } })] },
      '644',
      0,
      0,
    ],
    ['the group', { securityContext: { fsGroup: 7 } }, '640', 0, 7],
    ['both', { securityContext: { runAsUser: 1000, fsGroup: 7 } }, '640', 1000, 7],
  ])('belongs to %s', (_, spec, mode, uid, gid) => {
    const [file] = copyOf(podWith(spec)).files;
    expect([file?.mode.toString(8), file?.uid, file?.gid]).toEqual([mode, uid, gid]);
  });

  it('does not make another copy when it is another one, but one that is to be stored anew', () => {
    const renewed = { 'Token/': present({ token: 'next', ...times }) };
    const [before, after] = [copyOf(podWith()), copyOf(podWith(), renewed)];
    expect(after.digest).toBe(before.digest);
    expect(after.instance?.digest).not.toBe(before.instance?.digest);
    expect(copyOf(podWith({ volumes: [], hostNetwork: true })).instance).toBeUndefined();
  });

  it('has a volume whose generated name does not matter', () => {
    const named = (name: string) => {
      const mounts = [{ name, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true }];
      return copyOf(podWith({ volumes: [{ name, projected: { sources } }], containers: [container({ volumeMounts: mounts })] }));
    };
    expect(named('kube-api-access-9x2lw')).toEqual(named('kube-api-access-abcde'));
    expect(named('kube-api-access-9x2lw').directories[0]?.path).toBe('kube-api-access');
    expect(named('kube-api-access-own-name').directories[0]?.path).toBe('kube-api-access-own-name');
  });

  it('that may not be requested is waited for, with the permission that is missing', () => {
    const outcome = outcomeOf(podWith({}), { 'Token/': { state: 'denied', detail: 'HTTP 403; needed: create on serviceaccounts/token' } });
    const titles = ['token of ServiceAccount kube-system/sa', 'token of ServiceAccount kube-system/sa for audience "vault"'];
    const objects = titles.map((title) => `${title} (HTTP 403; needed: create on serviceaccounts/token)`);
    expect(outcome).toEqual({ kind: 'waiting', objects, denied: objects });
  });

  it('is not asked for a pod without a uid', () => {
    const outcome = outcomeOf(podWith({}, { uid: '' }));
    expect(outcome.kind === 'refused' && outcome.refusals.map(({ code }) => code)).toEqual(['NoPodUid', 'NoPodUid']);
  });
});

describe('the parent’s own name', () => {
  it('in a variable or a file does not make another copy, but one that is to be stored anew', () => {
    const env = [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }];
    const volumes = [{ name: 'v', downwardAPI: { items: [{ path: 'uid', fieldRef: { fieldPath: 'metadata.uid' } }] } }];
    const named = (name: string, uid: string, spec: Partial<V1PodSpec>) => copyOf(markedPod(spec, { name, uid }));
    for (const spec of [{ containers: [container({ env })] }, { volumes }]) {
      const [one, other] = [named('proxy-a', 'a', spec), named('proxy-b', 'b', spec)];
      expect(other.digest).toBe(one.digest);
      expect(other.instance?.digest).not.toBe(one.instance?.digest);
    }
  });

  it('beside other variables leaves these what makes the copy', () => {
    const withValue = (value: string) => {
      const env = [
        { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        { name: 'A', value },
      ];
      return copyOf(markedPod({ containers: [container({ env })] })).digest;
    };
    expect(withValue('1')).not.toBe(withValue('2'));
  });
});

describe('a trust bundle', () => {
  const pem = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;
  const podWith = (clusterTrustBundle: V1VolumeProjection['clusterTrustBundle']) =>
    markedPod({ volumes: [{ name: 'v', projected: { sources: [{ ...(clusterTrustBundle && { clusterTrustBundle }) }] } }] });

  it('has every certificate of its bundles once, and nothing else of them', () => {
    const bundles = [{ spec: { trustBundle: `# a note\n${pem('QQ==')}${pem('Qg==')}` } }, { spec: { trustBundle: pem('QQ==') } }];
    const copy = copyOf(podWith({ signerName: 'example.org/s', labelSelector: {}, path: 'ca.pem' }), {
      ClusterTrustBundle: present(bundles),
    });
    expect(filesOf(copy)).toEqual({ 'v/ca.pem': pem('QQ==') + pem('Qg==') });
  });

  it.each<[string, V1LabelSelector | undefined, boolean]>([
    ['no selector', undefined, false],
    ['an empty one', {}, true],
    ['a label it has', { matchLabels: { a: '1' } }, true],
    ['a value among others', { matchExpressions: [{ key: 'a', operator: 'In', values: ['0', '1'] }] }, true],
    ['another value', { matchExpressions: [{ key: 'a', operator: 'NotIn', values: ['1'] }] }, false],
    ['another value of a label it has not', { matchExpressions: [{ key: 'b', operator: 'NotIn', values: ['1'] }] }, true],
    ['a label it has not', { matchExpressions: [{ key: 'b', operator: 'Exists' }] }, false],
    ['no such label', { matchExpressions: [{ key: 'b', operator: 'DoesNotExist' }] }, true],
    ['a key that every object of JavaScript has', { matchExpressions: [{ key: 'constructor', operator: 'Exists' }] }, false],
  ])('is chosen by its labels: %s', (_, selector, expected) => {
    expect(selects(selector, { a: '1' })).toBe(expected);
  });

  it('that may be missing is an empty file then, another one is waited for', () => {
    expect(filesOf(copyOf(podWith({ name: 'b', path: 'ca.pem', optional: true })))).toEqual({ 'v/ca.pem': '' });
    const outcome = outcomeOf(podWith({ name: 'b', path: 'ca.pem' }));
    expect(outcome).toEqual({ kind: 'waiting', objects: ['ClusterTrustBundle b'] });
  });
});

describe('a claim', () => {
  const pod = (readOnly = false) =>
    markedPod({
      volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c', ...(readOnly && { readOnly }) } }],
      containers: [container({ volumeMounts: [{ name: 'v', mountPath: '/data', subPath: 'db' }] })],
    });
  const bound = (spec: V1PersistentVolumeSpec): States => ({
    'PersistentVolumeClaim/': present({ claim: { spec: { volumeName: 'pv' } }, volume: { state: 'present', object: { spec } } }),
  });

  it.each<[string, V1PersistentVolumeSpec, object]>([
    ['a local volume', { local: { path: '/mnt/a' } }, { path: '/mnt/a', type: 'Directory' }],
    ['a path of the host', { hostPath: { path: '/srv/a', type: 'DirectoryOrCreate' } }, { path: '/srv/a', type: 'DirectoryOrCreate' }],
    ['a path of the host without a type', { hostPath: { path: '/srv/a' } }, { path: '/srv/a', type: '' }],
  ])('that is bound to %s becomes that path', (_, spec, hostPath) => {
    const { pod: copied, traits } = copyOf(pod(), bound(spec));
    expect(copied.spec?.volumes).toEqual([{ name: 'v', hostPath }]);
    expect(copied.spec?.containers[0]?.volumeMounts).toEqual([{ name: 'v', mountPath: '/data', subPath: 'db' }]);
    expect(traits.handBack).toBe('exclusive');
  });

  it('that is used read-only is mounted read-only', () => {
    expect(copyOf(pod(true), bound({ local: { path: '/mnt/a' } })).pod.spec?.containers[0]?.volumeMounts?.[0]?.readOnly).toBe(true);
  });

  it.each<[string, V1PersistentVolumeSpec, RegExp]>([
    [
      'a driver',
      { csi: { driver: 'd', volumeHandle: 'h' }, accessModes: [] },
      /"pv" is of the kind csi, which needs the API server, a driver or a controller\./,
    ],
    ['a disk of the network', { iscsi: { iqn: 'i', lun: 0, targetPortal: 't' } }, /is of the kind iscsi/],
    ['a block device', { local: { path: '/dev/sdb' }, volumeMode: 'Block' }, /is a block device/],
    ['a device with a file system', { local: { path: '/dev/sdb', fsType: 'ext4' } }, /is a device with a file system/],
    [
      'a raw device that the kubelet makes a file system on',
      { local: { path: '/dev/sdb' } },
      /is the device \/dev\/sdb, which the kubelet formats/,
    ],
    ['a raw device by its id', { local: { path: '/dev//disk/by-id/nvme-1' } }, /is the device \/dev\/\/disk\/by-id\/nvme-1/],
    ['a block device of the host', { hostPath: { path: '/dev/sdc' }, volumeMode: 'Block' }, /is a block device/],
    ['mount options', { hostPath: { path: '/a' }, mountOptions: ['noexec'] }, /has mount options \(noexec\)/],
    ['a relative path', { hostPath: { path: 'a' } }, /path that is not absolute/],
  ])('that is bound to %s is refused, with the reason', (_, spec, why) => {
    const outcome = outcomeOf(pod(), bound(spec));
    expect(outcome.kind === 'refused' && outcome.refusals).toEqual([
      { code: 'PersistentVolumeClaim', field: 'spec.volumes[0].persistentVolumeClaim', message: expect.stringMatching(why) },
    ]);
  });

  it.each<[string, States, string]>([
    ['the claim', { 'PersistentVolumeClaim/': denied }, 'get on persistentvolumeclaims in namespace kube-system'],
    [
      'its volume',
      { 'PersistentVolumeClaim/': present({ claim: { spec: { volumeName: 'pv' } }, volume: { state: 'denied', detail: 'HTTP 403' } }) },
      'get on persistentvolumes',
    ],
  ])('is refused with the permission that is missing where %s may not be read', (_, states, permission) => {
    const outcome = outcomeOf(pod(), states);
    expect(outcome.kind === 'refused' && outcome.refusals[0]).toMatchObject({
      code: 'ClaimForbidden',
      message: expect.stringContaining(permission),
    });
  });

  it('that is not there, or not bound, is waited for', () => {
    expect(outcomeOf(pod())).toEqual({ kind: 'waiting', objects: ['PersistentVolumeClaim kube-system/c'] });
    const unbound = { 'PersistentVolumeClaim/': present({ claim: { spec: {} }, volume: { state: 'unknown', detail: '' } }) };
    expect(outcomeOf(pod(), unbound)).toEqual({ kind: 'waiting', objects: ['PersistentVolumeClaim kube-system/c (not bound)'] });
  });
});

describe('what the node can give', () => {
  it('is asked of the node where a file is to say it', () => {
    const items = [{ path: 'cpu', resourceFieldRef: { containerName: 'proxy', resource: 'limits.cpu' } }];
    const pod = markedPod({ volumes: [{ name: 'v', downwardAPI: { items } }] });
    expect(objectReferences(pod)).toEqual([{ kind: 'Node', namespace: '', name: 'master-1' }]);
    expect(filesOf(copyOf(pod, { 'Node/': present({ status: { allocatable: { cpu: '3920m' } } }) }))).toEqual({ 'v/cpu': '4' });
    expect(outcomeOf(pod, { 'Node/': { state: 'unknown', detail: '' } })).toEqual({ kind: 'waiting', objects: ['Node master-1'] });
  });
});

describe('where the API server is', () => {
  const env = (pod: V1Pod, states: States = {}) => copyOf(pod, states).pod.spec?.containers[0]?.env;

  it.each<[string, Partial<V1PodSpec>]>([
    ['a network of its own', {}],
    ['the host’s network', { hostNetwork: true }],
    ['no links to Services', { enableServiceLinks: false }],
  ])('is what the cluster says, for a pod with %s', (_, spec) => {
    expect(env(markedPod(spec))).toEqual(SERVICE_ENV);
  });

  it.each<[string, ObjectState<ApiObject>, string]>([
    ['the cluster has answered', { state: 'unknown', detail: '' }, ''],
    ['the Service is there', { state: 'absent' }, ' (or --kubernetes-service)'],
    ['it has an address', present({ spec: { clusterIP: 'None' } }), ' (it has no address; --kubernetes-service says where else)'],
  ])('is waited for until %s: the copy would have to be made again', (_, state, why) => {
    expect(outcomeOf(markedPod(), { 'Service/': state })).toEqual({ kind: 'waiting', objects: [`Service default/kubernetes${why}`] });
  });

  it('is a reason against a copy where it may not be read', () => {
    const outcome = outcomeOf(markedPod(), { 'Service/': denied });
    expect(outcome.kind === 'refused' && outcome.refusals).toEqual([
      {
        code: 'KubernetesServiceForbidden',
        field: 'spec.containers[0].env',
        message: expect.stringMatching(
          /\(HTTP 403\)\. Set --kubernetes-service, or grant .* list and watch on services in namespace default\.$/,
        ),
      },
    ]);
  });

  it('is not asked for where it was said, or where the container says it itself', () => {
    const policy: CopyPolicy = { ...REFUSE, kubernetesService: { host: 'h', port: 1 } };
    expect(outcomeOf(markedPod(), { 'Service/': denied }, policy).kind).toBe('copy');
    const own = [
      { name: 'KUBERNETES_SERVICE_HOST', value: '127.0.0.1' },
      { name: 'KUBERNETES_SERVICE_PORT', value: '6443' },
    ];
    expect(env(markedPod({ containers: [container({ env: own })] }), { 'Service/': denied })).toEqual(own);
  });
});

describe('the variable of another Service', () => {
  const refusalsOf = (fields: Partial<V1Container>, spec: Partial<V1PodSpec> = {}) => {
    const outcome = outcomeOf(markedPod({ ...spec, containers: [container(fields)] }));
    return outcome.kind === 'refused' ? outcome.refusals.map(({ code, field }) => `${code} ${field}`) : outcome.kind;
  };

  it.each<[string, Partial<V1Container>, string]>([
    ['a command', { command: ['resolve', '$(KUBE_DNS_SERVICE_HOST)'] }, 'command[1]'],
    ['an argument', { args: ['--etcd=$(ETCD_PORT_2379_TCP_ADDR):2379'] }, 'args[0]'],
    ['a variable', { env: [{ name: 'A', value: 'x$(ETCD_SERVICE_PORT_CLIENT)' }] }, 'env[0].value'],
    ['the form that links of containers had', { args: ['--etcd=$(ETCD_PORT)'] }, 'args[0]'],
    ['what the kubelet says of the API server beside its address', { args: ['$(KUBERNETES_PORT_443_TCP_ADDR)'] }, 'args[0]'],
  ])('in %s is a reason against a copy: it would not be expanded', (_, fields, where) => {
    expect(refusalsOf(fields)).toEqual([`ServiceVariable spec.containers[0].${where}`]);
  });

  it('is none where the container sets it, where it is escaped, or where the pod takes no links', () => {
    const value = '$(KUBE_DNS_SERVICE_HOST)';
    expect(refusalsOf({ env: [{ name: 'KUBE_DNS_SERVICE_HOST', value: '10.96.0.10' }], args: [value] })).toBe('copy');
    expect(refusalsOf({ args: [`$${value}`] })).toBe('copy');
    expect(refusalsOf({ args: [value] }, { enableServiceLinks: false })).toBe('copy');
    expect(refusalsOf({ args: ['$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)'] })).toBe('copy');
  });
});
