/** Brings a pod's sandbox and containers to what its spec says, once (SyncPod of pkg/kubelet/kuberuntime/kuberuntime_manager.go). */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Container } from '@kubernetes/client-node';
import { type Log, messageOf } from '../log.ts';
import { Backoff } from './backoff.ts';
import { containerConfig, podLogDirectory, sandboxConfig } from './container-config.ts';
import type { CriClient } from './cri-client.ts';
import type { EnvVar } from './environment.ts';
import { fullName, type Pod } from './pod.ts';
import { computePodActions, type FailedProbes } from './pod-actions.ts';
import type { StartFailure } from './pod-status.ts';
import { graceOf, type RuntimeManager } from './runtime-manager.ts';
import { latest, type RuntimePod } from './runtime-pods.ts';
import { makeOwnFiles, mountsOf } from './volumes.ts';

export interface RunOutcome {
  /** Something was stopped, made or started. */
  readonly acted: boolean;
  /** By container name, why it could not be started. */
  readonly failures: ReadonlyMap<string, StartFailure>;
  /** Milliseconds until the first back-off is over; undefined when none is running. */
  readonly retryAfter: number | undefined;
}

export interface PodRunnerOptions {
  readonly cri: CriClient;
  readonly runtime: RuntimeManager;
  readonly rootDir: string;
  readonly logsDir: string;
  /** Milliseconds. */
  readonly crashBackoff: { readonly base: number; readonly max: number };
  readonly environment: (pod: Pod, container: V1Container, podIP: string) => Promise<EnvVar[]>;
  readonly log: Log;
}

/** The kubelet's back-off for images, milliseconds. */
const IMAGE_BACKOFF = { base: 10_000, max: 300_000 };

export class PodRunner {
  readonly #options: PodRunnerOptions;
  readonly #crashes: Backoff;
  readonly #pulls = new Backoff(IMAGE_BACKOFF.base, IMAGE_BACKOFF.max);
  readonly #pullFailedAt = new Map<string, number>();

  constructor(options: PodRunnerOptions) {
    this.#options = options;
    this.#crashes = new Backoff(options.crashBackoff.base, options.crashBackoff.max);
  }

  /** @throws when the runtime fails; a container that cannot be started is a failure in the outcome. */
  async run(pod: Pod, runtimePod: RuntimePod, failedProbes: FailedProbes, signal: AbortSignal): Promise<RunOutcome> {
    const { cri, runtime, log, logsDir } = this.#options;
    const actions = computePodActions(pod, runtimePod, failedProbes);
    if (actions.killPod) await runtime.killPod(runtimePod, graceOf(pod));
    for (const { container, why } of actions.stop) {
      log(`pod ${fullName(pod)}: ${why}`);
      await runtime.stopContainer(container, graceOf(pod));
    }
    let sandboxId = actions.sandboxId;
    const attempt = actions.createSandbox ?? runtimePod.sandboxes[0]?.attempt ?? 0;
    const config = sandboxConfig(pod, attempt, logsDir);
    if (actions.createSandbox !== undefined) {
      sandboxId = await cri.runSandbox(config);
      log(`pod ${fullName(pod)}: sandbox ${sandboxId.slice(0, 12)} attempt ${attempt} created`);
    }
    const failures = new Map<string, StartFailure>();
    const retries: number[] = [];
    let acted = actions.createSandbox !== undefined || actions.stop.length > 0;
    for (const container of sandboxId === undefined ? [] : actions.start) {
      signal.throwIfAborted();
      const waits = this.#crashBackoff(pod, container, runtimePod);
      if (waits !== undefined) {
        failures.set(container.name, waits.failure);
        retries.push(waits.remaining);
        continue;
      }
      const failure = await this.#start(pod, container, runtimePod, sandboxId ?? '', config);
      if (failure === undefined) acted = true;
      else failures.set(container.name, failure);
    }
    return { acted, failures, retryAfter: retries.length === 0 ? undefined : Math.min(...retries) };
  }

  /** From the end of the last run: the first restart is immediate, then base, doubling. */
  #crashBackoff(pod: Pod, container: V1Container, runtimePod: RuntimePod): { failure: StartFailure; remaining: number } | undefined {
    const last = runtimePod.containers.find((status) => status.name === container.name && status.state === 'exited');
    if (last === undefined) return undefined;
    const key = `${pod.metadata.uid}/${container.name}/${container.image}`;
    const now = Date.now();
    const remaining = this.#crashes.remaining(key, last.finishedAt, now);
    if (remaining > 0) {
      const message = `back-off ${this.#crashes.delay(key) / 1000}s restarting failed container=${container.name} pod=${fullName(pod)}(${pod.metadata.uid})`;
      return { failure: { reason: 'CrashLoopBackOff', message }, remaining };
    }
    this.#crashes.next(key, last.finishedAt, now);
    return undefined;
  }

  async #start(
    pod: Pod,
    container: V1Container,
    runtimePod: RuntimePod,
    sandboxId: string,
    config: ReturnType<typeof sandboxConfig>,
  ): Promise<StartFailure | undefined> {
    const { cri, rootDir, environment, log } = this.#options;
    const fail = (reason: string, error: unknown): StartFailure => {
      log(`pod ${fullName(pod)}: container ${container.name}: ${reason}: ${messageOf(error)}`);
      return { reason, message: messageOf(error) };
    };
    const missing = await this.#ensureImage(container);
    if (missing !== undefined) return fail(missing.reason, missing.message);
    const attempt = await this.#attempt(pod, container, runtimePod);
    let id: string;
    try {
      const podIP = pod.spec.hostNetwork === true ? '' : ((await cri.sandboxStatus(sandboxId))?.network?.ip ?? '');
      const env = await environment(pod, container, podIP);
      await makeOwnFiles(rootDir, pod, container);
      const made = containerConfig(pod, container, attempt, env, mountsOf(rootDir, pod, container));
      id = await cri.createContainer(sandboxId, made, config);
    } catch (error) {
      return fail('CreateContainerConfigError', error);
    }
    try {
      await cri.startContainer(id);
    } catch (error) {
      return fail('RunContainerError', error);
    }
    log(`pod ${fullName(pod)}: container ${container.name} ${id.slice(0, 12)} attempt ${attempt} started`);
    return undefined;
  }

  /** One more than the last attempt; where the runtime forgot it, than the last log. */
  async #attempt(pod: Pod, container: V1Container, runtimePod: RuntimePod): Promise<number> {
    const last = latest(runtimePod, container.name);
    if (last !== undefined) return last.attempt + 1;
    const logs = await readdir(join(podLogDirectory(this.#options.logsDir, pod.metadata), container.name)).catch(() => []);
    return Math.max(-1, ...logs.map((name) => Number.parseInt(name, 10)).filter((number) => !Number.isNaN(number))) + 1;
  }

  async #ensureImage(container: V1Container): Promise<StartFailure | undefined> {
    const { cri } = this.#options;
    const reference = container.image ?? '';
    const policy = container.imagePullPolicy ?? 'IfNotPresent';
    if (policy !== 'Always' && (await cri.hasImage(reference))) return undefined;
    if (policy === 'Never')
      return { reason: 'ErrImageNeverPull', message: `Container image "${reference}" is not present with pull policy of Never` };
    const failedAt = this.#pullFailedAt.get(reference);
    const now = Date.now();
    if (failedAt !== undefined && this.#pulls.remaining(reference, failedAt, now) > 0)
      return { reason: 'ImagePullBackOff', message: `Back-off pulling image "${reference}"` };
    try {
      await cri.pullImage(reference);
      this.#pullFailedAt.delete(reference);
      return undefined;
    } catch (error) {
      this.#pulls.next(reference, now, now);
      this.#pullFailedAt.set(reference, now);
      return { reason: 'ErrImagePull', message: messageOf(error) };
    }
  }
}
