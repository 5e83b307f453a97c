/**
 * Whether the kubelet is to run an API server that is none of our copies: kubeadm's static pod, say, on a node whose control plane went back to static pods.
 * What is retired has no place beside it.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { load } from 'js-yaml';
import { flagOf, runs, traitsOf } from '../checkpoint/copy/traits.ts';
import { MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { NOT_OF_THE_DISK } from '../checkpoint/store/read-files.ts';
import { isErrno } from '../platform/durable.ts';
import type { ReadFile } from '../platform/remembered.ts';
import { isOurs } from '../recovery/manifests.ts';

/** By the bytes of a file, which are the same ones for as long as it does not change. */
export type Understood = WeakMap<Buffer, boolean>;

/** The name of its file in the kubelet's directory. Throws where that cannot be read: that is not the same as an empty one. */
export async function findStaticApiServer(directory: string, read: ReadFile, understood: Understood): Promise<string | undefined> {
  for (const file of (await readdir(directory)).sort()) {
    // The kubelet ignores names that begin with a dot.
    if (file.startsWith('.') || isOurs(file)) continue;
    const bytes = await read(join(directory, file), MANIFEST_LIMIT).catch((error: unknown) => {
      // A bad block is the kubelet's as well: it runs nothing of that file, and one file must not make the whole disk unknown.
      if (isErrno(error, ...NOT_OF_THE_DISK)) throw error;
      return undefined;
    });
    if (bytes === undefined) continue;
    const runs = understood.get(bytes) ?? runsApiServer(bytes);
    understood.set(bytes, runs);
    if (runs) return file;
  }
  return undefined;
}

/** Of what the kubelet would refuse, too: it is whoever put it there that knows what the node is to run. */
function runsApiServer(bytes: Buffer): boolean {
  try {
    const pod = load(bytes.toString('utf8')) as Partial<V1Pod> | null | undefined;
    if (pod?.kind !== 'Pod' || !Array.isArray(pod.spec?.containers) || !traitsOf(pod as V1Pod).servesApi) return false;
    return [...(pod.spec.initContainers ?? []), ...pod.spec.containers].some(isOne);
  } catch {
    return false;
  }
}

/** By its image, or by a flag that it does not start without: who reads its logs, or ends it, names it as well. */
function isOne(container: V1Container): boolean {
  const { command: _command, args: _args, ...image } = container;
  return runs(image, 'apiserver') || (runs(container, 'apiserver') && flagOf(container, 'etcd-servers') !== undefined);
}
