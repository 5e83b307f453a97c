import type { V1Container, V1Pod, V1PodSpec, V1Volume } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { container } from '../support/marked-pods.ts';

const pod = (spec: Partial<V1PodSpec> = {}, metadata: V1Pod['metadata'] = {}): V1Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'proxy-ds', namespace: 'kube-system', ...metadata },
  spec: { containers: [container()], ...spec },
});
const fields = (p: V1Pod, node?: string) => violations(p, node).map((v) => v.field);
const withVolume = (source: Omit<V1Volume, 'name'>) => pod({ volumes: [{ name: 'v', ...source }] });
const withContainer = (c: Partial<V1Container>) => pod({ containers: [container(c)] });

describe('the kubelet takes', () => {
  it.each<[string, V1Pod]>([
    ['a plain pod', pod()],
    [
      'local volumes',
      pod({
        volumes: [
          { name: 'a', hostPath: { path: '/a' } },
          { name: 'b', emptyDir: {} },
          { name: 'c', downwardAPI: {} },
        ],
      }),
    ],
    ['projected fields', withVolume({ projected: { sources: [{ downwardAPI: { items: [] } }] } })],
    ['an iSCSI volume without a Secret', withVolume({ iscsi: { iqn: 'i', lun: 0, targetPortal: 't' } })],
    ['ports on the host’s network', pod({ hostNetwork: true, containers: [container({ ports: [{ containerPort: 1, hostPort: 1 }] })] })],
    [
      'one host port for two protocols',
      withContainer({
        ports: [
          { containerPort: 1, hostPort: 1, protocol: 'TCP' },
          { containerPort: 1, hostPort: 1, protocol: 'UDP' },
        ],
      }),
    ],
    ['fields and resources in variables', withContainer({ env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] })],
  ])('%s', (_, p) => {
    expect(violations(p)).toEqual([]);
  });
});

describe('the kubelet refuses a reference to an API object', () => {
  it.each<[V1Pod, string]>([
    [pod({ serviceAccountName: 'default' }), 'spec.serviceAccountName'],
    [pod({ serviceAccount: 'default' }), 'spec.serviceAccount'],
    [pod({ imagePullSecrets: [{ name: 's' }] }), 'spec.imagePullSecrets'],
    [pod({ resourceClaims: [{ name: 'c' }] }), 'spec.resourceClaims'],
    [withContainer({ resources: { claims: [{ name: 'c' }] } }), 'spec.containers[0].resources.claims'],
    [withVolume({ secret: { secretName: 's', optional: true } }), 'spec.volumes[0].secret'],
    [withVolume({ configMap: { name: 'c' } }), 'spec.volumes[0].configMap'],
    [withVolume({ persistentVolumeClaim: { claimName: 'c' } }), 'spec.volumes[0].persistentVolumeClaim'],
    [withVolume({ csi: { driver: 'd' } }), 'spec.volumes[0].csi'],
    [withVolume({ ephemeral: {} }), 'spec.volumes[0].ephemeral'],
    [withVolume({ glusterfs: { endpoints: 'e', path: 'p' } }), 'spec.volumes[0].glusterfs'],
    [withVolume({ azureFile: { secretName: 's', shareName: 'x' } }), 'spec.volumes[0].azureFile'],
    [withVolume({ cephfs: { monitors: [], secretRef: { name: 's' } } }), 'spec.volumes[0].cephfs.secretRef'],
    [withVolume({ cinder: { volumeID: 'i', secretRef: { name: 's' } } }), 'spec.volumes[0].cinder.secretRef'],
    [withVolume({ flexVolume: { driver: 'd', secretRef: { name: 's' } } }), 'spec.volumes[0].flexVolume.secretRef'],
    [withVolume({ iscsi: { iqn: 'i', lun: 0, targetPortal: 't', secretRef: { name: 's' } } }), 'spec.volumes[0].iscsi.secretRef'],
    [withVolume({ rbd: { image: 'i', monitors: [], secretRef: { name: 's' } } }), 'spec.volumes[0].rbd.secretRef'],
    [withVolume({ scaleIO: { gateway: 'g', system: 's', secretRef: { name: 's' } } }), 'spec.volumes[0].scaleIO.secretRef'],
    [withVolume({ storageos: { secretRef: { name: 's' } } }), 'spec.volumes[0].storageos.secretRef'],
    [withVolume({ projected: { sources: [{ secret: { name: 's' } }] } }), 'spec.volumes[0].projected.sources[0].secret'],
    [withVolume({ projected: { sources: [{ configMap: { name: 'c' } }] } }), 'spec.volumes[0].projected.sources[0].configMap'],
    [
      withVolume({ projected: { sources: [{ downwardAPI: {} }, { serviceAccountToken: { path: 't' } }] } }),
      'spec.volumes[0].projected.sources[1].serviceAccountToken',
    ],
    [
      withVolume({ projected: { sources: [{ clusterTrustBundle: { path: 'b' } }] } }),
      'spec.volumes[0].projected.sources[0].clusterTrustBundle',
    ],
    [withContainer({ envFrom: [{ secretRef: { name: 's' } }] }), 'spec.containers[0].envFrom[0].secretRef'],
    [withContainer({ envFrom: [{ configMapRef: { name: 'c' } }] }), 'spec.containers[0].envFrom[0].configMapRef'],
    [
      withContainer({ env: [{ name: 'A', valueFrom: { secretKeyRef: { key: 'k' } } }] }),
      'spec.containers[0].env[0].valueFrom.secretKeyRef',
    ],
    [
      withContainer({ env: [{ name: 'A', valueFrom: { configMapKeyRef: { key: 'k' } } }] }),
      'spec.containers[0].env[0].valueFrom.configMapKeyRef',
    ],
    [
      pod({ initContainers: [container({ name: 'init', envFrom: [{ secretRef: { name: 's' } }] })] }),
      'spec.initContainers[0].envFrom[0].secretRef',
    ],
  ])('%#: $1', (p, field) => {
    expect(fields(p)).toEqual([field]);
  });
});

describe('the kubelet refuses a pod that is not valid', () => {
  const port = (containerPort: number, hostPort: number) => ({ containerPort, hostPort });
  it.each<[string, V1Pod, string[]]>([
    ['not a v1 Pod', { ...pod(), kind: 'PodList' }, ['kind']],
    ['a name that is no subdomain', pod({}, { name: 'Proxy' }), ['metadata.name']],
    ['a name with a label that ends in a dash', pod({}, { name: 'a-.b' }), ['metadata.name']],
    ['no name', pod({}, { name: '' }), ['metadata.name']],
    ['no namespace', pod({}, { namespace: '' }), ['metadata.namespace']],
    ['no containers', pod({ containers: [] }), ['spec.containers']],
    ['ephemeral containers', pod({ ephemeralContainers: [{ name: 'd' }] }), ['spec.ephemeralContainers']],
    ['scheduling gates', pod({ schedulingGates: [{ name: 'g' }] }), ['spec.schedulingGates']],
    ['a hostname that is no label', pod({ hostname: 'a.b' }), ['spec.hostname']],
    ['a subdomain that is no label', pod({ subdomain: 'a'.repeat(64) }), ['spec.subdomain']],
    ['two containers of one name', pod({ containers: [container(), container()] }), ['spec.containers[1].name']],
    ['an init container named like another', pod({ initContainers: [container()] }), ['spec.containers[0].name']],
    ['a container without an image', withContainer({ image: '' }), ['spec.containers[0].image']],
    [
      'two volumes of one name',
      pod({
        volumes: [
          { name: 'v', emptyDir: {} },
          { name: 'v', emptyDir: {} },
        ],
      }),
      ['spec.volumes[1].name'],
    ],
    ['a volume with two sources', withVolume({ emptyDir: {}, hostPath: { path: '/a' } }), ['spec.volumes[0]']],
    ['a path of the host with ..', withVolume({ hostPath: { path: '/a/../b' } }), ['spec.volumes[0].hostPath.path']],
    [
      'a mount of a volume that is not there',
      withContainer({ volumeMounts: [{ name: 'v', mountPath: '/v' }] }),
      ['spec.containers[0].volumeMounts[0].name'],
    ],
    ['a variable with a bad name', withContainer({ env: [{ name: 'A=B', value: '' }] }), ['spec.containers[0].env[0].name']],
    [
      'a variable with value and source',
      withContainer({ env: [{ name: 'A', value: 'a', valueFrom: {} }] }),
      ['spec.containers[0].env[0].valueFrom'],
    ],
    ['a host port twice', withContainer({ ports: [port(1, 80), port(2, 80)] }), ['spec.containers[0].ports[1].hostPort']],
    [
      'another host port on the host’s network',
      pod({ hostNetwork: true, containers: [container({ ports: [port(1, 80)] })] }),
      ['spec.containers[0].ports[0].hostPort'],
    ],
  ])('%s', (_, p, expected) => {
    expect(fields(p)).toEqual(expected);
  });

  it('two mounts at one path', () => {
    const volumeMounts = [
      { name: 'v', mountPath: '/a' },
      { name: 'v', mountPath: '/a', subPath: 's' },
    ];
    expect(fields(pod({ volumes: [{ name: 'v', emptyDir: {} }], containers: [container({ volumeMounts })] }))).toEqual([
      'spec.containers[0].volumeMounts[1].mountPath',
    ]);
  });

  it('a name that is too long with the node’s name and the numbers behind it', () => {
    const name = 'x'.repeat(160);
    expect(fields(pod({}, { name }), 'n'.repeat(76))).toEqual([]);
    expect(fields(pod({}, { name }), 'n'.repeat(77))).toEqual(['metadata.name']);
  });

  it('and takes a node’s name in capitals: it writes it small', () => {
    expect(fields(pod(), 'Master-1.Example')).toEqual([]);
  });
});
