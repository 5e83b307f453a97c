/** Secrets, ConfigMaps and claims that a pod names: what the Node authorizer lets the pod's node read. */
import type { V1Container, V1EphemeralContainer, V1Volume } from '@kubernetes/client-node';
import type { Pod } from './objects.ts';

export interface References {
  readonly secrets: ReadonlySet<string>;
  readonly configmaps: ReadonlySet<string>;
  readonly persistentvolumeclaims: ReadonlySet<string>;
}

type Visit = (kind: keyof References, name: string | undefined) => void;

export function referencesOf(pod: Pod): References {
  const found = { secrets: new Set<string>(), configmaps: new Set<string>(), persistentvolumeclaims: new Set<string>() };
  const visit: Visit = (kind, name) => {
    if (name !== undefined && name !== '') found[kind].add(name);
  };
  for (const secret of pod.spec.imagePullSecrets ?? []) visit('secrets', secret.name);
  for (const volume of pod.spec.volumes ?? []) visitVolume(volume, pod.metadata.name, visit);
  const containers = [...(pod.spec.initContainers ?? []), ...(pod.spec.containers ?? []), ...(pod.spec.ephemeralContainers ?? [])];
  for (const container of containers) visitEnvironment(container, visit);
  return found;
}

function visitEnvironment(container: V1Container | V1EphemeralContainer, visit: Visit): void {
  for (const { valueFrom } of container.env ?? []) {
    visit('secrets', valueFrom?.secretKeyRef?.name);
    visit('configmaps', valueFrom?.configMapKeyRef?.name);
  }
  for (const source of container.envFrom ?? []) {
    visit('secrets', source.secretRef?.name);
    visit('configmaps', source.configMapRef?.name);
  }
}

function visitVolume(volume: V1Volume, podName: string, visit: Visit): void {
  visit('secrets', volume.secret?.secretName);
  visit('configmaps', volume.configMap?.name);
  visit('persistentvolumeclaims', volume.persistentVolumeClaim?.claimName);
  if (volume.ephemeral !== undefined) visit('persistentvolumeclaims', `${podName}-${volume.name}`);
  visit('secrets', volume.csi?.nodePublishSecretRef?.name);
  visit('secrets', volume.cephfs?.secretRef?.name);
  visit('secrets', volume.rbd?.secretRef?.name);
  visit('secrets', volume.iscsi?.secretRef?.name);
  visit('secrets', volume.scaleIO?.secretRef.name);
  visit('secrets', volume.storageos?.secretRef?.name);
  visit('secrets', volume.flexVolume?.secretRef?.name);
  visit('secrets', volume.azureFile?.secretName);
  for (const source of volume.projected?.sources ?? []) {
    visit('secrets', source.secret?.name);
    visit('configmaps', source.configMap?.name);
  }
}
