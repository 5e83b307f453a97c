/** Starts everything that the daemon consists of, in order, and ends it in the reverse order. */
import type { Logger } from 'pino';
import type { Effects } from './act.ts';
import type { CopyPolicy, Token } from './checkpoint/copy-types.ts';
import { KUBERNETES_SERVICE, objectReferences } from './checkpoint/references.ts';
import { readStore } from './checkpoint/store/read.ts';
import { readStoredTokens } from './checkpoint/store/tokens.ts';
import { prepareStore } from './checkpoint/store/write.ts';
import type { WorkloadKey } from './checkpoint/workload.ts';
import { parseKubernetesService } from './commands/options.ts';
import type { RunOptions } from './commands/run.ts';
import { createCopier } from './copier.ts';
import { createWake, runDaemon } from './daemon.ts';
import { acquireLeaderLock } from './lock/leader.ts';
import { withTransaction } from './lock/transaction.ts';
import { onFsync } from './platform/fsync-times.ts';
import type { Pulse } from './platform/health.ts';
import { createLog } from './platform/log.ts';
import { createMetrics, type Metrics } from './platform/metrics.ts';
import { createEndpoint } from './platform/metrics-server.ts';
import { createCourier } from './report/courier.ts';
import { countedClient, countedRuntime, countOutcome, reportMetrics } from './report/metrics.ts';
import { createReporter, type Reported } from './report/reporter.ts';
import { createApiClient } from './sources/api/client.ts';
import { type Kubeconfig, loadKubeconfig } from './sources/api/kubeconfig.ts';
import { createApiSource } from './sources/api/source.ts';
import { readBootId } from './sources/boot.ts';
import { createRuntimeSource } from './sources/cri/source.ts';
import { createDiskSource } from './sources/disk.ts';
import { createKubeletLockSource } from './sources/kubelet-lock.ts';
import { observe } from './sources/observe.ts';
import type { RuntimeSnapshot, RuntimeSource } from './sources/snapshots.ts';
import { identityDirectories, watchFiles } from './sources/watch-files.ts';
import { writeLeader } from './status.ts';
import { VERSION } from './version.ts';

/** A runtime that does not answer must not hold up saving: after this long it counts as unknown, and its answer wakes the loop when it comes. */
const RUNTIME_PATIENCE = 1_000;
/** Without events the runtime is looked at more often. Neither costs an API request. */
const QUIET = { withEvents: 10_000, withoutEvents: 3_000 };
const FLUX = 200;
/** How soon a leader notices that its lock file is not the one that others would lock. */
const LOCK_CHECK = 500;
/** SIGTERM ends the daemon within 5 s, whatever hangs. */
const END_BY = 4_500;

export type CheckedOptions = RunOptions & { readonly nodeName: string };

export async function run(options: CheckedOptions): Promise<void> {
  const kubeconfig = await loadKubeconfig(options.kubeconfig);
  const log = createLog(options.v);
  const ending = new AbortController();
  const end = (signal: NodeJS.Signals) => {
    log.info({ signal }, 'ending');
    ending.abort();
    setTimeout(() => {
      log.error('what was being done did not end in time');
      process.exit(1);
    }, END_BY).unref();
  };
  process.once('SIGTERM', end);
  process.once('SIGINT', end);
  log.info({ version: VERSION, node: options.nodeName }, 'starting');
  const clock = () => performance.now();
  const metrics = createMetrics();
  metrics.leader.set(0);
  let pulse: Pulse = { role: 'waiting', since: clock(), lastTurn: undefined };
  const endpoint = createEndpoint({ registry: metrics.registry, pulse: () => pulse, clock }, options.metricsAddress, log);
  const lock = await acquireLeaderLock({
    path: options.lockFile,
    signal: ending.signal,
    onWaiting: () => log.info({ lockFile: options.lockFile }, 'another checkpointer leads on this node: waiting'),
  }).catch(async (error: unknown) => {
    await endpoint.close();
    if (ending.signal.aborted) return undefined;
    throw error;
  });
  if (lock === undefined) return;
  const lost = new AbortController();
  const checking = setInterval(() => {
    if (!lock.isCurrent()) lost.abort();
  }, LOCK_CHECK);
  try {
    log.info({ lockFile: options.lockFile }, 'leading');
    metrics.leader.set(1);
    pulse = { role: 'leading', since: clock(), lastTurn: undefined };
    endpoint.lead();
    const count = reportMetrics(metrics);
    const onReport = (reported: Reported) => {
      pulse = { ...pulse, lastTurn: clock() };
      count(reported);
    };
    await lead({ options, kubeconfig, log, metrics, onReport, signal: AbortSignal.any([ending.signal, lost.signal]) });
  } finally {
    clearInterval(checking);
    metrics.leader.set(0);
    await endpoint.close();
    lock.release();
  }
  // Ending is the way back: the next start waits for whoever leads by then.
  if (lost.signal.aborted) throw new Error(`lock file ${options.lockFile} was removed or replaced: another checkpointer may lead now`);
  log.info('ended');
}

interface Lead {
  readonly options: CheckedOptions;
  readonly kubeconfig: Kubeconfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Called at each turn of the loop. */
  readonly onReport: (reported: Reported) => void;
  readonly signal: AbortSignal;
}

async function lead({ options, kubeconfig, log, metrics, onReport, signal }: Lead): Promise<void> {
  const { checkpointDir, podManifestPath } = options;
  const clock = () => performance.now();
  const bootId = await readBootId(options.bootIdFile);
  await prepareStore(checkpointDir);
  const wake = createWake();
  onFsync((seconds) => metrics.fsyncDuration.observe(seconds));
  const client = countedClient(createApiClient(kubeconfig), metrics, log);
  const api = createApiSource({
    client,
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
  const watching = watchFiles([podManifestPath, ...identityDirectories(kubeconfig)], wake.wake, log);
  const kubelet = createKubeletLockSource(options.kubeletLockFile);
  const disk = createDiskSource(checkpointDir, podManifestPath);
  const copier = createCopier(copyPolicy(options));
  const self = options.self as WorkloadKey | undefined;
  const effects: Effects = {
    checkpointDir,
    podManifestPath,
    api,
    runtime,
    stopGraceSeconds: Math.ceil(options.stopGracePeriod / 1000),
    wallClock: Date.now,
    transaction: (change) => withTransaction(checkpointDir, change, { bootId }),
  };
  // For people only: a full disk must not keep the node down.
  await writeLeader(checkpointDir, {
    pid: process.pid,
    // systemd gives every service of its own an INVOCATION_ID; containers do not get that of their runtime.
    where: self === undefined || process.env['INVOCATION_ID'] !== undefined ? 'host' : `a pod of ${self}`,
    since: new Date().toISOString(),
    bootId,
    version: VERSION,
  }).catch((error: unknown) =>
    log.warn({ error: error instanceof Error ? error.message : String(error) }, 'leader.json could not be written'),
  );
  try {
    await runDaemon({
      effects,
      reporter: createReporter({
        checkpointDir,
        log,
        wallClock: Date.now,
        nodeName: options.nodeName,
        courier: createCourier({ client, nodeName: options.nodeName, log, signal, clock, wallClock: Date.now }),
        onReport,
      }),
      onOutcome: (outcome) => countOutcome(metrics, outcome),
      policy: options,
      clock,
      observe: async () => {
        const [listed, read, lock] = await Promise.all([listWithin(runtime, RUNTIME_PATIENCE, wake.wake), disk.read(), kubelet.read()]);
        return observe({ now: performance.now(), bootId, api: api.snapshot(), runtime: listed, disk: read, kubelet: lock, self }, copier);
      },
      wake,
      pace: { quiet: () => (runtime.sendsEvents ? QUIET.withEvents : QUIET.withoutEvents), flux: FLUX },
      log,
      signal,
    });
  } finally {
    await Promise.allSettled([watching.close(), api.stop(), runtime.stop()]);
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
