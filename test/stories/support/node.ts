/** A node that hosts its own control plane, and what people do to it: for the stories. Times in milliseconds. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { StoredWorkload } from '../../../src/checkpoint/model.ts';
import { readStore } from '../../../src/checkpoint/store/read.ts';
import type { Fault } from '../../../src/embedded/apiserver/faults.ts';
import { type DaemonLine, type DaemonLog, followDaemons } from '../../../src/embedded/demo/daemon-log.ts';
import { handedBack, install } from '../../../src/embedded/demo/story.ts';
import { createNode, type EmbeddedNode, type NodeOptions } from '../../../src/embedded/node/node.ts';
import { readStatus, type WorkloadStatus } from '../../../src/status.ts';

const DIST = join(import.meta.dirname, '../../../dist');
export const EMBEDDED = [process.execPath, join(DIST, 'embedded.js')];
export const CHECKPOINTER = [process.execPath, join(DIST, 'checkpointer.js')];
const MERGE = { contentType: 'application/merge-patch+json' };

/** Durations so short that a story waits only for what it tells of. */
export const QUICK = ['--prove-after=2s', '--stable-for=2s', '--orphan-after=2s', '--down-for=15s', '--trial-deadline=15s'];

export type Component = 'kube-apiserver' | 'kube-controller-manager' | 'kube-scheduler' | 'pod-checkpointer';

export interface Cluster {
  readonly node: EmbeddedNode;
  readonly log: DaemonLog;
}

/** For a describe block: one node for all of its tests, which come one after the other. What the daemons said is printed where a test fails. */
export function selfHosted(options: Partial<NodeOptions> = {}): () => Cluster {
  let cluster: Cluster | undefined;
  beforeAll(async () => {
    const node = await createNode({
      embedded: EMBEDDED,
      checkpointer: CHECKPOINTER,
      checkpointerFlags: QUICK,
      portSharing: false,
      ...options,
    });
    cluster = { node, log: followDaemons(node, () => undefined) };
    await install(node);
  }, 180_000);
  afterEach(({ task }) => {
    if (task.result?.state === 'fail' && cluster !== undefined) console.error(cluster.log.lines().slice(-80).map(inShort).join('\n'));
  });
  afterAll(async () => {
    await cluster?.log.stop();
    await cluster?.node.destroy();
  });
  return () => {
    if (cluster === undefined) throw new Error('the node is made before the first test');
    return cluster;
  };
}

function inShort({ at, msg, fields }: DaemonLine): string {
  const { time: _time, level: _level, msg: _msg, pid: _pid, hostname: _hostname, ...rest } = fields;
  return `${new Date(at).toISOString().slice(11, 23)} ${msg} ${JSON.stringify(rest)}`;
}

const path = (kind: 'daemonsets' | 'secrets' | 'pods', name = '') =>
  `/${kind === 'daemonsets' ? 'apis/apps' : 'api'}/v1/namespaces/kube-system/${kind}${name === '' ? '' : `/${name}`}`;

/** The pod template of a DaemonSet changes, which rolls it out. */
export async function changeArgs(
  node: EmbeddedNode,
  name: Component,
  change: (args: readonly string[]) => readonly string[],
): Promise<void> {
  const set = (await node.api().request('GET', path('daemonsets', name))) as V1DaemonSet;
  const containers = set.spec?.template.spec?.containers.map((container) => ({ ...container, args: change(container.args ?? []) }));
  await node.api().request('PATCH', path('daemonsets', name), { spec: { template: { spec: { containers } } } }, MERGE);
}

export const addFlag = (node: EmbeddedNode, name: Component, flag: string) => changeArgs(node, name, (args) => [...args, flag]);
export const removeFlag = (node: EmbeddedNode, name: Component, flag: string) =>
  changeArgs(node, name, (args) => args.filter((arg) => arg !== flag));

/** `liveness` is merged into the container's probe. */
export async function changeImage(node: EmbeddedNode, name: Component, image: string, liveness: object = {}): Promise<void> {
  const set = (await node.api().request('GET', path('daemonsets', name))) as V1DaemonSet;
  const containers = set.spec?.template.spec?.containers.map((container) => ({
    ...container,
    image,
    livenessProbe: { ...container.livenessProbe, ...liveness },
  }));
  await node.api().request('PATCH', path('daemonsets', name), { spec: { template: { spec: { containers } } } }, MERGE);
}

export async function selectNodes(
  node: EmbeddedNode,
  name: Component,
  nodeSelector: Readonly<Record<string, string | null>>,
): Promise<void> {
  await node.api().request('PATCH', path('daemonsets', name), { spec: { template: { spec: { nodeSelector } } } }, MERGE);
}

export async function deleteDaemonSet(node: EmbeddedNode, name: Component): Promise<void> {
  await node.api().request('DELETE', path('daemonsets', name), { propagationPolicy: 'Background' });
}

export async function changeSecret(node: EmbeddedNode, name: string, files: Readonly<Record<string, string>>): Promise<void> {
  const data = Object.fromEntries(Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));
  await node.api().request('PATCH', path('secrets', name), { data }, MERGE);
}

/** Pods of a DaemonSet, mirror pods left out. */
export async function podsOf(node: EmbeddedNode, name: Component): Promise<V1Pod[]> {
  const { items } = (await node.api().request('GET', path('pods'))) as { readonly items: readonly V1Pod[] };
  return items.filter(
    ({ metadata }) => metadata?.labels?.['k8s-app'] === name && metadata.annotations?.['kubernetes.io/config.mirror'] === undefined,
  );
}

const isReady = (pod: V1Pod): boolean =>
  pod.metadata?.deletionTimestamp === undefined &&
  pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;

/** Its only pod is Ready and as it should be, no copy but the checkpointer's own is active, and every other parent runs. */
export async function rolledOut(node: EmbeddedNode, name: Component, as: (pod: V1Pod) => boolean): Promise<void> {
  await node.waitFor(
    `${name} is rolled out`,
    async () => {
      const pods = await podsOf(node, name);
      return pods.length === 1 && pods.every((pod) => isReady(pod) && as(pod));
    },
    90_000,
  );
  await handedBack(node);
}

export const hasArg =
  (flag: string) =>
  (pod: V1Pod): boolean =>
    pod.spec?.containers.some(({ args }) => args?.includes(flag) === true) === true;
export const hasNotArg =
  (flag: string) =>
  (pod: V1Pod): boolean =>
    !hasArg(flag)(pod);

export async function storedOf(node: EmbeddedNode, name: Component): Promise<StoredWorkload | undefined> {
  const { workloads } = await readStore(node.layout.checkpointDir);
  return [...workloads.values()].find(({ workload }) => workload.name === name)?.stored;
}

export async function statusOf(node: EmbeddedNode, name: Component): Promise<WorkloadStatus | undefined> {
  return Object.values((await readStatus(node.layout.checkpointDir))?.workloads ?? {}).find((one) => one.name === name);
}

/** The newest generation of each of them is proven, so that what comes next can fall back on it. */
export async function proven(node: EmbeddedNode, ...names: readonly Component[]): Promise<void> {
  await node.waitFor(
    `the newest copies of ${names.join(', ')} are proven`,
    async () => {
      const all = await Promise.all(names.map((name) => storedOf(node, name)));
      return all.every((stored) => stored?.proven !== undefined && stored.proven === stored.newest);
    },
    60_000,
  );
}

export async function activeCopies(node: EmbeddedNode): Promise<string[]> {
  return (await node.manifests()).filter((file) => !file.includes('pod-checkpointer-ds'));
}

export async function setFaults(node: EmbeddedNode, faults: readonly Fault[]): Promise<void> {
  await writeFile(join(node.layout.etcd, 'faults.json'), JSON.stringify(faults));
}
