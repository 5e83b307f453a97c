/** What the process that leads does: connects the sources, `decide` and the actions, and looks until it is told to end. */
import type { Logger } from 'pino';
import type { Effects } from './act.ts';
import type { CopyPolicy, Token } from './checkpoint/copy-types.ts';
import type { Digest, Observation } from './checkpoint/model.ts';
import { KUBERNETES_SERVICE, objectReferences } from './checkpoint/references.ts';
import { loadGeneration } from './checkpoint/store/load.ts';
import { readStore } from './checkpoint/store/read.ts';
import { readStoredTokens } from './checkpoint/store/tokens.ts';
import { prepareStore } from './checkpoint/store/write.ts';
import type { WorkloadKey } from './checkpoint/workload.ts';
import { parseKubernetesService } from './commands/options.ts';
import type { RunOptions } from './commands/run.ts';
import { createCopier } from './copier.ts';
import { createWake, runDaemon } from './daemon.ts';
import { leaderMark } from './lock/holder.ts';
import { withTransaction } from './lock/transaction.ts';
import type { Metrics } from './platform/metrics.ts';
import { createInspector, inspectArguments, ownProgram } from './report/ask-inspect.ts';
import { createCourier } from './report/courier.ts';
import { countedClient, countedRuntime, countOutcome } from './report/metrics.ts';
import { createReporter, type Reported } from './report/reporter.ts';
import { type Kubeconfig, loadKubeconfig } from './sources/api/kubeconfig.ts';
import { createOwnersSource } from './sources/api/owners.ts';
import { ownersKubeconfig } from './sources/api/owners-identity.ts';
import { createReadiness } from './sources/api/readiness.ts';
import { createReloadingClient } from './sources/api/reloading-client.ts';
import { createApiSource } from './sources/api/source.ts';
import { createAskedSources } from './sources/asked.ts';
import { readBootId } from './sources/boot.ts';
import { createRuntimeSource } from './sources/cri/source.ts';
import { createDiskSource, type DiskSnapshot } from './sources/disk.ts';
import { createKubeletLockSource } from './sources/kubelet-lock.ts';
import { watchMount } from './sources/manifest-mount.ts';
import { observe } from './sources/observe.ts';
import { readOwnPod } from './sources/own-pod.ts';
import type { RuntimeSnapshot, RuntimeSource } from './sources/snapshots.ts';
import { identityDirectories, watchFiles } from './sources/watch-files.ts';
import { writeLeader } from './status.ts';
import { VERSION } from './version.ts';

/** A runtime that does not answer must not hold up saving: after this long it counts as unknown, and its answer wakes the loop when it comes. */
const RUNTIME_PATIENCE = 1_000;
/**
 * Events wake the loop before that; what none tells of (the kubelet's lock, a store that somebody changed, an event that was lost) is seen this late. No rule
 * waits for it: each says when time alone changes something. Without events the runtime is looked at more often. Neither costs an API request.
 */
const QUIET = { withEvents: 30_000, withoutEvents: 3_000 };
const FLUX = 200;
/**
 * While something is going on the runtime is looked at many times a second. The disk is read again that much later only, unless something was done or told: to
 * read it is a good part of what a look costs, at a time when an API server starts beside it.
 */
const DISK_AGAIN = 250;

export type CheckedOptions = RunOptions & { readonly nodeName: string };

export interface Lead {
  readonly options: CheckedOptions;
  readonly kubeconfig: Kubeconfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called at each turn of the loop. */
  readonly onReport: (reported: Reported) => void;
  /** Leaderships given up before, for a new version that is still not proven. */
  readonly steppedDown: Observation['steppedDown'];
  /** Gives up this one. */
  readonly stepDown: (digest: Digest) => void;
  readonly signal: AbortSignal;
}

export async function lead({ options, kubeconfig, log, metrics, onReport, steppedDown, stepDown, signal }: Lead): Promise<void> {
  const { checkpointDir, podManifestPath } = options;
  const clock = () => performance.now();
  const bootId = await readBootId(options.bootIdFile);
  await prepareStore(checkpointDir);
  const wake = createWake();
  const following = createReloadingClient(kubeconfig, () => loadKubeconfig(kubeconfig.file), log);
  const client = countedClient(following, metrics, log);
  const over = new AbortController();
  const ready = createReadiness(client, AbortSignal.any([signal, over.signal]));
  const api = createApiSource({
    client,
    ready: ready.wait,
    nodeName: options.nodeName,
    // Where the operator does not say how copies reach the API server, the cluster does.
    references: (pod) => (options.kubernetesService === undefined ? [...objectReferences(pod), KUBERNETES_SERVICE] : objectReferences(pod)),
    tokens: await storedTokens(checkpointDir, log),
    onChange: wake.wake,
    log,
  });
  const runtime = countedRuntime(
    createRuntimeSource({
      endpoint: options.containerRuntimeEndpoint,
      requestTimeoutMs: options.runtimeRequestTimeout,
      onEvent: wake.wake,
      log,
    }),
    metrics,
  );
  const touched = (): void => {
    void following.refresh();
    wake.wake();
  };
  const watching = watchFiles([podManifestPath, ...identityDirectories(kubeconfig)], touched, log);
  const lost = new AbortController();
  const mounted = watchMount(podManifestPath, (reason) => lost.abort(new Error(`${reason}: ending, to be started with the new one`)));
  const kubelet = createKubeletLockSource(options.kubeletLockFile);
  const disk = createDiskSource(checkpointDir, podManifestPath);
  const copier = createCopier(copyPolicy(options));
  const self = options.self as WorkloadKey | undefined;
  // The leader lock is held here: a change that a former leader left half way is nobody's any more.
  const leader = await leaderMark(options.lockFile);
  const effects: Effects = {
    checkpointDir,
    podManifestPath,
    api,
    runtime,
    stopGraceSeconds: Math.ceil(options.stopGracePeriod / 1000),
    wallClock: Date.now,
    stepDown,
    transaction: (change, options) => withTransaction(checkpointDir, change, { ...options, bootId, leader }),
    onDamage: disk.markDamaged,
  };
  // systemd gives every service of its own an INVOCATION_ID; containers do not get that of their runtime.
  const onHost = self === undefined || process.env['INVOCATION_ID'] !== undefined;
  const identity = await ownersIdentity(options, kubeconfig, log);
  const readIdentity = async () => (await ownersIdentity(options, await loadKubeconfig(kubeconfig.file), log)) ?? identity ?? kubeconfig;
  const owners = createOwnersSource({
    client: identity && countedClient(createReloadingClient(identity, readIdentity, log), metrics, log),
    nodeClient: client,
    ready: ready.wait,
    nodeName: options.nodeName,
    onChange: wake.wake,
    log,
  });
  const asked = createAskedSources({
    load: async (workload, generation) => (await loadGeneration(checkpointDir, workload, generation)).pod,
    runtime,
    owners,
    runsIn: await readOwnPod(onHost, options.mountinfoFile),
    steppedDown,
    onChange: wake.wake,
  });
  // For people only: neither a full disk nor one that takes its time must keep the node down.
  const said = writeLeader(checkpointDir, {
    pid: process.pid,
    where: onHost ? 'host' : `a pod of ${self}`,
    since: new Date().toISOString(),
    bootId,
    version: VERSION,
  }).catch((error: unknown) =>
    log.warn({ error: error instanceof Error ? error.message : String(error) }, 'leader.json could not be written'),
  );
  const sayUnreadable = createUnreadableLog(log);
  let lastRead: { readonly at: number; readonly snapshot: DiskSnapshot } | undefined;
  const inspector = createInspector({
    command: [...ownProgram(), ...inspectArguments(options)],
    onAnswer: wake.wake,
    log,
    signal: AbortSignal.any([signal, lost.signal, over.signal]),
    clock,
  });
  try {
    await runDaemon({
      effects,
      reporter: createReporter({
        checkpointDir,
        log,
        wallClock: Date.now,
        nodeName: options.nodeName,
        courier: createCourier({ client, nodeName: options.nodeName, log, signal, clock, wallClock: Date.now }),
        outlook: inspector.outlook,
        onReport,
      }),
      onOutcome: (outcome) => countOutcome(metrics, outcome),
      policy: options,
      clock,
      observe: async (questions, cause) => {
        const recent = cause === 'time' && lastRead !== undefined && clock() - lastRead.at < DISK_AGAIN ? lastRead.snapshot : undefined;
        const at = clock();
        const [listed, read, lock] = await Promise.all([
          listWithin(runtime, RUNTIME_PATIENCE, wake.wake),
          recent ?? disk.read(),
          kubelet.read(),
        ]);
        if (recent === undefined) lastRead = { at, snapshot: read };
        if (read.state === 'ok') sayUnreadable(read.store.unreadable ?? new Map());
        const snapshot = api.snapshot();
        const answers = asked.snapshot();
        const seen = { now: clock(), bootId, api: snapshot, runtime: listed, disk: read, kubelet: lock, self, asked: answers };
        const observation = observe(seen, copier);
        asked.ask(
          questions,
          [...observation.workloads.values()].map(({ workload }) => workload),
          snapshot,
        );
        return observation;
      },
      wake,
      pace: { quiet: () => (runtime.sendsEvents ? QUIET.withEvents : QUIET.withoutEvents), flux: FLUX },
      log,
      signal: AbortSignal.any([signal, lost.signal]),
    });
    lost.signal.throwIfAborted();
  } finally {
    mounted.close();
    over.abort();
    await Promise.allSettled([watching.close(), api.stop(), runtime.stop(), owners.stop(), said]);
  }
}

/** What of the store cannot be read is neither there nor absent: nothing is decided about it, so it is said, once for each error. */
function createUnreadableLog(log: Logger): (unreadable: ReadonlyMap<string, string>) => void {
  let said: ReadonlyMap<string, string> = new Map();
  return (unreadable) => {
    for (const [directory, error] of unreadable)
      if (said.get(directory) !== error) log.error({ directory, error }, 'cannot be read: nothing is decided about this workload');
    said = unreadable;
  };
}

/** Without an identity that may read owners, what is known of them is time. One that cannot be used is said, and the rest goes on. */
async function ownersIdentity(options: RunOptions, node: Kubeconfig, log: Logger): Promise<Kubeconfig | undefined> {
  const { ownersKubeconfig: kubeconfig, ownersTokenDir: tokenDir } = options;
  try {
    return await ownersKubeconfig({ ...(kubeconfig !== undefined && { kubeconfig }), ...(tokenDir !== undefined && { tokenDir }) }, node);
  } catch (error) {
    log.warn({ error: error instanceof Error ? error.message : String(error) }, 'owners cannot be read: what is known of them is time');
    return undefined;
  }
}

/** A store that cannot be read now is looked at again by every observation; without its tokens others are asked for. */
async function storedTokens(checkpointDir: string, log: Logger): Promise<ReadonlyMap<string, Token>> {
  try {
    return await readStoredTokens(checkpointDir, await readStore(checkpointDir));
  } catch (error) {
    log.warn({ error: error instanceof Error ? error.message : String(error) }, 'the stored tokens cannot be read');
    return new Map();
  }
}

async function listWithin(runtime: RuntimeSource, ms: number, wake: () => void): Promise<RuntimeSnapshot> {
  const listing = runtime.list();
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<RuntimeSnapshot>((resolve) => {
    timer = setTimeout(() => {
      resolve({ state: 'unknown', detail: `no answer for ${ms} ms` });
      void listing.then(wake);
    }, ms);
  });
  return Promise.race([listing, patience]).finally(() => clearTimeout(timer));
}

function copyPolicy({ secretEnv, kubernetesService }: RunOptions): CopyPolicy {
  return { secretEnv, ...(kubernetesService !== undefined && { kubernetesService: parseKubernetesService(kubernetesService) }) };
}
