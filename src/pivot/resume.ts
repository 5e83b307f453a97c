/** A pivot that was begun, from what it wrote down: the manifests as they were then (or as they are to be put back), not as they lie there now. */
import type { V1Pod } from '@kubernetes/client-node';
import { nodeFacts } from './checks.ts';
import { type Component, parseStaticPod, type Refusal } from './component.ts';
import type { NodeFacts } from './daemonset.ts';
import { wantedOf } from './gather.ts';
import { type Journal, readBase } from './journal.ts';
import type { Wanted } from './secrets.ts';
import type { Session } from './session.ts';

export interface Resumed {
  readonly node: NodeFacts;
  readonly manifests: readonly { readonly component: Component; readonly pod: V1Pod }[];
  readonly wanted: ReadonlyMap<Component, Wanted>;
  readonly refusals: readonly Refusal[];
}

/** Throws ClusterError where the API server does not answer: without one nothing can be seen to be healthy. */
export async function resumed({ cluster }: Session, checkpointDir: string, journal: Journal): Promise<Resumed> {
  const object = await cluster.node(journal.node);
  const node = object === undefined ? undefined : nodeFacts(object);
  if (node === undefined)
    throw new Error(`there is no node ${journal.node}, or it has no InternalIP: this store's pivot was begun on that node`);
  const manifests = await Promise.all(
    journal.manifests.map(async ({ component, file }) => ({
      component,
      pod: parseStaticPod((await readBase(checkpointDir, journal.start, component)).toString('utf8'), file),
    })),
  );
  return { node, manifests, ...(await wantedOf(manifests, node, journal.credentials, cluster)) };
}
