/** The parts of a control plane that are pivoted, and their static pods as files. etcd is not among them: it is never touched. */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { load } from 'js-yaml';

/** In the order in which they are handed over: the API server first, as the others' new pods are only judged through it. */
export const COMPONENTS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
export type Component = (typeof COMPONENTS)[number];

export const NAMESPACE = 'kube-system';

/** Why a static pod cannot become a DaemonSet, or a DaemonSet a static pod. */
export interface Refusal {
  readonly component: Component;
  /** The flag, or the field's path: `--advertise-address`, `spec.hostNetwork`. */
  readonly what: string;
  /** What was found and expected, and what to do. */
  readonly message: string;
}

export class ManifestError extends Error {
  override readonly name = 'ManifestError';
}

/** A static pod from the file's text. Throws ManifestError for anything but one pod with containers. */
export function parseStaticPod(text: string, file: string): V1Pod {
  let value: unknown;
  try {
    value = load(text);
  } catch (error) {
    throw new ManifestError(`${file} is not YAML: ${error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)}`);
  }
  if (!isPod(value)) throw new ManifestError(`${file} is not a pod: expected apiVersion v1, kind Pod, a name and containers`);
  return value;
}

function isPod(value: unknown): value is V1Pod {
  const pod = fields(value);
  const containers = fields(pod['spec'])['containers'];
  return (
    pod['apiVersion'] === 'v1' &&
    pod['kind'] === 'Pod' &&
    typeof fields(pod['metadata'])['name'] === 'string' &&
    Array.isArray(containers) &&
    containers.length > 0 &&
    containers.every((container) => typeof fields(container)['name'] === 'string' && typeof fields(container)['image'] === 'string')
  );
}

export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

/** Which of a pod's containers runs the component; sidecars run beside it. */
export function isMainContainer(component: Component, { name, command = [], args = [], image }: V1Container): boolean {
  if (name === component) return true;
  const programs = [...command, ...args].filter((word) => !word.startsWith('-')).map((word) => word.slice(word.lastIndexOf('/') + 1));
  if (programs.includes(component)) return true;
  const repository = (image ?? '').split('@')[0]?.split('/').at(-1)?.split(':')[0];
  return repository === component;
}

export function mainContainer(component: Component, containers: readonly V1Container[]): V1Container | undefined {
  return containers.find((container) => isMainContainer(component, container));
}

/** `1.36` of an image's tag `v1.36.2`; undefined where the tag is no version (a digest, a private build). */
export function minorOf(image: string): { readonly major: number; readonly minor: number } | undefined {
  const tag = /:v?([0-9]+)\.([0-9]+)(\.[0-9]+)?([-+_][0-9A-Za-z.+_-]*)?(@sha256:[0-9a-f]+)?$/.exec(image);
  return tag === null ? undefined : { major: Number(tag[1]), minor: Number(tag[2]) };
}
