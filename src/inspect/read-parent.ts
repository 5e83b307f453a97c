/**
 * The parent as the API server has it, and the objects that it names: each asked for once, by name, which is what the node's identity may do. Nothing is
 * changed, no token is asked for.
 */
import type { V1PersistentVolume, V1PersistentVolumeClaim, V1Pod } from '@kubernetes/client-node';
import type { ApiObject, ObjectLookup, ObjectRef, ObjectState } from '../checkpoint/copy-types.ts';
import { KUBERNETES_SERVICE, objectKey, objectReferences } from '../checkpoint/references.ts';
import type { Answer } from '../sources/api/answer.ts';
import { type ApiClient, createApiClient } from '../sources/api/client.ts';
import { loadKubeconfig } from '../sources/api/kubeconfig.ts';

export type ReadParent =
  | { readonly state: 'read'; readonly pod: V1Pod; readonly lookup: ObjectLookup }
  | { readonly state: 'unknown'; readonly detail: string };

/** Stands for a token: what it says is of no matter to whoever compares copies. */
const NO_TOKEN = { token: '', renewAt: '1970-01-01T00:00:00.000Z', expiresAt: '1970-01-01T00:00:00.000Z' };

export async function readParent(kubeconfigFile: string, namespace: string, name: string, timeoutMs: number): Promise<ReadParent> {
  const signal = AbortSignal.timeout(timeoutMs);
  let client: ApiClient | undefined;
  try {
    const open = createApiClient(await loadKubeconfig(kubeconfigFile));
    client = open;
    const get = (path: string) => open.get(path, { signal, headTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs });
    const answer = await get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`);
    if (answer.kind !== 'ok') return { state: 'unknown', detail: answer.detail };
    const pod = { apiVersion: 'v1', kind: 'Pod', ...(answer.body as V1Pod) };
    const refs = [...objectReferences(pod), KUBERNETES_SERVICE];
    const states = new Map(await Promise.all(refs.map(async (ref) => [objectKey(ref), await readObject(get, ref)] as const)));
    return { state: 'read', pod, lookup: (ref) => states.get(objectKey(ref)) ?? { state: 'unknown', detail: 'not asked for' } };
  } catch (error) {
    return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
  } finally {
    client?.close();
  }
}

type Get = (path: string) => Promise<Answer<unknown>>;

async function readObject(get: Get, ref: ObjectRef): Promise<ObjectState<ApiObject>> {
  const [namespace, name] = [encodeURIComponent(ref.namespace), encodeURIComponent(ref.name)];
  switch (ref.kind) {
    case 'Token':
      return { state: 'present', object: NO_TOKEN };
    case 'ClusterTrustBundle':
      return { state: 'unknown', detail: 'trust bundles are not read here' };
    case 'PersistentVolumeClaim': {
      const claim = stateOf(await get(`/api/v1/namespaces/${namespace}/persistentvolumeclaims/${name}`));
      if (claim.state !== 'present') return claim;
      const object = claim.object as V1PersistentVolumeClaim;
      const volumeName = object.spec?.volumeName ?? '';
      const volume = stateOf(await get(`/api/v1/persistentvolumes/${encodeURIComponent(volumeName)}`)) as ObjectState<V1PersistentVolume>;
      return { state: 'present', object: { claim: object, volume } };
    }
    case 'Node':
      return stateOf(await get(`/api/v1/nodes/${name}`));
    default:
      return stateOf(await get(`/api/v1/namespaces/${namespace}/${ref.kind.toLowerCase()}s/${name}`));
  }
}

function stateOf(answer: Answer<unknown>): ObjectState<ApiObject> {
  if (answer.kind === 'ok') return { state: 'present', object: answer.body as ApiObject };
  if (answer.kind === 'status' && answer.status === 404) return { state: 'absent' };
  return { state: answer.kind === 'denied' ? 'denied' : 'unknown', detail: answer.detail };
}
