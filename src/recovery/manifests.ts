/**
 * Our manifests in the kubelet's static pod directory. A manifest is written once and never rewritten in place: any change of it, even of an
 * annotation, is a new pod to the kubelet. Its temporary file begins with a dot, because the kubelet parses every other file, whatever its ending.
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { type ActiveCopy, manifestBytes, parseActiveManifest } from '../checkpoint/materialize.ts';
import { MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { isErrno, readRegular, removeDurable, replaceDurable } from '../platform/durable.ts';

const PREFIX = 'pod-checkpointer.';

export interface FoundManifest extends ActiveCopy {
  readonly file: string;
  readonly bytes: Buffer;
}

/** A namespace holds no dot, so the file name names exactly one pod. */
export function manifestFileName(pod: V1Pod): string {
  return `${PREFIX}${pod.metadata?.namespace}.${pod.metadata?.name}.json`;
}

/** The copies that lie in the directory, whoever put them there. Throws when the directory cannot be read: that is not the same as an empty one. */
export async function listManifests(directory: string): Promise<FoundManifest[]> {
  const found: FoundManifest[] = [];
  for (const file of (await readdir(directory)).sort()) {
    if (!file.startsWith(PREFIX)) continue;
    // Whatever else lies there under our prefix (a directory, a FIFO, a file that is too large) is not ours and must not stop us.
    const bytes = await readRegular(join(directory, file), MANIFEST_LIMIT).catch((error: unknown) => {
      if (isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM', 'EIO')) throw error;
      return undefined;
    });
    const copy = bytes === undefined ? undefined : parseActiveManifest(bytes);
    if (bytes !== undefined && copy !== undefined) found.push({ ...copy, file, bytes });
  }
  return found;
}

export async function writeManifest(directory: string, pod: V1Pod): Promise<void> {
  await replaceDurable(join(directory, manifestFileName(pod)), manifestBytes(pod));
}

export async function removeManifest(directory: string, file: string): Promise<void> {
  if (!file.startsWith(PREFIX) || file.includes('/')) throw new Error(`${file}: not a manifest of the checkpointer`);
  await removeDurable(join(directory, file));
}
