/** One form for equal data: what a digest and a manifest are made from. */
import { createHash } from 'node:crypto';
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import type { CopyDirectory, CopyFile, Instance } from '../copy-types.ts';
import type { Digest, Traits } from '../model.ts';
import type { OfOnePod } from './rendering.ts';

/** The value as JSON knows it, with the keys of every object sorted and without what is undefined. */
export function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, canonical(member)]));
}

/**
 * SHA-256, in hex, over everything that a copy is: pod, files with their metadata, directories, and the traits that decide how it is used. Of what belongs to
 * one pod only that it is there.
 */
export function digestOf(
  pod: V1Pod,
  files: readonly CopyFile[],
  directories: readonly CopyDirectory[],
  traits: Traits,
  { files: own, directories: ownDirectories, variables, spec }: Omit<OfOnePod, 'tokens'>,
): Digest {
  const contents = files.map(({ bytes, ...metadata }) => ({ ...metadata, sha256: own.has(metadata.path) ? '' : sha256(bytes) }));
  const shared = directories.filter(({ path }) => !ownDirectories.has(path));
  return digest({ pod: withoutValues(pod, variables, spec), files: contents, directories: shared, traits });
}

/** Undefined where nothing of the copy belongs to one pod. */
export function instanceOf(
  pod: V1Pod,
  files: readonly CopyFile[],
  { files: own, variables, spec, tokens }: OfOnePod,
): Instance | undefined {
  if (own.size === 0 && variables.size === 0 && spec.size === 0) return undefined;
  const contents = files.filter(({ path }) => own.has(path)).map(({ path, bytes }) => ({ path, sha256: sha256(bytes) }));
  const values = containersOf(pod).map(({ env = [] }) => env.filter((variable) => variables.has(variable)));
  const hostname = spec.has('hostname') ? pod.spec?.hostname : undefined;
  return { digest: digest({ contents, values, hostname }), tokens: tokens.toSorted((a, b) => (a.path < b.path ? -1 : 1)) };
}

function containersOf(pod: V1Pod): V1Container[] {
  return [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];
}

function withoutValues(pod: V1Pod, variables: ReadonlySet<object>, spec: OfOnePod['spec']): V1Pod {
  if (pod.spec === undefined || (variables.size === 0 && spec.size === 0)) return pod;
  const emptied = (container: V1Container): V1Container =>
    container.env === undefined
      ? container
      : { ...container, env: container.env.map((variable) => (variables.has(variable) ? { name: variable.name } : variable)) };
  const { containers, initContainers } = pod.spec;
  return {
    ...pod,
    spec: {
      ...pod.spec,
      ...(spec.has('hostname') && { hostname: '' }),
      containers: containers.map(emptied),
      ...(initContainers && { initContainers: initContainers.map(emptied) }),
    },
  };
}

function digest(value: unknown): Digest {
  return sha256(JSON.stringify(canonical(value))) as Digest;
}

function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}
