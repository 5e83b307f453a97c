/** What lies on the node's disk: the store, and our manifests in the kubelet's directory. */
import { type IndexCache, readStore, type StoreSnapshot } from '../checkpoint/store/read.ts';
import { type FoundManifest, listManifests } from '../recovery/manifests.ts';

export type DiskSnapshot =
  | { readonly state: 'ok'; readonly store: StoreSnapshot; readonly manifests: readonly FoundManifest[] }
  | { readonly state: 'unknown'; readonly detail: string };

export interface DiskSource {
  read(): Promise<DiskSnapshot>;
}

export function createDiskSource(checkpointDir: string, podManifestPath: string): DiskSource {
  const cache: IndexCache = new Map();
  return {
    async read() {
      try {
        const [store, manifests] = await Promise.all([readStore(checkpointDir, cache), listManifests(podManifestPath)]);
        return { state: 'ok', store, manifests };
      } catch (error) {
        return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
      }
    },
  };
}
