/** The life of the daemon's process: signals, the leader lock, health; while it leads, lead.ts does the work. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Digest, Observation } from './checkpoint/model.ts';
import { hasCopies } from './checkpoint/store/layout.ts';
import type { CheckedOptions } from './lead.ts';
import { acquireLeaderLock, giveWay, type LeaderLock, watchLock } from './lock/leader.ts';
import { onFsync } from './platform/fsync-times.ts';
import type { Pulse } from './platform/health.ts';
import { createLog } from './platform/log.ts';
import { createMetrics, type Metrics } from './platform/metrics.ts';
import { createEndpoint } from './platform/metrics-server.ts';
import { reportMetrics } from './report/metrics.ts';
import type { Reported } from './report/reporter.ts';
import { type Kubeconfig, loadKubeconfig, unusableKubeconfig } from './sources/api/kubeconfig.ts';
import { VERSION } from './version.ts';

/** SIGTERM ends the daemon within 5 s, whatever hangs. */
const END_BY = 4_500;
/** Who gives up the lead lets whoever waits have it before it waits itself. */
const QUEUE_AGAIN = 1_000;

interface Process {
  readonly options: CheckedOptions;
  readonly kubeconfig: Kubeconfig;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly ending: AbortSignal;
}

export async function run(options: CheckedOptions): Promise<void> {
  const log = createLog(options.v);
  const kubeconfig = await usableKubeconfig(options, log);
  const ending = new AbortController();
  const end = (signal: NodeJS.Signals) => {
    if (ending.signal.aborted) return;
    log.info({ signal }, 'ending');
    ending.abort();
    setTimeout(() => {
      log.error('what was being done did not end in time');
      process.exit(1);
    }, END_BY).unref();
  };
  // Not once: signal-exit, which the store's lock brings along when lead.ts is loaded, kills a process whose only listener it is by then.
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  log.info({ version: VERSION, node: options.nodeName }, 'starting');
  const metrics = createMetrics();
  onFsync((seconds) => metrics.fsyncDuration.observe(seconds));
  if (await ownCopyComes(options)) {
    log.info({ giveWayMs: options.giveWay }, 'the kubelet is to start a copy of the checkpointer: it may lead');
    await giveWay(options.lockFile, options.giveWay, ending.signal);
  }
  let steppedDown: Observation['steppedDown'];
  while (!ending.signal.aborted) {
    const digest = await takeTurn({ options, kubeconfig, log, metrics, ending: ending.signal }, steppedDown);
    if (digest === undefined) break;
    const count = steppedDown?.digest === digest ? steppedDown.count + 1 : 1;
    steppedDown = { digest, count, at: performance.now() };
    log.info({ count }, 'gave up the lead for a new version of the checkpointer');
    await sleep(QUEUE_AGAIN, undefined, { signal: ending.signal }).catch(() => undefined);
  }
  log.info('ended');
}

/**
 * Whether a container of the checkpointer can be expected that needs no API server to be started: its manifest lies in the kubelet's directory. Where none
 * does, nobody but this process can lead, and the node may need it at once.
 */
async function ownCopyComes({ giveWay, self, podManifestPath }: CheckedOptions): Promise<boolean> {
  if (giveWay === 0 || self === undefined) return false;
  const { listManifests } = await import('./recovery/manifests.ts');
  const manifests = await listManifests(podManifestPath).catch(() => []);
  return manifests.some(({ workload }) => workload === self);
}

/** On a node that has copies nothing in recovery needs the API server: a kubeconfig that cannot be used is said, and read again when it is another one. */
async function usableKubeconfig({ kubeconfig: file, checkpointDir }: CheckedOptions, log: Logger): Promise<Kubeconfig> {
  try {
    return await loadKubeconfig(file);
  } catch (error) {
    if (!(await hasCopies(checkpointDir))) throw error;
    log.error(
      { error: error instanceof Error ? error.message : String(error) },
      'goes on without an API server until the kubeconfig can be used',
    );
    return unusableKubeconfig(file);
  }
}

/** Waits for the lock, and leads until it ends; the spec of the checkpointer for which the lead was given up, where it was. */
async function takeTurn(given: Process, steppedDown: Observation['steppedDown']): Promise<Digest | undefined> {
  const { options, log, metrics, ending } = given;
  const clock = () => performance.now();
  metrics.leader.set(0);
  let pulse: Pulse = { role: 'waiting', since: clock(), lastTurn: undefined };
  const endpoint = createEndpoint(
    { registry: metrics.registry, pulse: () => pulse, clock },
    options.metricsAddress,
    log,
    steppedDown === undefined,
  );
  try {
    const lock = await acquireLeaderLock({
      path: options.lockFile,
      signal: ending,
      onWaiting: () => void sayWaiting(options, log),
    }).catch((error: unknown) => {
      if (ending.aborted) return undefined;
      throw error;
    });
    if (lock === undefined) return undefined;
    log.info({ lockFile: options.lockFile }, 'leading');
    metrics.leader.set(1);
    pulse = { role: 'leading', since: clock(), lastTurn: undefined };
    endpoint.lead();
    const count = reportMetrics(metrics);
    const onReport = (reported: Reported) => {
      pulse = { ...pulse, lastTurn: clock() };
      count(reported);
    };
    return await leadUnderLock(given, lock, steppedDown, onReport);
  } finally {
    metrics.leader.set(0);
    await endpoint.close();
  }
}

/** Of bootkube's pod-checkpointer the lock is the same, and nobody but a person can end it. */
async function sayWaiting({ lockFile, podManifestPath }: CheckedOptions, log: Logger): Promise<void> {
  log.info({ lockFile }, 'another checkpointer leads on this node: waiting');
  const { findItself } = await import('./predecessor/read.ts');
  const manifest = await findItself(podManifestPath).catch(() => undefined);
  if (manifest !== undefined)
    log.warn(
      { manifest },
      "bootkube's pod-checkpointer is on this node and may be the one that leads: delete its DaemonSet (docs/migration.md)",
    );
}

async function leadUnderLock(
  { options, kubeconfig, log, metrics, ending }: Process,
  lock: LeaderLock,
  steppedDown: Observation['steppedDown'],
  onReport: (reported: Reported) => void,
): Promise<Digest | undefined> {
  const lost = new AbortController();
  const given = new AbortController();
  const watching = watchLock(lock, () => lost.abort());
  let digest: Digest | undefined;
  const stepDown = (of: Digest) => {
    digest = of;
    given.abort();
  };
  try {
    // Not at the top: who waits needs none of what it takes to lead, and waits for months.
    const { lead } = await import('./lead.ts');
    const signal = AbortSignal.any([ending, lost.signal, given.signal]);
    await lead({ options, kubeconfig, log, metrics, onReport, steppedDown, stepDown, signal });
  } finally {
    watching.close();
    lock.release();
  }
  // Ending is the way back: the next start waits for whoever leads by then.
  if (lost.signal.aborted) throw new Error(`lock file ${options.lockFile} was removed or replaced: another checkpointer may lead now`);
  return digest;
}
