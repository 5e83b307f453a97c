/**
 * The kubelet of the embedded node: the sync loop of pkg/kubelet/kubelet.go in one process.
 *
 *  1. Static pods are started as soon as they are read. Pods of the API server are known only after the node's own object and then the list of
 *     its pods were read; until then nothing at all is killed, neither a pod whose manifest is gone nor what runs from before.
 *  2. A pod is admitted once, when it is added; one that is rejected stays Failed.
 *  3. A pod is synced when its source changes it, when the runtime shows a change (relist), when a probe's result changes, and now and then.
 *  4. Housekeeping, once the sources are ready: ends what no source knows, deletes orphaned mirrors, removes what dead pods left.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../controllers/client.ts';
import { type Log, messageOf } from '../log.ts';
import { admit } from './admission.ts';
import { mergeSource, type Source } from './config.ts';
import { podLogDirectory } from './container-config.ts';
import { type CriClient, connectCri } from './cri-client.ts';
import { environmentOf, type Service, type ServiceObject, serviceOf, serviceVariables } from './environment.ts';
import { containersToRemove, sandboxesToRemove } from './gc.ts';
import { type ManifestSource, watchManifests } from './manifests.ts';
import { keepNode } from './node-status.ts';
import { deletePod, objectReader } from './objects.ts';
import { fullName, isMirror, isStatic, isTerminalPhase, type Pod } from './pod.ts';
import { PodRunner } from './pod-runner.ts';
import { PodWorkers, type UpdateType } from './pod-workers.ts';
import { Prober, type ProbeTarget } from './prober.ts';
import { type Listed, type Retry, reflect } from './reflector.ts';
import { type RuntimeManager, runtimeManager } from './runtime-manager.ts';
import { changedPods, latest, type Relist, type RuntimePod } from './runtime-pods.ts';
import { StatusManager } from './status-manager.ts';
import { podSyncer } from './syncer.ts';

/** Milliseconds. */
export interface KubeletTiming {
  readonly fileCheck: number;
  readonly relist: number;
  readonly housekeeping: number;
  readonly gc: number;
  readonly retry: number;
  readonly resync: number;
  readonly statusSync: number;
  readonly crashBackoff: { readonly base: number; readonly max: number };
  readonly apiRetry: Retry;
  /** How often it is asked whether the node's object was read, before the pods are. */
  readonly nodeSync: number;
}

export interface KubeletOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly nodeIP: string;
  readonly bootId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly manifestDir: string;
  readonly rootDir: string;
  readonly logsDir: string;
  readonly runtimeEndpoint: string;
  /** The feature gate: the runtime's events cause a relist at once. */
  readonly eventedPleg: boolean;
  readonly timing: KubeletTiming;
  readonly log: Log;
}

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #cri: CriClient;
  readonly #runtime: RuntimeManager;
  readonly #workers: PodWorkers;
  readonly #statuses: StatusManager;
  readonly #prober: Prober;
  readonly #stop = new AbortController();
  readonly #sources = new Map<Source, ReadonlyMap<string, Pod>>();
  /** Pods and mirrors of both sources by uid. */
  readonly #pods = new Map<string, Pod>();
  readonly #mirrors = new Map<string, Pod>();
  readonly #observed = new Map<string, RuntimePod>();
  #manifests: ManifestSource | undefined;
  #relisted: Relist = { pods: new Map() };
  #relisting: 'idle' | 'running' | 'again' = 'idle';
  #node: { readonly name: string; readonly uid: string } | undefined;
  #nodeRead = false;
  #services: readonly Service[] | undefined;

  constructor(options: KubeletOptions) {
    const { client, timing, log, rootDir, logsDir } = options;
    this.#options = options;
    this.#cri = connectCri(options.runtimeEndpoint);
    this.#runtime = runtimeManager(this.#cri);
    this.#statuses = new StatusManager(client, timing.statusSync, log);
    this.#prober = new Prober(
      (uid, container) => this.#probeTarget(uid, container),
      (uid) => this.#due(uid),
      log,
    );
    const objects = objectReader(client);
    const runner = new PodRunner({
      cri: this.#cri,
      runtime: this.#runtime,
      rootDir,
      logsDir,
      crashBackoff: timing.crashBackoff,
      environment: (pod, container, podIP) => {
        if (!isStatic(pod) && this.#services === undefined)
          throw new Error('services have not yet been read at least once, cannot construct envvars');
        const facts = { hostIP: options.nodeIP, podIP: podIP === '' ? options.nodeIP : podIP };
        return environmentOf(pod, container, facts, serviceVariables(pod, this.#services ?? []), objects);
      },
      log,
    });
    const syncer = podSyncer({
      client,
      runtime: this.#runtime,
      runner,
      prober: this.#prober,
      statuses: this.#statuses,
      objects,
      rootDir,
      hostIP: options.nodeIP,
      retry: timing.retry,
      node: () => this.#node,
      relist: () => void this.#relist(),
      observed: (runtime) => this.#observed.set(runtime.uid, runtime),
      log,
    });
    this.#workers = new PodWorkers(syncer, timing, (uid) => this.#due(uid), log);
  }

  /** @throws when the runtime does not answer. */
  async start(): Promise<void> {
    const { client, nodeName, nodeIP, bootId, labels, manifestDir, timing, log } = this.#options;
    const { signal } = this.#stop;
    log(`container runtime: ${await this.#cri.version()}`);
    this.#relisted = await this.#runtime.relist();
    this.#manifests = watchManifests({
      directory: manifestDir,
      nodeName,
      period: timing.fileCheck,
      log,
      deliver: (pods) => this.#deliver('file', pods),
    });
    keepNode(client, { name: nodeName, ip: nodeIP, bootId, labels }, log, signal);
    const watch = <T extends Listed>(path: string, query: Record<string, string>, deliver: (items: readonly T[]) => void) =>
      void reflect<T>({ client, path, query, deliver, retry: timing.apiRetry, signal, log });
    watch<Listed>('/api/v1/nodes', { fieldSelector: `metadata.name=${nodeName}` }, ([node]) => {
      this.#node = node?.metadata.uid === undefined ? undefined : { name: nodeName, uid: node.metadata.uid };
      this.#nodeRead = true;
    });
    watch<ServiceObject>('/api/v1/services', {}, (services) => {
      this.#services = services.map(serviceOf);
    });
    const waitForNode = setInterval(() => {
      if (!this.#nodeRead) return;
      clearInterval(waitForNode);
      watch<Pod>('/api/v1/pods', { fieldSelector: `spec.nodeName=${nodeName}` }, (pods) => this.#deliver('api', pods));
    }, timing.nodeSync);
    every(timing.relist, () => this.#relist());
    every(timing.housekeeping, () => this.#housekeeping());
    every(timing.gc, () => this.#collectGarbage());
    if (this.#options.eventedPleg) this.#followEvents();
    log('started');
  }

  #sourcesReady(): boolean {
    return this.#sources.size === 2;
  }

  #deliver(source: Source, pods: readonly Pod[]): void {
    const before = this.#sources.get(source);
    const { after, changes } = mergeSource(source, before ?? new Map(), pods, new Date().toISOString());
    this.#sources.set(source, after);
    if (before === undefined) this.#options.log(`source ${source} read: ${after.size} pods`);
    for (const pod of [...changes.adds].sort(byCreation)) this.#add(pod);
    for (const pod of changes.updates) this.#update(pod);
    for (const pod of changes.reconciles) this.#remember(pod);
    for (const pod of changes.removes) this.#remove(pod);
  }

  #remember(pod: Pod): void {
    (isMirror(pod) ? this.#mirrors : this.#pods).set(pod.metadata.uid, pod);
  }

  #add(pod: Pod): void {
    this.#remember(pod);
    if (isMirror(pod)) {
      this.#syncStaticOf(pod);
      return;
    }
    const { uid } = pod.metadata;
    if (!this.#workers.isTerminationRequested(uid) && !isTerminalPhase(pod.status?.phase)) {
      const rejection = admit(pod, this.#activePods());
      if (rejection !== undefined) {
        this.#options.log(`pod ${fullName(pod)} (${uid}) rejected: ${rejection.reason}`);
        this.#statuses.set(pod, { phase: 'Failed', reason: rejection.reason, message: rejection.message });
        return;
      }
    }
    this.#sendUpdate('create', pod);
  }

  #update(pod: Pod): void {
    this.#remember(pod);
    if (isMirror(pod)) this.#syncStaticOf(pod);
    else this.#sendUpdate('update', pod);
  }

  #remove(pod: Pod): void {
    this.#pods.delete(pod.metadata.uid);
    this.#mirrors.delete(pod.metadata.uid);
    if (isMirror(pod)) this.#syncStaticOf(pod);
    else if (this.#sourcesReady()) this.#sendUpdate('kill', pod);
    else this.#options.log(`pod ${fullName(pod)} was removed; it goes on running, the sources are not ready`);
  }

  /** A change of a mirror is looked at with its static pod. */
  #syncStaticOf(mirror: Pod): void {
    const pod = [...this.#pods.values()].find((candidate) => isStatic(candidate) && fullName(candidate) === fullName(mirror));
    if (pod !== undefined && !this.#isRejected(pod)) this.#sendUpdate('update', pod);
  }

  #sendUpdate(type: UpdateType, pod: Pod): void {
    const mirror = [...this.#mirrors.values()].find((candidate) => fullName(candidate) === fullName(pod));
    this.#workers.update({ type, pod, mirror });
  }

  #due(uid: string): void {
    const pod = this.#pods.get(uid);
    if (pod !== undefined && !this.#isRejected(pod)) this.#sendUpdate('sync', pod);
  }

  #isRejected(pod: Pod): boolean {
    return (
      pod.metadata.deletionTimestamp === undefined &&
      !this.#workers.knows(pod.metadata.uid) &&
      isTerminalPhase(this.#statuses.get(pod.metadata.uid)?.phase)
    );
  }

  /** Pods that the kubelet means to run: wanted by a source, not terminated, not in a terminal phase unless they are still being ended. */
  #activePods(): Pod[] {
    return [...this.#pods.values()].filter((pod) => {
      const { uid } = pod.metadata;
      if (this.#workers.isKnownTerminated(uid)) return false;
      const terminal = isTerminalPhase(pod.status?.phase) || isTerminalPhase(this.#statuses.get(uid)?.phase);
      return !terminal || this.#workers.isTerminationRequested(uid);
    });
  }

  #probeTarget(uid: string, container: string): ProbeTarget | undefined {
    const runtime = this.#observed.get(uid);
    const status = runtime === undefined ? undefined : latest(runtime, container);
    if (status === undefined) return undefined;
    return { containerId: status.id, running: status.state === 'running', startedAt: status.startedAt, ip: this.#options.nodeIP };
  }

  /** One relist at a time; one that is asked for meanwhile comes after it, to see what was done meanwhile. */
  async #relist(): Promise<void> {
    if (this.#relisting !== 'idle') {
      this.#relisting = 'again';
      return;
    }
    this.#relisting = 'running';
    try {
      const now = await this.#runtime.relist();
      const changed = changedPods(this.#relisted, now);
      this.#relisted = now;
      for (const uid of changed) this.#due(uid);
      for (const uid of changed) await this.#removeOlderContainers(uid);
    } catch (error) {
      this.#options.log(`relist: ${messageOf(error)}`);
    }
    const again = this.#relisting === ('again' as string);
    this.#relisting = 'idle';
    if (again) await this.#relist();
  }

  #followEvents(): void {
    const events = this.#cri.events();
    events.on('data', () => void this.#relist());
    events.on('error', () => setTimeout(() => this.#followEvents(), 1000));
  }

  async #housekeeping(): Promise<void> {
    if (!this.#sourcesReady()) return;
    try {
      const wanted = new Set(this.#pods.keys());
      this.#workers.retain(wanted);
      this.#statuses.retain(new Set([...wanted, ...[...this.#relisted.pods.keys()].filter((uid) => this.#workers.knows(uid))]));
      for (const pod of this.#activePods()) if (!this.#workers.knows(pod.metadata.uid)) this.#sendUpdate('create', pod);
      const running = (await this.#runtime.relist()).pods;
      for (const pod of running.values()) {
        if (pod.running && !this.#pods.has(pod.uid) && !this.#workers.knows(pod.uid)) this.#workers.killOrphan(pod);
      }
      for (const mirror of this.#mirrors.values()) {
        const orphaned = ![...this.#pods.values()].some((pod) => isStatic(pod) && fullName(pod) === fullName(mirror));
        if (!orphaned || this.#workers.isTerminating(fullName(mirror))) continue;
        await deletePod(this.#options.client, mirror.metadata.namespace, mirror.metadata.name, undefined);
        this.#options.log(`mirror pod ${fullName(mirror)} deleted: its static pod is gone`);
      }
      for (const uid of await readdir(join(this.#options.rootDir, 'pods')).catch(() => [])) {
        if (!this.#isGone(uid) || running.get(uid)?.running === true) continue;
        await rm(join(this.#options.rootDir, 'pods', uid), { recursive: true, force: true });
      }
    } catch (error) {
      this.#options.log(`housekeeping: ${messageOf(error)}`);
    }
  }

  #isGone(uid: string): boolean {
    return !this.#pods.has(uid) && !this.#workers.knows(uid);
  }

  /** A container that was replaced leaves the one before the last behind. */
  async #removeOlderContainers(uid: string): Promise<void> {
    const pod = this.#relisted.pods.get(uid);
    if (pod === undefined || pod.containers.length < 2) return;
    for (const { id } of containersToRemove((await this.#runtime.pod(pod)).containers, false)) await this.#cri.removeContainer(id);
  }

  async #collectGarbage(): Promise<void> {
    try {
      for (const { uid, name, namespace } of (await this.#runtime.relist()).pods.values()) {
        const runtime = await this.#runtime.pod({ uid, name, namespace });
        const gone = this.#sourcesReady() && (this.#isGone(uid) || this.#workers.isKnownTerminated(uid));
        const dead = containersToRemove(runtime.containers, gone);
        for (const { id } of dead) await this.#cri.removeContainer(id);
        const left = runtime.containers.filter((container) => !dead.includes(container));
        for (const { id } of sandboxesToRemove(runtime.sandboxes, left, gone)) {
          await this.#cri.stopSandbox(id);
          await this.#cri.removeSandbox(id);
        }
        if (!gone || left.length > 0 || runtime.sandboxes.some(({ ready }) => ready)) continue;
        this.#observed.delete(uid);
        await rm(podLogDirectory(this.#options.logsDir, { uid, name, namespace }), { recursive: true, force: true });
      }
    } catch (error) {
      this.#options.log(`garbage collection: ${messageOf(error)}`);
    }
  }

  /** Ends the kubelet; its pods go on. */
  stop(): void {
    this.#stop.abort();
    this.#manifests?.stop();
    this.#statuses.stop();
    this.#cri.close();
  }
}

/** Static pods have no creation time: they come first. */
function byCreation(a: Pod, b: Pod): number {
  return (a.metadata.creationTimestamp ?? '').localeCompare(b.metadata.creationTimestamp ?? '');
}

/** The pause comes after each run, so that a slow one is not overtaken by the next. */
function every(period: number, step: () => Promise<void>): void {
  setTimeout(() => void step().finally(() => every(period, step)), period);
}
