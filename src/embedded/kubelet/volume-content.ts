/** What a Secret, ConfigMap, downwardAPI or projected volume contains: names, bytes, modes (pkg/volume/{secret,configmap,downwardapi,projected}). */
import type { V1DownwardAPIVolumeFile, V1KeyToPath, V1Volume } from '@kubernetes/client-node';
import { fieldValue, type ObjectReader, type PodFacts } from './environment.ts';
import type { Pod } from './pod.ts';

export interface VolumeFile {
  /** Relative to the volume. */
  readonly path: string;
  readonly bytes: Buffer;
  readonly mode: number;
}

/**
 * The files of a volume that the kubelet renders; undefined for other volumes.
 * @throws when an object or key that is not optional is missing, or cannot be read now: the pod waits with all its containers, without a sandbox.
 */
export async function volumeContent(pod: Pod, volume: V1Volume, facts: PodFacts, objects: ObjectReader): Promise<VolumeFile[] | undefined> {
  const { namespace } = pod.metadata;
  if (volume.secret !== undefined) {
    const { secretName = '', items, optional, defaultMode } = volume.secret;
    return select('secret', secretName, await objects.secret(namespace, secretName), items, optional === true, defaultMode ?? 0o644);
  }
  if (volume.configMap !== undefined) {
    const { name = '', items, optional, defaultMode } = volume.configMap;
    return select('configmap', name, await objects.configMap(namespace, name), items, optional === true, defaultMode ?? 0o644);
  }
  if (volume.downwardAPI !== undefined) {
    return downward(pod, volume.downwardAPI.items ?? [], facts, volume.downwardAPI.defaultMode ?? 0o644);
  }
  if (volume.projected === undefined) return undefined;
  const mode = volume.projected.defaultMode ?? 0o644;
  const files = new Map<string, VolumeFile>();
  for (const source of volume.projected.sources ?? []) {
    if (source.clusterTrustBundle !== undefined) throw new Error(`volume ${volume.name}: the embedded kubelet renders no trust bundles`);
    const { secret, configMap, downwardAPI, serviceAccountToken } = source;
    if (serviceAccountToken !== undefined) {
      const { path, audience, expirationSeconds } = serviceAccountToken;
      const token = await objects.token(pod, { audience, expirationSeconds: expirationSeconds ?? 3600 });
      // Readable for the container's user alone, or for its fsGroup.
      files.set(path, { path, bytes: Buffer.from(token), mode: 0o600 });
      continue;
    }
    const part =
      secret !== undefined
        ? select(
            'secret',
            secret.name ?? '',
            await objects.secret(namespace, secret.name ?? ''),
            secret.items,
            secret.optional === true,
            mode,
          )
        : configMap !== undefined
          ? select(
              'configmap',
              configMap.name ?? '',
              await objects.configMap(namespace, configMap.name ?? ''),
              configMap.items,
              configMap.optional === true,
              mode,
            )
          : downward(pod, downwardAPI?.items ?? [], facts, mode);
    for (const file of part) files.set(file.path, file);
  }
  return [...files.values()];
}

function select(
  kind: string,
  name: string,
  data: ReadonlyMap<string, Buffer> | undefined,
  items: readonly V1KeyToPath[] | undefined,
  optional: boolean,
  defaultMode: number,
): VolumeFile[] {
  if (data === undefined) {
    if (optional) return [];
    throw new Error(`${kind} "${name}" not found`);
  }
  if (items === undefined || items.length === 0) return [...data].map(([path, bytes]) => ({ path, bytes, mode: defaultMode }));
  return items.flatMap(({ key, path, mode }) => {
    const bytes = data.get(key);
    if (bytes !== undefined) return [{ path, bytes, mode: mode ?? defaultMode }];
    if (optional) return [];
    throw new Error(`references non-existent ${kind} key: ${key}`);
  });
}

function downward(pod: Pod, items: readonly V1DownwardAPIVolumeFile[], facts: PodFacts, defaultMode: number): VolumeFile[] {
  return items.map(({ path, fieldRef, mode }) => {
    if (fieldRef === undefined) throw new Error(`downwardAPI file ${path}: the embedded kubelet knows no resourceFieldRef`);
    return { path, bytes: Buffer.from(fieldValue(pod, fieldRef, facts)), mode: mode ?? defaultMode };
  });
}
