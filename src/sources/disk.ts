/** What lies on the node's disk: the store, and our manifests in the kubelet's directory. */
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { activated } from '../checkpoint/materialize.ts';
import { MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { generationPath, workloadPath } from '../checkpoint/store/paths.ts';
import { type IndexCache, readStore, type StoreSnapshot } from '../checkpoint/store/read.ts';
import { readRegular } from '../platform/durable.ts';
import { editsOfFile } from '../recovery/edits.ts';
import { type FoundManifest, identify, readManifests } from '../recovery/manifests.ts';

export type DiskSnapshot =
  | { readonly state: 'ok'; readonly store: StoreSnapshot; readonly manifests: readonly DiskManifest[] }
  | { readonly state: 'unknown'; readonly detail: string };

export interface DiskManifest extends Omit<FoundManifest, 'bytes'> {
  /** Fields that somebody changed; empty, too, where the generation is not there to compare with. */
  readonly edits: readonly string[];
}

export interface DiskSource {
  read(): Promise<DiskSnapshot>;
}

export function createDiskSource(checkpointDir: string, podManifestPath: string): DiskSource {
  const cache: IndexCache = new Map();
  const compared: Compared = new Map();
  return {
    async read() {
      try {
        const [store, files] = await Promise.all([readStore(checkpointDir, cache), readManifests(podManifestPath)]);
        const workloads = [...store.workloads.values()].map(({ workload }) => workload);
        const manifests = identify(files, workloads);
        return { state: 'ok', store, manifests: await withEdits(checkpointDir, store, manifests, compared) };
      } catch (error) {
        return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
      }
    },
  };
}

/** By file: a manifest is compared again only when its bytes are others. */
type Compared = Map<string, { readonly bytes: Buffer; readonly edits: readonly string[] }>;

async function withEdits(
  root: string,
  store: StoreSnapshot,
  manifests: readonly FoundManifest[],
  compared: Compared,
): Promise<DiskManifest[]> {
  const known = new Map(compared);
  compared.clear();
  const results: DiskManifest[] = [];
  for (const { bytes, ...manifest } of manifests) {
    const before = known.get(manifest.file);
    const edits = before?.bytes.equals(bytes) === true ? before.edits : await compare(root, store, { ...manifest, bytes });
    compared.set(manifest.file, { bytes, edits });
    results.push({ ...manifest, edits });
  }
  return results;
}

/** Only with a generation that the store vouches for; whether its pod.json is whole is verified when it is activated. */
async function compare(
  root: string,
  store: StoreSnapshot,
  { workload: key, generation, activation, bytes }: FoundManifest,
): Promise<string[]> {
  const found = store.workloads.get(key);
  if (found?.stored.generations.has(generation) !== true) return [];
  try {
    const stored = await readRegular(join(generationPath(workloadPath(root, found.workload), generation), 'pod.json'), MANIFEST_LIMIT);
    return stored === undefined ? [] : editsOfFile(bytes, activated(JSON.parse(stored.toString()) as V1Pod, activation));
  } catch {
    return [];
  }
}
