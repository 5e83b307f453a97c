/**
 * Init containers that a pod wants left out of its copy: what they do is done once, and a boot need not wait for it. A kubelet that starts without an API
 * server takes a second and more for each of them.
 */
import type { V1Pod, V1Volume } from '@kubernetes/client-node';
import { OMIT_INIT_CONTAINERS } from '../annotations.ts';

export interface Omitted {
  readonly pod: V1Pod;
  /** Names of the init containers that were there and are not in `pod`. */
  readonly names: readonly string[];
}

/** Volumes that only they mount go with them. A sidecar runs for as long as its pod: it stays, whatever the annotation says. */
export function withoutOmitted(pod: V1Pod): Omitted {
  const wanted = (pod.metadata?.annotations?.[OMIT_INIT_CONTAINERS] ?? '').split(',').map((name) => name.trim());
  const init = pod.spec?.initContainers ?? [];
  const omitted = init.filter(({ name, restartPolicy }) => wanted.includes(name) && restartPolicy !== 'Always');
  if (pod.spec === undefined || omitted.length === 0) return { pod, names: [] };
  const { initContainers, volumes, ...spec } = pod.spec;
  const kept = init.filter((container) => !omitted.includes(container));
  const mounted = (containers: typeof init) =>
    new Set(containers.flatMap(({ volumeMounts }) => volumeMounts?.map(({ name }) => name) ?? []));
  const [theirs, others] = [mounted(omitted), mounted([...kept, ...spec.containers])];
  const stays = ({ name }: V1Volume): boolean => !theirs.has(name) || others.has(name);
  return {
    pod: {
      ...pod,
      spec: {
        ...spec,
        ...(kept.length > 0 && { initContainers: kept }),
        ...(volumes && { volumes: volumes.filter(stays) }),
      },
    },
    names: omitted.map(({ name }) => name),
  };
}
