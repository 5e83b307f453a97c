/**
 * One master at a time: a Lease that names the node whose pivot is under way. It does not run out: a node that lost its power half way is still half way, and
 * the next master must wait until somebody has gone on, or back, there.
 */
import type { V1Lease } from '@kubernetes/client-node';
import type { Cluster } from './cluster.ts';
import { NAMESPACE } from './component.ts';

export const LEASE = 'pod-checkpointer-pivot';

export class PivotElsewhereError extends Error {
  override readonly name = 'PivotElsewhereError';
}

/** Taken again by the node that has it. Throws PivotElsewhereError where another node has it, ClusterError. */
export async function takeLease(cluster: Cluster, node: string, now: Date): Promise<void> {
  for (;;) {
    const holder = await leaseHolder(cluster);
    if (holder === node) return;
    if (holder !== undefined)
      throw new PivotElsewhereError(
        `node ${holder} is in the middle of a pivot: end it there with checkpointer pivot or unpivot; if that node is gone for good, kubectl -n ${NAMESPACE} delete lease ${LEASE}`,
      );
    // MicroTime: six digits behind the point.
    const time = now.toISOString().replace('Z', '000Z');
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: LEASE, namespace: NAMESPACE },
      spec: { holderIdentity: node, acquireTime: time, renewTime: time },
    };
    if (await cluster.createLease(lease as unknown as V1Lease)) return;
  }
}

/** Undefined: nobody. */
export async function leaseHolder(cluster: Cluster): Promise<string | undefined> {
  const lease = await cluster.lease(LEASE);
  return lease === undefined ? undefined : (lease.spec?.holderIdentity ?? 'somebody');
}

export async function releaseLease(cluster: Cluster, node: string): Promise<void> {
  if ((await leaseHolder(cluster)) === node) await cluster.deleteLease(LEASE);
}
