/**
 * PreventStaticPodAPIReferences, on by default since Kubernetes 1.34: a static pod that names an object of the API server is refused
 * (pkg/api/pod HasAPIObjectReference, asked by pkg/kubelet/config for every manifest).
 */
import type { V1Container, V1PodSpec, V1Volume } from '@kubernetes/client-node';

/** Volumes that need nothing from the API server. cephfs, rbd, flexVolume … do so only with a secretRef. */
const LOCAL_VOLUMES = [
  'awsElasticBlockStore',
  'azureDisk',
  'cephfs',
  'cinder',
  'downwardAPI',
  'emptyDir',
  'fc',
  'flexVolume',
  'flocker',
  'gcePersistentDisk',
  'gitRepo',
  'hostPath',
  'image',
  'iscsi',
  'nfs',
  'photonPersistentDisk',
  'portworxVolume',
  'quobyte',
  'rbd',
  'scaleIO',
  'storageos',
  'vsphereVolume',
] as const;

const API_VOLUMES: readonly (readonly [keyof V1Volume, string])[] = [
  ['configMap', 'configmaps (via configmap volumes)'],
  ['secret', 'secrets (via secret volumes)'],
  ['csi', 'csidrivers (via CSI volumes)'],
  ['glusterfs', 'endpoints (via glusterFS volumes)'],
  ['persistentVolumeClaim', 'persistentvolumeclaims'],
  ['ephemeral', 'persistentvolumeclaims (via ephemeral volumes)'],
  ['azureFile', 'secrets (via azureFile volumes)'],
];

const API_PROJECTIONS = [
  ['configMap', 'configmaps (via projected volumes)'],
  ['secret', 'secrets (via projected volumes)'],
  ['serviceAccountToken', 'serviceaccounts (via projected volumes)'],
  ['clusterTrustBundle', 'clustertrustbundles'],
  ['podCertificate', 'podcertificates'],
] as const;

/** The kind of API object that the pod names first, undefined when it names none. @throws for a volume type that there is not. */
export function apiReferenceOf(spec: V1PodSpec): string | undefined {
  if ((spec.serviceAccountName ?? '') !== '') return 'serviceaccounts';
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  if ((spec.imagePullSecrets ?? []).some(({ name }) => (name ?? '') !== '')) return 'secrets';
  if (containers.some((container) => environmentNames(container, 'secretRef', 'secretKeyRef'))) return 'secrets';
  const volumes = spec.volumes ?? [];
  if (volumes.some((volume) => hasSecretRef(volume) || volume.projected?.sources?.some(({ secret }) => secret !== undefined)))
    return 'secrets';
  if (volumes.some((volume) => volume.secret !== undefined || volume.azureFile !== undefined)) return 'secrets';
  if (containers.some((container) => environmentNames(container, 'configMapRef', 'configMapKeyRef'))) return 'configmaps';
  if (
    volumes.some((volume) => volume.configMap !== undefined || volume.projected?.sources?.some(({ configMap }) => configMap !== undefined))
  )
    return 'configmaps';
  if ((spec.resourceClaims ?? []).length > 0) return 'resourceclaims';
  for (const volume of volumes) {
    const reference = volumeReference(volume);
    if (reference !== undefined) return reference;
  }
  return undefined;
}

function volumeReference(volume: V1Volume): string | undefined {
  const api = API_VOLUMES.find(([type]) => volume[type] !== undefined);
  if (api !== undefined) return api[1];
  if (volume.projected !== undefined) {
    for (const source of volume.projected.sources ?? []) {
      const projection = API_PROJECTIONS.find(([type]) => type in source);
      if (projection !== undefined) return projection[1];
      if (source.downwardAPI === undefined) throw new Error(`unknown source for projected volume "${volume.name}"`);
    }
    return undefined;
  }
  if (!LOCAL_VOLUMES.some((type) => volume[type] !== undefined)) throw new Error(`unknown volume type for volume "${volume.name}"`);
  return undefined;
}

function hasSecretRef(volume: V1Volume): boolean {
  return [volume.cephfs, volume.cinder, volume.flexVolume, volume.iscsi, volume.rbd, volume.scaleIO, volume.storageos].some(
    (source) => source?.secretRef !== undefined,
  );
}

function environmentNames(container: V1Container, from: 'secretRef' | 'configMapRef', key: 'secretKeyRef' | 'configMapKeyRef'): boolean {
  return (
    (container.envFrom ?? []).some((source) => source[from] !== undefined) ||
    (container.env ?? []).some(({ valueFrom }) => valueFrom?.[key] !== undefined)
  );
}
