/** What lies on the node's disk: the store, our manifests in the kubelet's directory, and what bootkube's pod-checkpointer left. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { activated } from '../checkpoint/materialize.ts';
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { MANIFEST_LIMIT, MAX_NUMBER } from '../checkpoint/store/format.ts';
import { generationPath, workloadPath, workloadsPath } from '../checkpoint/store/paths.ts';
import { type IndexCache, readStore, type StoreSnapshot } from '../checkpoint/store/read.ts';
import type { Workload, WorkloadKey } from '../checkpoint/workload.ts';
import { kindOf, readRegular } from '../platform/durable.ts';
import { createRememberingReader } from '../platform/remembered.ts';
import type { CopyCache, PredecessorSnapshot } from '../predecessor/read.ts';
import { hasTraces } from '../predecessor/traces.ts';
import { editsOfFile } from '../recovery/edits.ts';
import { type FoundManifest, identify, readManifests } from '../recovery/manifests.ts';
import { damageOfActive, type Verified } from './active-generations.ts';
import { findStaticApiServer, type Understood } from './static-api-server.ts';

export type DiskSnapshot =
  | {
      readonly state: 'ok';
      readonly store: StoreSnapshot;
      readonly manifests: readonly DiskManifest[];
      /** What bootkube's pod-checkpointer left; absent on a node where nothing of it is. */
      readonly predecessor?: PredecessorSnapshot;
      /** File of a static pod of somebody else's that runs an API server; only looked for where it matters, see recovery/retired.ts. */
      readonly staticApiServer?: string;
    }
  | { readonly state: 'unknown'; readonly detail: string };

export interface DiskManifest extends Omit<FoundManifest, 'bytes'> {
  /** Fields that somebody changed; empty, too, where the generation is not there to compare with. */
  readonly edits: readonly string[];
}

export interface DiskSource {
  read(): Promise<DiskSnapshot>;
  /** A generation did not verify: from the next look on it counts as damaged, wherever it lies, until it is gone or this process ends. */
  markDamaged(workload: Workload, generation: GenerationNumber, detail: string): void;
}

export function createDiskSource(checkpointDir: string, podManifestPath: string): DiskSource {
  const cache: IndexCache = new Map();
  const compared: Compared = new Map();
  const verified: Verified = new Map();
  const remembering = createRememberingReader();
  const { read, forgetUnread } = remembering;
  const damage = new Map<string, string>();
  const copies: CopyCache = new Map();
  const understood: Understood = new WeakMap();
  let wasThere = false;

  /** A store that was there and is not, is on a file system that was unmounted: it is not empty. */
  async function expectStillThere(): Promise<void> {
    const there = (await kindOf(workloadsPath(checkpointDir))) !== 'absent';
    if (wasThere && !there)
      throw new Error(`${checkpointDir}: the store that was here is gone: expected its directory, see whether its file system is mounted`);
    wasThere = there;
  }

  async function look(): Promise<DiskSnapshot> {
    await expectStillThere();
    await forgetGone(damage);
    forgetUnread();
    const [store, files] = await Promise.all([
      readStore(checkpointDir, cache, Date.now(), damage, remembering),
      readManifests(podManifestPath, read),
    ]);
    const workloads = [...store.workloads.values()].map(({ workload }) => workload);
    const manifests = identify(files, workloads);
    const found = await damageOfActive(checkpointDir, store, manifests, cache, verified);
    for (const [directory, detail] of found) damage.set(directory, detail);
    if (found.size > 0) return look();
    const predecessor = await lookForPredecessor(store);
    const staticApiServer = store.retired.some(({ stored }) => servesApi(stored))
      ? await findStaticApiServer(podManifestPath, read, understood)
      : undefined;
    return {
      state: 'ok',
      store: counted(store, manifests),
      manifests: await withEdits(checkpointDir, store, manifests, compared),
      ...(predecessor && { predecessor }),
      ...(staticApiServer !== undefined && { staticApiServer }),
    };
  }

  /** A copy of what it keeps is only made of what the store has nothing proven of. */
  async function lookForPredecessor(store: StoreSnapshot): Promise<PredecessorSnapshot | undefined> {
    if (!(await hasTraces(podManifestPath, await readdir(podManifestPath)))) return undefined;
    const { readPredecessor } = await import('../predecessor/read.ts');
    const wanted = (key: WorkloadKey) => store.workloads.get(key)?.stored.proven === undefined;
    const found = await readPredecessor({ podManifestPath, read, copies, wanted });
    const nothing = found.state === 'ok' && found.checkpoints.length === 0 && found.empty.length === 0 && found.unread !== true;
    return nothing ? undefined : found;
  }

  return {
    async read() {
      try {
        return await look();
      } catch (error) {
        return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
      }
    },
    markDamaged(workload, generation, detail) {
      damage.set(generationPath(workloadPath(checkpointDir, workload), generation), detail);
    },
  };
}

const servesApi = ({ generations }: StoredWorkload): boolean => [...generations.values()].some(({ traits }) => traits.servesApi);

/** In quarantine, deleted, or retired and verified anew when it comes back. */
async function forgetGone(damage: Map<string, string>): Promise<void> {
  for (const directory of damage.keys()) if ((await kindOf(directory).catch(() => 'other')) === 'absent') damage.delete(directory);
}

/** An activation whose count did not reach the disk still has its number: the next one must be above it. */
function counted(store: StoreSnapshot, manifests: readonly FoundManifest[]): StoreSnapshot {
  const highest = (key: WorkloadKey) =>
    Math.max(0, ...manifests.filter((one) => one.workload === key && one.activation <= MAX_NUMBER).map(({ activation }) => activation));
  const workloads = [...store.workloads].map(([key, { workload, stored }]) => {
    const activations = Math.max(stored.activations, highest(key));
    return [key, { workload, stored: activations === stored.activations ? stored : { ...stored, activations } }] as const;
  });
  return { ...store, workloads: new Map(workloads) };
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
