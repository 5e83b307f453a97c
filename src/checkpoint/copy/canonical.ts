/** One form for equal data: what a digest and a manifest are made from. */
import { createHash } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import type { CopyDirectory, CopyFile } from '../copy-types.ts';
import type { Digest, Traits } from '../model.ts';

/** The value as JSON knows it, with the keys of every object sorted and without what is undefined. */
export function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value instanceof Date) return value.toISOString();
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, member]) => [key, canonical(member)]));
}

/** SHA-256, in hex, over everything that a copy is: pod, files with their metadata, directories, and the traits that decide how it is used. */
export function digestOf(pod: V1Pod, files: readonly CopyFile[], directories: readonly CopyDirectory[], traits: Traits): Digest {
  const contents = files.map(({ bytes, ...metadata }) => ({ ...metadata, sha256: createHash('sha256').update(bytes).digest('hex') }));
  const form = JSON.stringify(canonical({ pod, files: contents, directories, traits }));
  return createHash('sha256').update(form).digest('hex') as Digest;
}
