import type { V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { CHECKPOINT_OF, CONFIG_MIRROR, CONFIG_SOURCE, HAND_BACK, WORKLOAD } from '../../src/checkpoint/annotations.ts';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import {
  configMap,
  container,
  copyOf,
  firstContainer,
  lookupIn,
  markedPod,
  REFUSE,
  refusalsOf,
  SERVICE_ENV,
  secret,
} from '../support/marked-pods.ts';

const codes = (pod: V1Pod, ...rest: [Record<string, never>?]) => refusalsOf(pod, ...rest).map(({ code, field }) => `${code} ${field}`);

describe('what the copy is called', () => {
  it('names the workload, not the pod, and keeps namespace and labels', () => {
    const labels = { 'k8s-app': 'proxy', 'controller-revision-hash': 'abc', 'pod-template-generation': '2' };
    const { pod } = copyOf(markedPod({}, { labels }));
    expect(pod).toMatchObject({ apiVersion: 'v1', kind: 'Pod' });
    expect(pod.metadata).toEqual({
      name: 'proxy-ds',
      namespace: 'kube-system',
      labels,
      annotations: { [CHECKPOINT_OF]: 'proxy', [WORKLOAD]: 'kube-system/DaemonSet/proxy' },
    });
  });

  it('carries nothing else of the metadata, and no status', () => {
    const pod = markedPod(
      {},
      {
        generateName: 'proxy-',
        resourceVersion: '12',
        creationTimestamp: new Date(0),
        deletionTimestamp: new Date(1),
        deletionGracePeriodSeconds: 30,
        finalizers: ['example.org/wait'],
        managedFields: [{ manager: 'kubelet' }],
        annotations: { 'example.org/note': 'the parent’s own' },
      },
    );
    const copy = copyOf({ ...pod, status: { phase: 'Running' } });
    expect(Object.keys(copy.pod).sort()).toEqual(['apiVersion', 'kind', 'metadata', 'spec']);
    expect(Object.keys(copy.pod.metadata ?? {}).sort()).toEqual(['annotations', 'name', 'namespace']);
    expect(Object.keys(copy.pod.metadata?.annotations ?? {})).toHaveLength(2);
  });
});

describe('what the copy leaves out', () => {
  const removed: [keyof V1PodSpec, Partial<V1PodSpec>][] = [
    ['serviceAccountName', { serviceAccountName: 'default' }],
    ['serviceAccount', { serviceAccount: 'default' }],
    ['imagePullSecrets', { imagePullSecrets: [{ name: 'registry' }] }],
    ['nodeName', { nodeName: 'master-1' }],
    ['nodeSelector', { nodeSelector: { a: 'b' } }],
    ['affinity', { affinity: { nodeAffinity: {} } }],
    ['topologySpreadConstraints', { topologySpreadConstraints: [{ maxSkew: 1, topologyKey: 'k', whenUnsatisfiable: 'DoNotSchedule' }] }],
    ['schedulingGates', { schedulingGates: [{ name: 'example.org/gate' }] }],
    ['schedulingGroup', { schedulingGroup: { podGroupName: 'g' } }],
    ['schedulerName', { schedulerName: 'default-scheduler' }],
    ['runtimeClassName', { runtimeClassName: 'sandboxed' }],
    ['overhead', { overhead: { cpu: '100m' } }],
    ['readinessGates', { readinessGates: [{ conditionType: 'example.org/ready' }] }],
    ['ephemeralContainers', { ephemeralContainers: [{ name: 'debug', image: 'i' }] }],
    ['activeDeadlineSeconds', { activeDeadlineSeconds: 60 }],
  ];
  it.each(removed)('%s', (field, spec) => {
    expect(copyOf(markedPod(spec)).pod.spec).not.toHaveProperty(field);
  });
});

describe('what the copy keeps', () => {
  const kept: [string, Partial<V1PodSpec>][] = [
    [
      'priority and its class',
      { priority: 2_000_001_000, priorityClassName: 'system-node-critical', preemptionPolicy: 'PreemptLowerPriority' },
    ],
    ['the host’s namespaces', { hostNetwork: true, hostPID: true, hostIPC: true }],
    ['the security context', { securityContext: { runAsUser: 65534, runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } }],
    ['host name and subdomain', { hostname: 'etcd-0', subdomain: 'etcd', setHostnameAsFQDN: true }],
    ['DNS', { dnsPolicy: 'None', dnsConfig: { nameservers: ['10.0.0.2'] }, hostAliases: [{ ip: '10.0.0.3', hostnames: ['a'] }] }],
    ['how it ends', { terminationGracePeriodSeconds: 45, restartPolicy: 'Always' }],
    ['the rest', { enableServiceLinks: true, shareProcessNamespace: true, os: { name: 'linux' }, hostUsers: true }],
    [
      'local volumes',
      {
        volumes: [
          { name: 'a', hostPath: { path: '/etc/kubernetes/pki', type: 'DirectoryOrCreate' } },
          { name: 'b', emptyDir: { medium: 'Memory' } },
          { name: 'c', nfs: { server: 's', path: '/p' } },
        ],
      },
    ],
  ];
  it.each(kept)('%s', (_, spec) => {
    expect(copyOf(markedPod(spec)).pod.spec).toMatchObject(spec);
  });

  it('resources, probes, security and the command of its containers', () => {
    const fields = {
      command: ['/proxy'],
      args: ['--v=2'],
      workingDir: '/',
      resources: { requests: { cpu: '100m' }, limits: { memory: '1Gi' } },
      securityContext: { privileged: true },
      livenessProbe: { httpGet: { path: '/livez', port: 10256, scheme: 'HTTPS' }, periodSeconds: 5 },
      terminationMessagePolicy: 'FallbackToLogsOnError',
    };
    expect(firstContainer(copyOf(markedPod({ containers: [container(fields)] })).pod)).toEqual(
      container({ ...fields, imagePullPolicy: 'IfNotPresent', env: SERVICE_ENV }),
    );
  });

  it('init containers and sidecars, in their order', () => {
    const initContainers = [container({ name: 'first' }), container({ name: 'sidecar', restartPolicy: 'Always' })];
    const names = copyOf(markedPod({ initContainers })).pod.spec?.initContainers?.map((c) => [c.name, c.restartPolicy, c.imagePullPolicy]);
    expect(names).toEqual([
      ['first', undefined, 'IfNotPresent'],
      ['sidecar', 'Always', 'IfNotPresent'],
    ]);
  });
});

describe('what the copy sets', () => {
  it('tolerates every taint, mounts no token, and pulls only what is missing', () => {
    const { spec } = copyOf(
      markedPod({
        tolerations: [{ key: 'node-role.kubernetes.io/control-plane', operator: 'Exists', effect: 'NoSchedule' }],
        containers: [container({ imagePullPolicy: 'Always' })],
        volumes: [{ name: 'tools', image: { reference: 'registry.example.org/tools:1', pullPolicy: 'Always' } }],
      }),
    ).pod;
    expect(spec?.tolerations).toEqual([{ operator: 'Exists' }]);
    expect(spec?.automountServiceAccountToken).toBe(false);
    expect(spec?.containers[0]?.imagePullPolicy).toBe('IfNotPresent');
    expect(spec?.volumes?.[0]?.image?.pullPolicy).toBe('IfNotPresent');
  });
});

describe('ports', () => {
  const ports = [
    { name: 'https', containerPort: 6443, hostPort: 6443, protocol: 'TCP' },
    { name: 'health', containerPort: 6080, hostPort: 6080, protocol: 'TCP' },
  ];
  const probed = container({
    ports,
    livenessProbe: { httpGet: { path: '/livez', port: 'health', scheme: 'HTTPS' } },
    readinessProbe: { tcpSocket: { port: 'https' } },
    startupProbe: { httpGet: { path: '/livez', port: '8080' } },
    lifecycle: { preStop: { httpGet: { path: '/drain', port: 'health' } }, postStart: { exec: { command: ['true'] } } },
  });

  it('of a pod on the host’s network are removed, and what names one gets its number', () => {
    const copied = firstContainer(copyOf(markedPod({ hostNetwork: true, containers: [probed] })).pod);
    expect(copied).not.toHaveProperty('ports');
    expect(copied.livenessProbe?.httpGet).toEqual({ path: '/livez', port: 6080, scheme: 'HTTPS' });
    expect(copied.readinessProbe?.tcpSocket).toEqual({ port: 6443 });
    expect(copied.startupProbe?.httpGet?.port).toBe(8080);
    expect(copied.lifecycle).toEqual({ preStop: { httpGet: { path: '/drain', port: 6080 } }, postStart: { exec: { command: ['true'] } } });
  });

  it('of a pod on its own network stay', () => {
    const own = ports.map(({ name, containerPort }) => ({ name, containerPort }));
    expect(firstContainer(copyOf(markedPod({ containers: [{ ...probed, ports: own }] })).pod).ports).toEqual(own);
  });

  it('of the host, without its network, are refused: the kubelet would never admit the next parent', () => {
    expect(codes(markedPod({ containers: [probed] }))).toEqual([
      'HostPort spec.containers[0].ports[0].hostPort',
      'HostPort spec.containers[0].ports[1].hostPort',
    ]);
  });

  it('a name that no port has stays as it is', () => {
    const pod = markedPod({ hostNetwork: true, containers: [container({ livenessProbe: { tcpSocket: { port: 'none' } } })] });
    expect(firstContainer(copyOf(pod).pod).livenessProbe?.tcpSocket?.port).toBe('none');
  });

  it('a name means the port of the same container', () => {
    const other = container({
      name: 'other',
      ports: [{ name: 'health', containerPort: 1 }],
      livenessProbe: { tcpSocket: { port: 'health' } },
    });
    const { pod } = copyOf(markedPod({ hostNetwork: true, containers: [probed, other] }));
    expect(pod.spec?.containers.map((c) => (c.livenessProbe?.httpGet ?? c.livenessProbe?.tcpSocket)?.port)).toEqual([6080, 1]);
  });
});

describe('what is refused, by the field that is the reason', () => {
  const volume = (source: object) => markedPod({ volumes: [{ name: 'data', ...source }] });
  it.each([
    ['CSI', volume({ csi: { driver: 'd' } }), 'CsiVolume spec.volumes[0].csi'],
    ['an ephemeral volume', volume({ ephemeral: {} }), 'EphemeralVolume spec.volumes[0].ephemeral'],
    ['azureFile', volume({ azureFile: { secretName: 's', shareName: 'x' } }), 'UnsupportedVolume spec.volumes[0].azureFile'],
    ['glusterfs', volume({ glusterfs: { endpoints: 'e', path: 'p' } }), 'UnsupportedVolume spec.volumes[0].glusterfs'],
    ['cephfs', volume({ cephfs: { monitors: [], secretRef: { name: 's' } } }), 'UnsupportedVolume spec.volumes[0].cephfs'],
    ['rbd', volume({ rbd: { image: 'i', monitors: [] } }), 'UnsupportedVolume spec.volumes[0].rbd'],
    ['flexVolume', volume({ flexVolume: { driver: 'd' } }), 'UnsupportedVolume spec.volumes[0].flexVolume'],
    [
      'a disk that a controller attaches',
      volume({ gcePersistentDisk: { pdName: 'd' } }),
      'UnsupportedVolume spec.volumes[0].gcePersistentDisk',
    ],
    ['a kind of volume not yet invented', volume({ holographic: {} }), 'UnsupportedVolume spec.volumes[0].holographic'],
    ['a relative path of the host', volume({ hostPath: { path: '@generation@/files/x' } }), 'UnsafePath spec.volumes[0].hostPath.path'],
    [
      'a pod certificate',
      volume({ projected: { sources: [{ podCertificate: { keyType: 'ED25519', signerName: 's' } }] } }),
      'UnsupportedProjection spec.volumes[0].projected.sources[0].podCertificate',
    ],
    ['a resource claim', markedPod({ resourceClaims: [{ name: 'gpu' }] }), 'ResourceClaim spec.resourceClaims'],
    [
      'a container’s resource claim',
      markedPod({ initContainers: [container({ name: 'i', resources: { claims: [{ name: 'gpu' }] } })] }),
      'ResourceClaim spec.initContainers[0].resources.claims',
    ],
    ['a pod that ends by itself', markedPod({ restartPolicy: 'OnFailure' }), 'RestartPolicy spec.restartPolicy'],
    ['a pod that runs once', markedPod({ restartPolicy: 'Never' }), 'RestartPolicy spec.restartPolicy'],
    ['a pod without containers', markedPod({ containers: [] }), 'NoContainers spec.containers'],
    ['a mirror pod', markedPod({}, { annotations: { [CONFIG_MIRROR]: 'x' } }), 'StaticPod metadata.annotations'],
    ['a static pod', markedPod({}, { annotations: { [CONFIG_SOURCE]: 'file' } }), 'StaticPod metadata.annotations'],
    ['a copy', markedPod({}, { annotations: { [CHECKPOINT_OF]: 'x' } }), 'CopyOfCopy metadata.annotations'],
  ])('%s', (_, pod, expected) => {
    expect(codes(pod)).toEqual([expected]);
  });

  it('with every reason at once, each with a sentence that says what to do', () => {
    const pod = markedPod({ restartPolicy: 'Never', volumes: [{ name: 'a', csi: { driver: 'd' } }], resourceClaims: [{ name: 'gpu' }] });
    const refusals = refusalsOf(pod);
    expect(refusals.map(({ code }) => code)).toEqual(['RestartPolicy', 'ResourceClaim', 'CsiVolume']);
    for (const { message } of refusals) expect(message).toMatch(/^[A-Z].*\. (Use|Take) .*\.$/);
  });

  it('whatever the kubelet would not take, such as a name too long for this node', () => {
    const pod = markedPod({ nodeName: 'n'.repeat(120) }, { name: 'x'.repeat(253), ownerReferences: [] });
    expect(codes(pod)).toEqual(['KubeletWouldRefuse metadata.name']);
  });
});

describe('what is waited for', () => {
  const volumes = [
    { name: 'a', secret: { secretName: 'late' } },
    { name: 'b', configMap: { name: 'unread', optional: true } },
    { name: 'c', configMap: { name: 'none', optional: true } },
  ];
  it('objects that are absent although needed, and those that could not be read, by name', () => {
    const outcome = makeCopy(markedPod({ volumes }), lookupIn({ 'Secret/late': 'absent', 'ConfigMap/unread': 'unknown' }), REFUSE);
    expect(outcome).toEqual({ kind: 'waiting', objects: ['ConfigMap kube-system/unread', 'Secret kube-system/late'] });
  });

  it('nothing, where the pod is refused anyway', () => {
    const outcome = makeCopy(markedPod({ volumes, restartPolicy: 'Never' }), lookupIn({}), REFUSE);
    expect(outcome.kind).toBe('refused');
  });
});

describe('the digest', () => {
  const volumes = [{ name: 'a', secret: { secretName: 's', defaultMode: 0o400 } }];
  const base = markedPod({ volumes }, { labels: { a: '1', b: '2' } });
  const digest = (pod: V1Pod, value = 'v') => copyOf(pod, { 'Secret/s': secret({ k: value, l: 'w' }) }).digest;

  it.each<[string, V1Pod]>([
    ['the pod’s name and uid', { ...base, metadata: { ...base.metadata, name: 'proxy-zzzzz', uid: 'other' } }],
    ['its resourceVersion', { ...base, metadata: { ...base.metadata, resourceVersion: '99' } }],
    ['its status', { ...base, status: { phase: 'Failed' } }],
    ['an annotation', { ...base, metadata: { ...base.metadata, annotations: { ...base.metadata?.annotations, other: 'x' } } }],
    [
      'the order of keys',
      { spec: base.spec, metadata: { ...base.metadata, labels: { b: '2', a: '1' } }, kind: 'Pod', apiVersion: 'v1' } as V1Pod,
    ],
    [
      'the owner’s uid',
      {
        ...base,
        metadata: {
          ...base.metadata,
          ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'proxy', uid: 'new', controller: true }],
        },
      },
    ],
  ])('does not depend on %s', (_, pod) => {
    expect(digest(pod)).toBe(digest(base));
  });

  it.each<[string, string]>([
    [
      'the image',
      digest(markedPod({ volumes, containers: [container({ image: 'registry.example.org/proxy:2' })] }, { labels: { a: '1', b: '2' } })),
    ],
    ['a Secret’s value', digest(base, 'rotated')],
    [
      'a file’s mode',
      digest(markedPod({ volumes: [{ name: 'a', secret: { secretName: 's', defaultMode: 0o440 } }] }, { labels: { a: '1', b: '2' } })),
    ],
    ['a label', digest(markedPod({ volumes }, { labels: { a: '1', b: '3' } }))],
    ['how it is handed back', digest(markedPod({ volumes }, { labels: { a: '1', b: '2' }, annotations: { [HAND_BACK]: 'exclusive' } }))],
  ])('changes with %s', (_, changed) => {
    expect(changed).not.toBe(digest(base));
    expect(changed).toMatch(/^[0-9a-f]{64}$/);
  });

  it('a copy shares nothing with the pod it was made from', () => {
    const pod = markedPod({ securityContext: { runAsUser: 1 } });
    const before = JSON.stringify(pod);
    const copy = copyOf(pod, { 'ConfigMap/c': configMap({}) });
    if (copy.pod.spec?.securityContext) copy.pod.spec.securityContext.runAsUser = 2;
    expect(JSON.stringify(pod)).toBe(before);
  });
});
