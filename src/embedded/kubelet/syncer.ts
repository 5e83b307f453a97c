/** The steps of a pod's life, for the pod workers: SyncPod, SyncTerminatingPod and SyncTerminatedPod of pkg/kubelet/kubelet.go. */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiClient } from '../controllers/client.ts';
import { type Log, messageOf } from '../log.ts';
import type { ObjectReader } from './environment.ts';
import { reconcileMirror } from './mirror.ts';
import { fullName, isStatic, isTerminalPhase, type Pod, type PodStatus } from './pod.ts';
import type { PodRunner } from './pod-runner.ts';
import { podStatusOf, type StartFailure } from './pod-status.ts';
import type { Orphan, PodSyncer, SyncResult, Update } from './pod-workers.ts';
import type { Prober } from './prober.ts';
import type { RuntimeManager } from './runtime-manager.ts';
import type { RuntimePod } from './runtime-pods.ts';
import type { StatusManager } from './status-manager.ts';
import { volumeContent } from './volume-content.ts';
import { podDirectory, setUpVolume } from './volumes.ts';

/** How long a step waits for its volumes (podAttachAndMountTimeout), and its pauses between attempts. */
const VOLUMES_TIMEOUT_MS = 123_000;
const VOLUMES_FIRST_PAUSE_MS = 500;
const VOLUMES_MAX_PAUSE_MS = 10_000;

export interface SyncerOptions {
  readonly client: ApiClient;
  readonly runtime: RuntimeManager;
  readonly runner: PodRunner;
  readonly prober: Prober;
  readonly statuses: StatusManager;
  readonly objects: ObjectReader;
  readonly rootDir: string;
  readonly hostIP: string;
  /** Milliseconds until a container that could not be started, for another reason than back-off, is tried again. */
  readonly retry: number;
  readonly node: () => { readonly name: string; readonly uid: string } | undefined;
  /** The runtime was changed: look at it now. */
  readonly relist: () => void;
  /** What the runtime has of a pod, as just read. */
  readonly observed: (runtime: RuntimePod) => void;
  readonly log: Log;
}

export function podSyncer(options: SyncerOptions): PodSyncer {
  const { client, runtime, runner, prober, statuses, objects, rootDir, hostIP, node, relist, observed, log } = options;
  const failures = new Map<string, ReadonlyMap<string, StartFailure>>();

  const look = async (pod: Pod, ended: boolean): Promise<{ runtimePod: RuntimePod; status: PodStatus }> => {
    const runtimePod = await runtime.pod(pod.metadata);
    observed(runtimePod);
    const { uid } = pod.metadata;
    const previous = statuses.get(uid) ?? pod.status;
    const known = failures.get(uid) ?? new Map<string, StartFailure>();
    const status = podStatusOf({ pod, runtime: runtimePod, previous, probes: prober, failures: known, hostIP, ended, now: Date.now() });
    return { runtimePod, status };
  };

  /** Reads the objects anew each time, so that a changed Secret reaches the volume at the next sync. */
  const setUpVolumes = async (pod: Pod) => {
    const facts = { hostIP, podIP: hostIP };
    for (const volume of pod.spec.volumes ?? []) await setUpVolume(rootDir, pod, volume, await volumeContent(pod, volume, facts, objects));
  };

  /** Volumes come first: without them there is not even a sandbox. */
  const waitForVolumes = async (pod: Pod, signal: AbortSignal) => {
    const deadline = Date.now() + VOLUMES_TIMEOUT_MS;
    let reported = '';
    for (let pause = VOLUMES_FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, VOLUMES_MAX_PAUSE_MS)) {
      try {
        return await setUpVolumes(pod);
      } catch (error) {
        const message = `pod ${fullName(pod)}: unable to mount volumes: ${messageOf(error)}`;
        if (Date.now() + pause > deadline) throw new Error(message, { cause: error });
        if (message !== reported) log(message);
        reported = message;
        await sleep(pause, undefined, { signal });
      }
    }
  };

  const sync = async ({ pod, mirror }: Update, signal: AbortSignal): Promise<SyncResult> => {
    const { runtimePod, status } = await look(pod, false);
    statuses.set(pod, status);
    if (isTerminalPhase(status.phase)) return { terminal: true, retryAfter: undefined };
    if (isStatic(pod)) await reconcileMirror(client, node(), pod, mirror, log).catch((error: unknown) => noteMirror(pod, error));
    await waitForVolumes(pod, signal);
    signal.throwIfAborted();
    prober.addPod(pod);
    prober.trigger(pod.metadata.uid);
    const outcome = await runner.run(pod, runtimePod, prober.failed(pod.metadata.uid), signal);
    failures.set(pod.metadata.uid, outcome.failures);
    if (outcome.acted) relist();
    if (outcome.failures.size > 0) statuses.set(pod, (await look(pod, false)).status);
    const retry = outcome.failures.size > 0 ? (outcome.retryAfter ?? options.retry) : undefined;
    return { terminal: false, retryAfter: retry };
  };

  const mirrorErrors = new Map<string, string>();
  const noteMirror = (pod: Pod, error: unknown) => {
    if (mirrorErrors.get(pod.metadata.uid) === messageOf(error)) return;
    mirrorErrors.set(pod.metadata.uid, messageOf(error));
    log(`mirror pod ${fullName(pod)}: ${messageOf(error)}`);
  };

  const terminate = async (pod: Pod, graceSeconds: number, signal: AbortSignal) => {
    const { runtimePod, status } = await look(pod, false);
    statuses.set(pod, status);
    prober.removePod(pod.metadata.uid, ['liveness', 'startup']);
    if (runtimePod.containers.some(({ state }) => state === 'running'))
      log(`pod ${fullName(pod)}: stopping its containers, grace ${graceSeconds}s`);
    await Promise.race([runtime.killPod(runtimePod, graceSeconds), aborted(signal)]);
    prober.removePod(pod.metadata.uid);
    const after = await look(pod, true);
    const running = after.runtimePod.containers.filter(({ state }) => state === 'running');
    if (running.length > 0) throw new Error(`containers run after they were stopped: ${running.map(({ name }) => name).join(', ')}`);
    failures.delete(pod.metadata.uid);
    statuses.set(pod, (await look(pod, true)).status);
    relist();
  };

  return {
    sync,
    terminate,
    terminateOrphan: async (orphan: Orphan) => {
      await runtime.killPod(await runtime.pod(orphan), 1);
      relist();
    },
    finish: async (pod) => {
      statuses.set(pod, (await look(pod, true)).status);
      await rm(podDirectory(rootDir, pod.metadata.uid), { recursive: true, force: true });
      statuses.finish(pod);
      failures.delete(pod.metadata.uid);
      mirrorErrors.delete(pod.metadata.uid);
      log(`pod ${fullName(pod)} has terminated`);
    },
  };
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}
