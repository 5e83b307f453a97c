/** Whether anything of bootkube's pod-checkpointer is on this node: asked at every look at the disk, so it costs a directory listing and no more. */
import { dirname, join } from 'node:path';
import { kindOf } from '../platform/durable.ts';

const DIRECTORIES = ['inactive-manifests', 'checkpoint-secrets', 'checkpoint-configmaps'];

/** @param files the names in the kubelet's static pod directory */
export async function hasTraces(podManifestPath: string, files: readonly string[]): Promise<boolean> {
  if (files.some(mayBeManifest)) return true;
  const base = dirname(podManifestPath);
  const kinds = await Promise.all(DIRECTORIES.map((name) => kindOf(join(base, name))));
  return kinds.includes('directory');
}

/** Its manifests are called `<namespace>-<pod>.json`. With a dot in front a file is a temporary one, and our own begin as no namespace can. */
export function mayBeManifest(file: string): boolean {
  return file.endsWith('.json') && !file.startsWith('.') && !file.startsWith('pod-checkpointer.');
}
