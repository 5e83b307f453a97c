/** What people do to a cluster, and what one sees of it. */
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import type { WorkloadStatus } from '../../../src/status.ts';
import type { Component } from './control-plane.ts';
import { eventually } from './eventually.ts';
import type { RealNode } from './node.ts';
import { dsPods, isReadyPod } from './settled.ts';

export type Workload = Component | 'pod-checkpointer';

const set = (name: Workload): string[] => ['--namespace=kube-system', 'daemonset', name];

async function patch(node: RealNode, name: Workload, operations: readonly object[]): Promise<void> {
  await node.kubectl(['patch', ...set(name), '--type=json', `--patch=${JSON.stringify(operations)}`]);
}

/** Rolls it out with one more flag. */
export async function addFlag(node: RealNode, name: Component, flag: string): Promise<void> {
  await patch(node, name, [{ op: 'add', path: '/spec/template/spec/containers/0/args/-', value: flag }]);
}

export async function removeFlag(node: RealNode, name: Component, flag: string): Promise<void> {
  const found = await node.get<V1DaemonSet>(...set(name));
  const args = found.spec?.template.spec?.containers[0]?.args ?? [];
  await patch(node, name, [{ op: 'replace', path: '/spec/template/spec/containers/0/args', value: args.filter((one) => one !== flag) }]);
}

/** A selector that no node has, or the one before it. */
export async function unschedule(node: RealNode, name: Workload): Promise<void> {
  await patch(node, name, [{ op: 'add', path: '/spec/template/spec/nodeSelector/nowhere', value: 'true' }]);
}

export async function reschedule(node: RealNode, name: Workload): Promise<void> {
  await patch(node, name, [{ op: 'remove', path: '/spec/template/spec/nodeSelector/nowhere' }]);
}

export async function deleteSet(node: RealNode, name: Workload): Promise<void> {
  await node.kubectl(['delete', ...set(name), '--wait=false']);
}

export async function deletePod(node: RealNode, name: Workload): Promise<void> {
  for (const { metadata } of await dsPods(node, name))
    await node.kubectl(['delete', '--namespace=kube-system', 'pod', metadata?.name ?? '', '--wait=false']);
}

export async function changeSecret(node: RealNode, name: string, files: Readonly<Record<string, string>>): Promise<void> {
  const data = Object.fromEntries(Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));
  await node.kubectl(['patch', '--namespace=kube-system', 'secret', name, `--patch=${JSON.stringify({ data })}`]);
}

export async function statusOf(node: RealNode, name: Workload): Promise<WorkloadStatus | undefined> {
  return Object.values((await node.status())?.workloads ?? {}).find((one) => one.name === name);
}

export const hasFlag =
  (flag: string) =>
  ({ spec }: V1Pod): boolean =>
    spec?.containers[0]?.args?.includes(flag) === true;

/** Its only pod is Ready and as it should be. */
export async function rolledOut(node: RealNode, name: Workload, as: (pod: V1Pod) => boolean): Promise<void> {
  await eventually(async () => {
    const pods = await dsPods(node, name);
    return pods.length === 1 && pods.every((pod) => isReadyPod(pod) && as(pod));
  }, 180_000);
}

/** Manifests of copies of this workload in the kubelet's directory. */
export async function copiesOf(node: RealNode, name: Workload): Promise<string[]> {
  return (await node.manifests()).filter((file) => file.includes(`${name}-ds`));
}
