/** The versions of a self-hosted control plane, read with the identities that the checkpointer has: the node's own, and the one that reads owners. */
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { CONFIG_MIRROR } from '../checkpoint/annotations.ts';
import { createApiClient, type RequestOptions } from '../sources/api/client.ts';
import type { Kubeconfig } from '../sources/api/kubeconfig.ts';
import { COMPONENTS, type Component, fields, mainContainer, NAMESPACE } from './component.ts';
import type { Versions } from './skew.ts';

/** Undefined where they cannot be read. Never throws. Asks for at most `timeoutMs` milliseconds, each question. */
export async function readVersions(
  node: Kubeconfig,
  owners: Kubeconfig,
  nodeName: string,
  timeoutMs: number,
): Promise<Versions | undefined> {
  const [asNode, asOwners] = [createApiClient(node), createApiClient(owners)];
  const options = (query?: Readonly<Record<string, string>>): RequestOptions => ({
    signal: AbortSignal.timeout(timeoutMs),
    headTimeoutMs: timeoutMs,
    bodyTimeoutMs: timeoutMs,
    ...(query === undefined ? {} : { query }),
  });
  try {
    const [object, pods, ...sets] = await Promise.all([
      asNode.get(`/api/v1/nodes/${nodeName}`, options()),
      asNode.get(`/api/v1/namespaces/${NAMESPACE}/pods`, options({ fieldSelector: `spec.nodeName=${nodeName}` })),
      ...COMPONENTS.map((component) => asOwners.get(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/${component}`, options())),
    ]);
    if (pods.kind !== 'ok') return undefined;
    const items = fields(pods.body)['items'];
    const wanted = new Map<Component, string>();
    const running = new Map<Component, string>();
    for (const [i, component] of COMPONENTS.entries()) {
      const set = sets[i];
      const image = set?.kind === 'ok' ? imageOf(component, (set.body as V1DaemonSet).spec?.template.spec?.containers ?? []) : undefined;
      if (image === undefined) continue;
      wanted.set(component, image);
      const oldest = (Array.isArray(items) ? (items as V1Pod[]) : []).find((pod) => isPodOf(component, pod));
      const runs = imageOf(component, oldest?.spec?.containers ?? []);
      if (runs !== undefined) running.set(component, runs);
    }
    const info = fields(fields(fields(object.kind === 'ok' ? object.body : undefined)['status'])['nodeInfo'])['kubeletVersion'];
    return { wanted, running, kubelet: typeof info === 'string' ? info : undefined };
  } finally {
    asNode.close();
    asOwners.close();
  }
}

const imageOf = (component: Component, containers: NonNullable<V1Pod['spec']>['containers']): string | undefined =>
  mainContainer(component, containers)?.image;

/** Ready: during a rollout that is the old one until the new one has taken over. */
function isPodOf(component: Component, { metadata, status }: V1Pod): boolean {
  return (
    metadata?.annotations?.[CONFIG_MIRROR] === undefined &&
    metadata?.ownerReferences?.some(({ kind, name }) => kind === 'DaemonSet' && name === component) === true &&
    status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true
  );
}
