/** When a node has come to rest. */
import { readFile } from 'node:fs/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { COMPONENTS, type Component } from './control-plane.ts';
import { eventually } from './eventually.ts';
import type { RealNode } from './node.ts';

/** Pods of a DaemonSet, mirror pods and those of other owners left out. */
export async function dsPods(node: RealNode, name: string): Promise<V1Pod[]> {
  return (await allPods(node)).filter(isOf(name));
}

const isOf =
  (name: string) =>
  ({ metadata }: V1Pod): boolean =>
    metadata?.ownerReferences?.some((owner) => owner.kind === 'DaemonSet' && owner.name === name) === true;

async function allPods(node: RealNode): Promise<readonly V1Pod[]> {
  return (await node.get<{ readonly items: readonly V1Pod[] }>('pods', '--namespace=kube-system')).items;
}

export function isReadyPod({ metadata, status }: V1Pod): boolean {
  return (
    metadata?.deletionTimestamp === undefined && status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true
  );
}

export interface Settling {
  readonly daemon?: string;
  /** Components that are not expected to run. */
  readonly except?: readonly Component[];
  readonly timeoutMs?: number;
  /** Whether what is stored must be proven, too. */
  readonly stored?: boolean;
}

/** Each component has one pod, which is Ready, and no copy is active but the daemon's own. Throws what is missing. */
export async function settled(node: RealNode, options: Settling = {}): Promise<void> {
  let missing = 'nothing was looked at';
  const timeoutMs = options.timeoutMs ?? 120_000;
  try {
    await eventually(async () => {
      missing = await unsettled(node, options).catch((error: Error) => error.message);
      return missing === '';
    }, timeoutMs);
  } catch {
    throw new Error(`the node did not come to rest within ${timeoutMs / 1000} s: ${missing}`);
  }
}

/** Manifests in the kubelet's directory, the daemon's own left out. */
export async function activeCopies(node: RealNode, daemon: string): Promise<string[]> {
  const own = daemon === 'pod-checkpointer' ? 'pod-checkpointer-ds' : daemon;
  return (await node.manifests()).filter((name) => !name.includes(own));
}

/** What is missing; empty where nothing is. What costs the node nothing to ask comes first. */
async function unsettled(node: RealNode, { daemon = 'pod-checkpointer', except = [], stored = false }: Settling): Promise<string> {
  const active = await activeCopies(node, daemon);
  if (active.length > 0) return `in the kubelet's directory: ${active.join(', ')}`;
  if (!node.isReady) return 'the API server does not answer';
  const store = daemon === 'pod-checkpointer' ? await unsettledStore(node, except, stored) : '';
  if (store !== '') return store;
  const all = await allPods(node);
  for (const component of COMPONENTS.filter((one) => !except.includes(one))) {
    const pods = all.filter(isOf(component));
    if (pods.length !== 1 || !pods.every(isReadyPod)) return `${component}: ${pods.map(describePod).join(', ') || 'no pod'}`;
  }
  return '';
}

async function unsettledStore(node: RealNode, except: readonly Component[], stored: boolean): Promise<string> {
  const status = await node.status();
  if (status === undefined) return 'the daemon has no status yet';
  const bootId = (await readFile(node.bootIdFile, 'utf8')).trim();
  if (status.bootId !== bootId) return 'the daemon has not led since the boot';
  for (const component of COMPONENTS.filter((one) => !except.includes(one))) {
    const one = Object.values(status.workloads).find(({ name }) => name === component);
    if (one === undefined || (stored && one.reason !== 'Protected') || one.active !== undefined)
      return `${component}: ${one?.reason ?? 'not in the status'}`;
  }
  const self = Object.values(status.workloads).find((one) => one.self === true);
  return self?.active === undefined ? `the checkpointer itself: ${self?.reason ?? 'not in the status'}` : '';
}

function describePod({ metadata, status }: V1Pod): string {
  const waiting = status?.containerStatuses?.[0]?.state?.waiting?.reason ?? '';
  return `${metadata?.name} ${status?.phase ?? ''}${metadata?.deletionTimestamp === undefined ? '' : ' is being deleted'} ${waiting}`.trim();
}
