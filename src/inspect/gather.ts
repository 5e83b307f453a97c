/**
 * Reads everything that `inspect` speaks of, side by side and within deadlines. It works with any part missing: no store, no runtime, no API server. Nothing
 * is opened for writing, and neither lock file is opened at all: the leader lock and the kubelet's are looked up in /proc/locks by the inode that stat(2) gives.
 */
import { stat } from 'node:fs/promises';
import { readStore } from '../checkpoint/store/read.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { UNIT_NAMES } from '../host/units.ts';
import { readKubeletLock } from '../lock/kubelet.ts';
import { askControlPlane } from '../recovery/probe.ts';
import { readBootId } from '../sources/boot.ts';
import { createDiskSource, type DiskSnapshot } from '../sources/disk.ts';
import { createKubeletLockSource } from '../sources/kubelet-lock.ts';
import { readLeader, readStatus, type Status } from '../status.ts';
import type { Facts, LeaderFacts } from './facts.ts';
import { hostPathsOf } from './foresight/host-paths.ts';
import { imagesOf } from './foresight/images.ts';
import { findHostRoot, hostPathState } from './host-root.ts';
import { readKubelet } from './read-kubelet.ts';
import { readRuntime } from './read-runtime.ts';
import { type ReadStore, readGenerations } from './read-store.ts';
import { readUnit } from './read-units.ts';

export interface GatherOptions {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly lockFile: string;
  readonly kubeletLockFile?: string;
  readonly kubeconfig: string;
  /** Milliseconds; 0 does not ask. */
  readonly probeTimeout: number;
  readonly containerRuntimeEndpoint: string;
  /** Milliseconds. */
  readonly runtimeRequestTimeout: number;
  readonly kubeletConfig?: string;
  readonly hostRoot?: string;
  readonly bootIdFile: string;
  readonly self?: string;
}

/** As manifests/base names it. */
export const DEFAULT_SELF = 'kube-system/DaemonSet/pod-checkpointer';
const [BOOT_UNIT, HOST_UNIT] = UNIT_NAMES;

/** @param thoroughly workloads of which every generation is looked into. */
export async function gather(options: GatherOptions, thoroughly: (key: WorkloadKey) => boolean = () => false): Promise<Facts> {
  const { checkpointDir, podManifestPath, kubeconfig, probeTimeout } = options;
  const hostRoot = options.hostRoot ?? (await findHostRoot());
  const there = await isDirectory(checkpointDir);
  const reading = readDisk(options, there);
  const readingKubelet = readKubelet(hostRoot, options.kubeletConfig, podManifestPath);
  const deep = reading.then(({ disk }) => (there ? readGenerations(checkpointDir, disk, thoroughly) : NOTHING));
  const pods = deep.then(({ generations }) =>
    [...generations.values()].flatMap((one) => [...one.values()].flatMap(({ pod }) => pod ?? [])),
  );
  const images = pods.then((all) => [...new Set(all.flatMap(imagesOf))]);
  // Nobody may ask for them: a runtime that does not answer.
  void images.catch(() => undefined);
  const paths = pods.then((all) => [...new Set(all.flatMap(hostPathsOf))].filter((path) => !path.startsWith(`${checkpointDir}/`)));
  const [
    { disk, manifestDirectory },
    { generations, store },
    status,
    leader,
    kubeletLock,
    api,
    runtime,
    bootId,
    boot,
    host,
    kubelet,
    hostPaths,
  ] = await Promise.all([
    reading,
    deep,
    readStatus(checkpointDir).catch(() => undefined),
    readLeaderFacts(options),
    readingKubelet.then(({ lockFile }) => createKubeletLockSource(options.kubeletLockFile ?? lockFile).read()),
    askControlPlane(kubeconfig, probeTimeout),
    readRuntime(options.containerRuntimeEndpoint, options.runtimeRequestTimeout, images),
    readBootId(options.bootIdFile).catch(() => undefined),
    readUnit(hostRoot, BOOT_UNIT),
    readUnit(hostRoot, HOST_UNIT),
    readingKubelet,
    paths.then((all) => Promise.all(all.map(async (path) => [path, await hostPathState(hostRoot, path)] as const))),
  ]);
  return {
    at: Date.now(),
    bootId,
    places: { checkpointDir, podManifestPath },
    leader,
    kubeletLock,
    api,
    runtime,
    disk,
    manifestDirectory,
    store,
    status,
    units: { boot, host },
    kubelet,
    generations,
    hostPaths: new Map(hostPaths),
    self: (options.self ?? selfIn(status) ?? DEFAULT_SELF) as WorkloadKey,
  };
}

function selfIn(status: Status | undefined): string | undefined {
  return Object.entries(status?.workloads ?? {}).find(([, { self, reason }]) => self === true || reason === 'SelfActive')?.[0];
}

/** A manifest directory that is not there is no reason to say nothing of the store. */
async function readDisk(
  { checkpointDir, podManifestPath }: GatherOptions,
  there: boolean,
): Promise<{ disk: DiskSnapshot; manifestDirectory: Facts['manifestDirectory'] }> {
  const disk = there ? await createDiskSource(checkpointDir, podManifestPath).read() : EMPTY;
  if (disk.state === 'ok' || (await isDirectory(podManifestPath))) return { disk, manifestDirectory: 'there' };
  try {
    return { disk: { state: 'ok', store: await readStore(checkpointDir), manifests: [] }, manifestDirectory: 'missing' };
  } catch (error) {
    return { disk: { state: 'unknown', detail: error instanceof Error ? error.message : String(error) }, manifestDirectory: 'missing' };
  }
}

const NOTHING: ReadStore = { generations: new Map(), store: { state: 'missing' } };
const EMPTY: DiskSnapshot = { state: 'ok', store: { settledBootId: undefined, workloads: new Map(), retired: [] }, manifests: [] };

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}

/** The lock says whether somebody leads, leader.json who: the kernel names the process that called flock(2), which has ended. */
export async function readLeaderFacts({ lockFile, checkpointDir }: GatherOptions): Promise<LeaderFacts> {
  const [lock, recorded] = await Promise.all([readKubeletLock({ path: lockFile }), readLeader(checkpointDir).catch(() => undefined)]);
  switch (lock.state) {
    case 'held':
      return { state: 'leads', recorded };
    case 'free':
      return { state: 'nobody', recorded };
    case 'unknown':
      // The lock is read as the kubelet's is, and by words for that one.
      return { state: 'unknown', detail: lock.detail.replaceAll('a kubelet', 'a checkpointer'), recorded };
  }
}
