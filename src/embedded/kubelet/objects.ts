/** Secrets, ConfigMaps and the writes of the kubelet, as requests of the node's own identity. */
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import type { ObjectReader, TokenRequest } from './environment.ts';
import type { Pod } from './pod.ts';

/** How long the kubelet waits for an object that it has not read before (pkg/kubelet/util/manager/watch_based_manager.go). */
const FIRST_READ_MS = 1000;

interface DataObject {
  readonly data?: Readonly<Record<string, string>>;
  readonly binaryData?: Readonly<Record<string, string>>;
}

/**
 * Reads Secrets and ConfigMaps. What was read once is remembered while the API server is away, as the kubelet's watches keep it; a kubelet that has
 * restarted remembers nothing.
 */
export function objectReader(client: ApiClient): ObjectReader {
  const known = new Map<string, ReadonlyMap<string, Buffer>>();
  const tokens = new Map<string, { readonly token: string; readonly renewAt: number }>();
  const read = async (resource: 'secrets' | 'configmaps', namespace: string, name: string) => {
    const path = `/api/v1/namespaces/${namespace}/${resource}/${name}`;
    try {
      const object = (await client.request('GET', path, undefined, { signal: AbortSignal.timeout(FIRST_READ_MS) })) as DataObject;
      const values = new Map<string, Buffer>();
      // A Secret's data is base64; a ConfigMap's is text, and its binaryData base64.
      for (const [key, value] of Object.entries(object.data ?? {}))
        values.set(key, Buffer.from(value, resource === 'secrets' ? 'base64' : 'utf8'));
      for (const [key, value] of Object.entries(object.binaryData ?? {})) values.set(key, Buffer.from(value, 'base64'));
      known.set(path, values);
      return values;
    } catch (error) {
      if (error instanceof AnswerError && error.code === 404) {
        known.delete(path);
        return undefined;
      }
      const remembered = known.get(path);
      if (remembered !== undefined && !(error instanceof AnswerError)) return remembered;
      throw new Error(`failed to sync ${resource === 'secrets' ? 'secret' : 'configmap'} cache: ${namespace}/${name} could not be read`, {
        cause: error,
      });
    }
  };
  return {
    secret: (namespace, name) => read('secrets', namespace, name),
    configMap: (namespace, name) => read('configmaps', namespace, name),
    token: async (pod, request) => {
      const key = `${pod.metadata.uid} ${request.audience ?? ''} ${request.expirationSeconds}`;
      const held = tokens.get(key);
      if (held !== undefined && Date.now() < held.renewAt) return held.token;
      const fresh = await requestToken(client, pod, request);
      tokens.set(key, fresh);
      return fresh.token;
    },
  };
}

/** A token is renewed when this part of its life is over (pkg/kubelet/token). */
const RENEW_AFTER = 0.8;

async function requestToken(
  client: ApiClient,
  pod: Pod,
  { audience, expirationSeconds }: TokenRequest,
): Promise<{ token: string; renewAt: number }> {
  const { name, namespace, uid } = pod.metadata;
  const path = `/api/v1/namespaces/${namespace}/serviceaccounts/${pod.spec.serviceAccountName ?? 'default'}/token`;
  const boundObjectRef = { apiVersion: 'v1', kind: 'Pod', name, uid };
  const spec = { audiences: audience === undefined ? [] : [audience], expirationSeconds, boundObjectRef };
  const answer = (await client.request('POST', path, { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec })) as {
    readonly status: { readonly token: string; readonly expirationTimestamp: string };
  };
  const now = Date.now();
  return { token: answer.status.token, renewAt: now + (Date.parse(answer.status.expirationTimestamp) - now) * RENEW_AFTER };
}

export function isNotFound(error: unknown): boolean {
  return error instanceof AnswerError && error.code === 404;
}

export function podPath(namespace: string, name: string): string {
  return `/api/v1/namespaces/${namespace}/pods/${name}`;
}

/** Deletes a pod at once. One that is gone, or another one under the name, is no error. */
export async function deletePod(client: ApiClient, namespace: string, name: string, uid: string | undefined): Promise<void> {
  const options = {
    apiVersion: 'v1',
    kind: 'DeleteOptions',
    gracePeriodSeconds: 0,
    ...(uid === undefined ? {} : { preconditions: { uid } }),
  };
  try {
    await client.request('DELETE', podPath(namespace, name), options);
  } catch (error) {
    if (!(error instanceof AnswerError && (error.code === 404 || error.code === 409))) throw error;
  }
}
