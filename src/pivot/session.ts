/** What `pivot` and `unpivot` have in common: one of them at a time on a node, who asks the API server, what Ctrl-C does, what is written down. */

import { setTimeout as sleep } from 'node:timers/promises';
import { tryLeaderLock } from '../lock/leader.ts';
import { type ApiClient, createApiClient } from '../sources/api/client.ts';
import { type Kubeconfig, loadKubeconfig } from '../sources/api/kubeconfig.ts';
import { type Cluster, ClusterError, connectCluster } from './cluster.ts';
import { moveTo, type Pivot, type Progress } from './execute.ts';
import { remember } from './history.ts';
import { type Journal, pivotLockPath, preparePivotDir, readJournal } from './journal.ts';
import { releaseLease, takeLease } from './lease.ts';
import { describeMove, isThere, type Target } from './steps.ts';

export interface Session {
  readonly kubeconfig: Kubeconfig;
  readonly client: ApiClient;
  readonly cluster: Cluster;
  readonly stop: AbortSignal;
  close(): void;
}

/** The first SIGINT or SIGTERM takes back the move that is under way; a second one ends the process as it would any other, and the next run goes on. */
export async function openSession(kubeconfigFile: string): Promise<Session> {
  const kubeconfig = await loadKubeconfig(kubeconfigFile);
  const client = createApiClient(kubeconfig);
  const ending = new AbortController();
  const stopping = new AbortController();
  const onSignal = (): void => {
    if (stopping.signal.aborted) process.exit(130);
    stopping.abort(new Error('stopped'));
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, onSignal);
  return {
    kubeconfig,
    client,
    cluster: connectCluster(client, ending.signal),
    stop: stopping.signal,
    close() {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, onSignal);
      ending.abort();
      client.close();
    },
  };
}

/** Runs alone on this node. Throws an Error where another one does. */
export async function alone<T>(checkpointDir: string, work: () => Promise<T>): Promise<T> {
  await preparePivotDir(checkpointDir);
  const lock = await tryLeaderLock(pivotLockPath(checkpointDir));
  if (lock === undefined)
    throw new Error(`another checkpointer pivot or unpivot runs on this node (it holds ${pivotLockPath(checkpointDir)}): wait for it`);
  try {
    return await work();
  } finally {
    lock.release();
  }
}

/** After a power cut the control plane may only just be coming back. Throws ClusterError where it does not within the time, in milliseconds. */
export async function untilReady({ cluster, stop }: Session, progress: Progress, timeoutMs: number): Promise<void> {
  const started = performance.now();
  for (;;) {
    try {
      return await cluster.ready();
    } catch (error) {
      const waited = performance.now() - started;
      if (!(error instanceof ClusterError) || waited > timeoutMs) throw error;
      progress.waiting(`the API server (${error.message})`, waited);
      await sleep(500, undefined, { signal: stop });
    }
  }
}

/** The whole way, under the cluster's lease, which is given back only where the node stands at one of its ends. */
export async function travel(target: Target, journal: Journal, pivot: Pivot): Promise<void> {
  const { cluster, node, checkpointDir } = pivot;
  const diary = diaryIn(checkpointDir);
  await takeLease(cluster, node.name, new Date());
  try {
    await moveTo(target, journal, { ...pivot, progress: alsoTo(diary, pivot.progress) });
  } finally {
    const place = (await readJournal(checkpointDir))?.place;
    if (place !== undefined && (isThere(place, 'self-hosted') || isThere(place, 'static')))
      await releaseLease(cluster, node.name).catch(() => undefined);
    await diary.written();
  }
}

interface Diary {
  write(message: string): void;
  written(): Promise<void>;
}

/** Lines in their order, which no step waits for. */
function diaryIn(checkpointDir: string): Diary {
  let last = Promise.resolve();
  return {
    write: (message) => {
      last = last.then(() => remember(checkpointDir, message));
    },
    written: () => last,
  };
}

function alsoTo(diary: Diary, progress: Progress): Progress {
  return {
    ...progress,
    done(move, tookMs) {
      progress.done(move, tookMs);
      diary.write(describeMove(move));
    },
    failed(move, why) {
      progress.failed(move, why);
      diary.write(`failed: ${describeMove(move)}: ${why}`);
    },
  };
}
