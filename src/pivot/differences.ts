/** What two DaemonSets, or a DaemonSet and one that would be made, disagree about: named so that a person finds it. Pure. */
import type { V1Container, V1DaemonSet, V1PodTemplateSpec } from '@kubernetes/client-node';
import { flagsOf } from './flags.ts';

export interface Difference {
  /** `--etcd-servers` of a container, or a field's path. */
  readonly what: string;
  /** Undefined: not there. */
  readonly wanted: string | undefined;
  readonly found: string | undefined;
}

/**
 * Of the pod templates. What the API server fills in of its own (defaults) is no difference: a field counts where `wanted` says something, and
 * lists of containers, volumes and flags as a whole.
 */
export function templateDifferences(wanted: V1DaemonSet, found: V1DaemonSet): Difference[] {
  const [one, other] = [templateOf(wanted), templateOf(found)];
  const names = new Set([...containers(one), ...containers(other)].map(({ name }) => name));
  const ofContainers = [...names].flatMap((name) => {
    const [a, b] = [one, other].map((template) => containers(template).find((container) => container.name === name));
    return containerDifferences(name, a, b);
  });
  const { containers: _, ...spec } = one.spec ?? { containers: [] };
  return [
    ...ofContainers,
    ...fieldDifferences('spec', spec, other.spec ?? {}),
    ...extraVolumes(one, other),
    ...fieldDifferences('metadata.annotations', one.metadata?.annotations ?? {}, other.metadata?.annotations ?? {}),
  ];
}

const templateOf = ({ spec }: V1DaemonSet): V1PodTemplateSpec => spec?.template ?? {};
const containers = ({ spec }: V1PodTemplateSpec): readonly V1Container[] => spec?.containers ?? [];

function containerDifferences(name: string, wanted: V1Container | undefined, found: V1Container | undefined): Difference[] {
  if (wanted === undefined || found === undefined)
    return [{ what: `spec.containers[${name}]`, wanted: wanted?.image, found: found?.image }];
  const [a, b] = [flagsOf(wanted), flagsOf(found)];
  const ofFlags = [...new Set([...a.keys(), ...b.keys()])]
    .filter((flag) => a.get(flag) !== b.get(flag))
    .map((flag) => ({ what: `--${flag} of container ${name}`, wanted: a.get(flag), found: b.get(flag) }));
  const { command: _, args: __, name: ___, ...rest } = wanted;
  return [...ofFlags, ...fieldDifferences(`spec.containers[${name}]`, rest, found)];
}

function extraVolumes(wanted: V1PodTemplateSpec, found: V1PodTemplateSpec): Difference[] {
  const names = new Set((wanted.spec?.volumes ?? []).map(({ name }) => name));
  return (found.spec?.volumes ?? [])
    .filter(({ name }) => !names.has(name))
    .map(({ name }) => ({ what: `spec.volumes[${name}]`, wanted: undefined, found: 'a volume' }));
}

/** Fields that `wanted` has, one level of objects at a time; lists of named things by their names, others as a whole. */
function fieldDifferences(path: string, wanted: object, found: object): Difference[] {
  return Object.entries(wanted).flatMap(([key, a]: [string, unknown]): Difference[] => {
    const b: unknown = (found as Record<string, unknown>)[key];
    const at = /^[A-Za-z]+$/.test(key) ? `${path}.${key}` : `${path}[${key}]`;
    if (a === undefined) return [];
    if (isNamedList(a) && isNamedList(b))
      return a.flatMap((one) => {
        const same = b.find(({ name, mountPath }) => name === one.name && mountPath === one.mountPath);
        return same === undefined
          ? [{ what: `${at}[${one.name}]`, wanted: show(one), found: undefined }]
          : fieldDifferences(`${at}[${one.name}]`, one, same);
      });
    if (isObject(a) && isObject(b)) return fieldDifferences(at, a, b);
    return show(a) === show(b) ? [] : [{ what: at, wanted: show(a), found: b === undefined ? undefined : show(b) }];
  });
}

interface Named {
  readonly name: string;
  readonly mountPath?: string;
}

function isNamedList(value: unknown): value is readonly Named[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((one: unknown) => isObject(one) && 'name' in one && typeof one.name === 'string')
  );
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Keys in order, so that the same says the same. An empty list is as none. */
function show(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) =>
    isObject(one) ? Object.fromEntries(Object.entries(one).sort(([a], [b]) => (a < b ? -1 : 1))) : one,
  );
}

export function describeDifference({ what, wanted, found }: Difference): string {
  return `${what}: ${wanted ?? 'none'} here, ${found ?? 'none'} there`;
}
