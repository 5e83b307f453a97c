/** The Deployment controller: one ReplicaSet for each template, replicas moved from the old ones to the new one. */

import { createHash } from 'node:crypto';
import type { V1DeploymentSpec } from '@kubernetes/client-node';
import { safeEncode } from '../apiserver/names.ts';
import { canonical, type KubeObject, sameValue } from '../apiserver/objects.ts';
import type { ApiClient } from './client.ts';
import { isControlledBy } from './daemonset/controller.ts';
import { ownerReference } from './daemonset/template.ts';
import type { Informer } from './informer.ts';
import type { ReplicaSet } from './replicas.ts';
import { reportStatus, unlessGone } from './writes.ts';

const TEMPLATE_HASH = 'pod-template-hash';

export interface Deployment extends KubeObject {
  spec: V1DeploymentSpec;
}

export interface DeploymentPlan {
  /** The ReplicaSet of the present template has to be made, with this many replicas. */
  readonly create: number | undefined;
  readonly scale: readonly { readonly set: ReplicaSet; readonly replicas: number }[];
  readonly status: object;
}

/** The next step from what the ReplicaSets say of themselves. */
export function planDeployment(deployment: Deployment, sets: readonly ReplicaSet[]): DeploymentPlan {
  const desired = deployment.spec.replicas ?? 1;
  const hash = templateHash(deployment);
  const current = sets.find((set) => set.metadata.labels?.[TEMPLATE_HASH] === hash);
  const old = sets.filter((set) => set !== current);
  const status = statusOf(deployment, sets, current);
  if (deployment.metadata.deletionTimestamp !== undefined) return { create: undefined, scale: [], status };
  const oldLeft = sum(old.map(replicasOf)) + sum(old.map(existing));
  const recreate = deployment.spec.strategy?.type === 'Recreate';
  const { surge, unavailable } = limitsOf(deployment, desired);

  const have = current === undefined ? 0 : replicasOf(current);
  const room = recreate ? (oldLeft === 0 ? desired : 0) : desired + surge - sum(old.map(replicasOf));
  const wanted = Math.max(0, Math.min(desired, Math.max(have, room)));
  const grow = current === undefined || wanted === have ? [] : [{ set: current, replicas: wanted }];
  if (recreate) return { create: current === undefined ? wanted : undefined, scale: [...grow, ...toZero(old)], status };

  // Old pods that are not available go first, but never more pods than can be missed if every new one that is not available stays so:
  // what the ReplicaSets report may be a moment old.
  const least = desired - unavailable;
  const newAvailable = current === undefined ? 0 : available(current);
  let removable = have + sum(old.map(replicasOf)) - least - (have - newAvailable);
  let spare = newAvailable + sum(old.map(available)) - least;
  const shrink = old.flatMap((set) => {
    const broken = Math.min(replicasOf(set) - available(set), Math.max(0, removable));
    removable -= broken;
    const healthy = Math.min(available(set), Math.max(0, spare), Math.max(0, removable));
    removable -= healthy;
    spare -= healthy;
    const replicas = replicasOf(set) - broken - healthy;
    return replicas === replicasOf(set) ? [] : [{ set, replicas }];
  });
  return { create: current === undefined ? wanted : undefined, scale: [...grow, ...shrink], status };
}

export async function runDeployments(client: ApiClient, deployments: Informer, sets: Informer): Promise<void> {
  if (!deployments.synced() || !sets.synced()) return;
  for (const object of deployments.objects()) {
    const deployment = object as Deployment;
    const own = sets.objects().filter((set) => isControlledBy(set, deployment)) as ReplicaSet[];
    const plan = planDeployment(deployment, own);
    const path = `/apis/apps/v1/namespaces/${deployment.metadata.namespace}/replicasets`;
    if (plan.create !== undefined) sets.absorb((await client.request('POST', path, replicaSetOf(deployment, plan.create))) as KubeObject);
    for (const { set, replicas } of plan.scale) {
      const options = { contentType: 'application/merge-patch+json' };
      const answer = await unlessGone(() => client.request('PATCH', `${path}/${set.metadata.name}`, { spec: { replicas } }, options));
      if (answer !== undefined) sets.absorb(answer as KubeObject);
    }
    if (!sameValue(plan.status, deployment.status)) await reportStatus(client, deployments, 'deployments', deployment, plan.status);
  }
}

function templateHash(deployment: Deployment): string {
  const digest = createHash('sha256').update(canonical(deployment.spec.template)).digest();
  return safeEncode(String(digest.readUInt32BE(0)));
}

function replicaSetOf(deployment: Deployment, replicas: number): object {
  const hash = { [TEMPLATE_HASH]: templateHash(deployment) };
  const { template, selector } = deployment.spec;
  const labels = { ...template.metadata?.labels, ...hash };
  return {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: {
      name: `${deployment.metadata.name}-${hash[TEMPLATE_HASH]}`,
      namespace: deployment.metadata.namespace,
      labels,
      ownerReferences: [ownerReference(deployment)],
    },
    spec: {
      replicas,
      selector: { ...selector, matchLabels: { ...selector.matchLabels, ...hash } },
      template: { ...template, metadata: { ...template.metadata, labels } },
    },
  };
}

/** Percentages round up for the surge and down for the unavailable; both cannot be 0. */
function limitsOf(deployment: Deployment, desired: number): { surge: number; unavailable: number } {
  const { maxSurge = '25%', maxUnavailable = '25%' } = deployment.spec.strategy?.rollingUpdate ?? {};
  const count = (value: unknown, round: (share: number) => number) => {
    const text = String(value);
    return text.endsWith('%') ? round((Number(text.slice(0, -1)) * desired) / 100) : Number(text);
  };
  const surge = count(maxSurge, Math.ceil);
  const unavailable = count(maxUnavailable, Math.floor);
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

function toZero(sets: readonly ReplicaSet[]): { set: ReplicaSet; replicas: number }[] {
  return sets.filter((set) => replicasOf(set) > 0).map((set) => ({ set, replicas: 0 }));
}

function statusOf(deployment: Deployment, sets: readonly ReplicaSet[], current: ReplicaSet | undefined): object {
  const ready = sum(sets.map(available));
  return {
    observedGeneration: deployment.metadata.generation ?? 1,
    replicas: sum(sets.map(existing)),
    updatedReplicas: current === undefined ? 0 : existing(current),
    readyReplicas: ready,
    availableReplicas: ready,
    unavailableReplicas: Math.max(0, (deployment.spec.replicas ?? 1) - ready),
  };
}

function replicasOf(set: ReplicaSet): number {
  return set.spec.replicas ?? 1;
}

function existing(set: ReplicaSet): number {
  return (set.status as { replicas?: number } | undefined)?.replicas ?? 0;
}

/** A ReplicaSet that was just scaled down still reports the pods that go: they are not counted. */
function available(set: ReplicaSet): number {
  const reported = (set.status as { availableReplicas?: number } | undefined)?.availableReplicas ?? 0;
  return Math.min(reported, replicasOf(set));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
