/**
 * The daemon's main job on an embedded node, step by step, with what each step took: for the demo to show and for the stories to assert.
 * All durations in milliseconds.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoredWorkload } from '../../checkpoint/model.ts';
import { generationPath, workloadPath } from '../../checkpoint/store/paths.ts';
import { type IndexCache, readStore } from '../../checkpoint/store/read.ts';
import { bootstrap } from '../node/bootstrap.ts';
import type { EmbeddedNode } from '../node/node.ts';
import { outagesBetween } from '../node/readyz.ts';
import type { DaemonLog } from './daemon-log.ts';

const NAMESPACE = 'kube-system';
/** Beside the daemon's own copy, which is always active. */
const OTHERS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];

export interface Percentiles {
  readonly median: number;
  readonly p99: number;
  readonly count: number;
}

export interface Recovery {
  readonly powerOnToReady: number;
  /** From the daemon's lock to the last of the manifests; undefined where they were in place before. */
  readonly lockToManifests: number | undefined;
  /** Until every copy has left and every parent runs. */
  readonly powerOnToStable: number;
  /** Outages after the first /readyz, each with its length. */
  readonly outages: readonly number[];
}

/** From nothing to a self-hosted control plane of which every copy is proven. */
export async function install(node: EmbeddedNode): Promise<void> {
  await node.powerOn();
  await bootstrap(node);
  await node.waitFor(
    'a proven copy of every workload',
    async () =>
      (await Promise.all([...OTHERS, 'pod-checkpointer'].map((name) => storedOf(node, name)))).every(
        (stored) => stored?.proven !== undefined,
      ),
    60_000,
  );
}

/** Changes a Secret again and again; each time until a durable generation holds the new content. */
export async function rotateSecret(node: EmbeddedNode, times: number): Promise<Percentiles> {
  const took: number[] = [];
  for (let turn = 1; turn <= times; turn++) {
    const content = `turn ${turn}\n`;
    const started = performance.now();
    await node
      .api()
      .request(
        'PATCH',
        `/api/v1/namespaces/${NAMESPACE}/secrets/kube-scheduler`,
        { data: { marker: Buffer.from(content).toString('base64') } },
        { contentType: 'application/merge-patch+json' },
      );
    await node.waitFor(
      'a generation with the new content',
      async () => (await newestFile(node, 'kube-scheduler', 'secrets/marker')) === content,
      10_000,
    );
    took.push(performance.now() - started);
  }
  return percentiles(took);
}

/** Cuts the power, turns it on again, and waits until the cluster has come back and handed itself over to the real pods. */
export async function cutPower(node: EmbeddedNode, log: DaemonLog): Promise<Recovery> {
  await node.powerOff();
  await node.waitFor('/readyz is down', () => node.readyz.up() === false);
  const powerOn = Date.now();
  await node.powerOn();
  await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
  const ready = await node.waitFor('the moment of it', () => node.readyz.transitions().find(({ at, up }) => up && at >= powerOn)?.at);
  await handedBack(node);
  const stable = Date.now();
  const leading = log.lines().findLast(({ at, msg }) => msg === 'leading' && at >= powerOn && at <= ready);
  const activations = log
    .lines()
    .filter(
      ({ at, msg, fields }) =>
        msg === 'activate' && at >= powerOn && at <= ready && !String(fields['workload']).endsWith('/pod-checkpointer'),
    );
  const outages = outagesBetween(node.readyz.transitions(), ready, stable).map(({ from, to }) => (to ?? stable) - from);
  return {
    powerOnToReady: ready - powerOn,
    lockToManifests:
      leading === undefined || activations.length === 0 ? undefined : Math.max(...activations.map(({ at }) => at)) - leading.at,
    powerOnToStable: stable - powerOn,
    outages,
  };
}

/** Deletes the only API server's pod. Returns the time from the end of its container to its copy's manifest, and the outage that users saw. */
export async function deleteApiServerPod(node: EmbeddedNode): Promise<{ readonly endToManifest: number; readonly outage: number }> {
  const pod = await node.waitFor('the pod of the API server', async () => (await podsOf(node, 'kube-apiserver'))[0]);
  const from = Date.now();
  await node.api().request('DELETE', `/api/v1/namespaces/${NAMESPACE}/pods/${pod}`, {});
  const manifest = await node.waitFor(
    'a manifest of its copy',
    () =>
      node.timeline
        .all()
        .find((event) => event.kind === 'manifest' && event.change === 'added' && event.at >= from && event.file.includes('kube-apiserver'))
        ?.at,
    60_000,
  );
  const ended =
    node.timeline.all().findLast((event) => event.kind === 'readyz' && !event.up && event.at >= from && event.at <= manifest)?.at ?? from;
  await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
  await handedBack(node);
  const outages = outagesBetween(node.readyz.transitions(), 0, Date.now()).filter((outage) => outage.from >= from);
  return { endToManifest: manifest - ended, outage: outages.reduce((sum, outage) => sum + ((outage.to ?? Date.now()) - outage.from), 0) };
}

/** No copy is active but the daemon's own, and the pods of the API are all Ready. */
export async function handedBack(node: EmbeddedNode): Promise<void> {
  await node.waitFor(
    'every copy has handed back to its parent',
    async () => {
      if ((await node.manifests()).some((file) => !file.includes('pod-checkpointer-ds'))) return false;
      return (await Promise.all(OTHERS.map((name) => podsOf(node, name)))).every((pods) => pods.length === 1);
    },
    120_000,
  );
}

/** Names of the Ready pods of a workload, mirror pods left out. */
async function podsOf(node: EmbeddedNode, name: string): Promise<string[]> {
  const list = (await node.api().request('GET', `/api/v1/namespaces/${NAMESPACE}/pods`)) as PodList;
  return list.items
    .filter(
      ({ metadata, status }) =>
        metadata.labels?.['k8s-app'] === name &&
        metadata.annotations?.['kubernetes.io/config.mirror'] === undefined &&
        status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True'),
    )
    .map(({ metadata }) => metadata.name);
}

interface PodList {
  readonly items: readonly {
    readonly metadata: {
      readonly name: string;
      readonly labels?: Readonly<Record<string, string>>;
      readonly annotations?: Readonly<Record<string, string>>;
    };
    readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
}

const indexes: IndexCache = new Map();

async function storedOf(node: EmbeddedNode, name: string): Promise<StoredWorkload | undefined> {
  const { workloads } = await readStore(node.layout.checkpointDir, indexes);
  return [...workloads.values()].find(({ workload }) => workload.name === name)?.stored;
}

/** Content of a file in the newest generation. */
async function newestFile(node: EmbeddedNode, name: string, path: string): Promise<string | undefined> {
  const { layout } = node;
  const newest = (await storedOf(node, name))?.newest;
  const workload = workloadPath(layout.checkpointDir, { namespace: NAMESPACE, group: 'apps', kind: 'DaemonSet', name });
  return newest === undefined ? undefined : readFile(join(generationPath(workload, newest), 'files', path), 'utf8').catch(() => undefined);
}

export function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99), count: sorted.length };
}
