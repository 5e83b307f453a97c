/**
 * The API server gives the volume that holds a pod's token another name in every pod: `kube-api-access-` and five random characters (its ServiceAccount
 * admission). In a copy it has one name, or every new pod of one spec would be another copy.
 */
import type { V1Container, V1Pod } from '@kubernetes/client-node';

const STABLE = 'kube-api-access';
const GENERATED = /^kube-api-access-[a-z0-9]{5}$/;

/** The pod with that volume, and the mounts of it, under the stable name; the pod itself where there is no such volume, or the name is taken. */
export function withStableVolumeNames(pod: V1Pod): V1Pod {
  const volumes = pod.spec?.volumes ?? [];
  const [found, ...others] = volumes.filter(({ name, projected }) => GENERATED.test(name) && projected !== undefined);
  if (pod.spec === undefined || found === undefined || others.length > 0 || volumes.some(({ name }) => name === STABLE)) return pod;
  const renamed = <T extends { name: string }>(named: T): T => (named.name === found.name ? { ...named, name: STABLE } : named);
  const mounting = (container: V1Container): V1Container =>
    container.volumeMounts === undefined ? container : { ...container, volumeMounts: container.volumeMounts.map(renamed) };
  const { containers, initContainers } = pod.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      volumes: volumes.map(renamed),
      containers: containers.map(mounting),
      ...(initContainers && { initContainers: initContainers.map(mounting) }),
    },
  };
}
