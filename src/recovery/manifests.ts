/**
 * Our manifests in the kubelet's static pod directory. A manifest is written once and never rewritten in place: any change of it, even of an
 * annotation, is a new pod to the kubelet. Its temporary file begins with a dot, because the kubelet parses every other file, whatever its ending.
 *
 * Whose manifest a file is its name says: what stands in the file is what somebody may have changed, into another copy's or into no JSON at all. Only a
 * file whose name says nothing is taken for what its annotations say.
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { type ActiveCopy, manifestBytes, parseActiveManifest } from '../checkpoint/materialize.ts';
import { MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { copyBaseName, type Workload, workloadKey } from '../checkpoint/workload.ts';
import { isErrno, readRegular, removeDurable, replaceDurable } from '../platform/durable.ts';
import type { ReadFile } from '../platform/remembered.ts';

const PREFIX = 'pod-checkpointer.';

export interface ManifestFile {
  readonly file: string;
  readonly bytes: Buffer;
}

export interface FoundManifest extends ActiveCopy, ManifestFile {}

/** A namespace holds no dot, so the file name names exactly one pod. */
export function manifestFileName(pod: V1Pod): string {
  return `${PREFIX}${pod.metadata?.namespace}.${pod.metadata?.name}.json`;
}

/** By its name, whatever stands in it. */
export const isOurs = (file: string): boolean => file.startsWith(PREFIX);

/** The files that can be ours, whoever put them there. Throws when the directory cannot be read: that is not the same as an empty one. */
export async function readManifests(directory: string, read: ReadFile = readRegular): Promise<ManifestFile[]> {
  const found: ManifestFile[] = [];
  for (const file of (await readdir(directory)).sort()) {
    if (!file.startsWith(PREFIX)) continue;
    // Whatever else lies there under our prefix (a directory, a FIFO, a file that is too large) is not ours and must not stop us.
    const bytes = await read(join(directory, file), MANIFEST_LIMIT).catch((error: unknown) => {
      if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM', 'EIO')) throw error;
      return undefined;
    });
    if (bytes !== undefined) found.push({ file, bytes });
  }
  return found;
}

/** Those that are copies of ours. `workloads`: whose names are recognized; of others, and without any, the annotations count. */
export function identify(files: readonly ManifestFile[], workloads: Iterable<Workload>): FoundManifest[] {
  const byName = new Map([...workloads].map((workload) => [`${workload.namespace}.${copyBaseName(workload)}`, workloadKey(workload)]));
  return files.flatMap(({ file, bytes }) => {
    const [, name = '', generation, activation] = /^pod-checkpointer\.(.+)-g([1-9][0-9]{0,14})-a([1-9][0-9]{0,14})\.json$/.exec(file) ?? [];
    const workload = byName.get(name);
    const copy =
      workload === undefined ? parseActiveManifest(bytes) : { workload, generation: Number(generation), activation: Number(activation) };
    return copy === undefined ? [] : [{ ...copy, file, bytes }];
  });
}

/** The copies that lie in the directory. Throws as readManifests does. */
export async function listManifests(directory: string, workloads: Iterable<Workload> = []): Promise<FoundManifest[]> {
  return identify(await readManifests(directory), workloads);
}

export async function writeManifest(directory: string, pod: V1Pod): Promise<void> {
  await replaceDurable(join(directory, manifestFileName(pod)), manifestBytes(pod), { lane: 'urgent' });
}

export async function removeManifest(directory: string, file: string): Promise<void> {
  if (!file.startsWith(PREFIX) || file.includes('/')) throw new Error(`${file}: not a manifest of the checkpointer`);
  await removeDurable(join(directory, file), 'urgent');
}
