/** One question to the kubeconfig's endpoint, before anything else runs on the node: is there a control plane that answers? */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { ApiState, Millis } from '../checkpoint/model.ts';

/**
 * Asks for at most `timeoutMs`; 0 asks nobody. A kubeconfig that cannot be read is no reason to stay down: it counts as unreachable, with the reason.
 * A plain connection is tried first. On a single master nothing listens yet, and TLS, YAML aside the dearest thing to load, is not needed to hear that.
 */
export async function askControlPlane(kubeconfigFile: string, timeoutMs: Millis): Promise<ApiState> {
  if (timeoutMs <= 0) return { state: 'unreachable', detail: 'not asked' };
  const ended = new AbortController();
  const timer = setTimeout(() => ended.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    const { loadKubeconfig } = await import('../sources/api/kubeconfig.ts');
    const kubeconfig = await loadKubeconfig(kubeconfigFile);
    const { hostname, port } = kubeconfig.server;
    await listens(hostname.replace(/^\[|\]$/g, ''), port === '' ? 443 : Number(port), ended.signal);
    const { createApiClient } = await import('../sources/api/client.ts');
    const client = createApiClient(kubeconfig);
    const answer = await client.probe('/readyz', { signal: ended.signal, headTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs });
    client.close();
    ended.signal.throwIfAborted();
    if (answer.kind === 'ok') return { state: 'ok' };
    return { state: answer.kind === 'denied' ? 'denied' : 'unreachable', detail: answer.detail };
  } catch (error) {
    const reason: unknown = ended.signal.aborted ? ended.signal.reason : error;
    return { state: 'unreachable', detail: reason instanceof Error ? reason.message : String(reason) };
  } finally {
    clearTimeout(timer);
  }
}

async function listens(host: string, port: number, signal: AbortSignal): Promise<void> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect', { signal });
  } finally {
    socket.destroy();
  }
}
