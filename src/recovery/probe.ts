/**
 * One question to the kubeconfig's endpoint, before anything else runs on the node: is there a control plane that answers?
 *
 * The answer is there within the time given, whatever the network does, and nothing that is still going on keeps the process from ending. So a name is not
 * left to getaddrinfo in this process: with a dead name server that runs for 10 s in a thread that the end of the process waits for. getent(1) asks the same
 * sources (/etc/hosts, DNS, whatever nsswitch.conf says) and can be killed.
 */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, isIP } from 'node:net';
import { promisify } from 'node:util';
import type { ApiState, Millis } from '../checkpoint/model.ts';
import { isErrno } from '../platform/durable.ts';
import type { Kubeconfig } from '../sources/api/kubeconfig.ts';

/** setTimeout fires at once for more than this, in milliseconds. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** Of one name at the most: they are asked side by side. */
const ADDRESSES = 8;

/**
 * Asks for at most `givenMs` milliseconds; 0 asks nobody. A kubeconfig that cannot be read is no reason to stay down: it counts as unreachable, with the reason.
 * A plain connection is tried first. On a single master nothing listens yet, and TLS, YAML aside the dearest thing to load, is not needed to hear that.
 */
export async function askControlPlane(kubeconfigFile: string, givenMs: Millis): Promise<ApiState> {
  if (givenMs <= 0) return { state: 'unreachable', detail: 'not asked' };
  const timeoutMs = Math.min(givenMs, LONGEST_TIMER);
  const ended = new AbortController();
  const late = new Promise<never>((_, reject) => ended.signal.addEventListener('abort', () => reject(ended.signal.reason)));
  const timer = setTimeout(() => ended.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([ask(kubeconfigFile, timeoutMs, ended.signal), late]);
  } catch (error) {
    const reason: unknown = ended.signal.aborted ? ended.signal.reason : error;
    return { state: 'unreachable', detail: reason instanceof Error ? reason.message : String(reason) };
  } finally {
    clearTimeout(timer);
    ended.abort();
  }
}

async function ask(kubeconfigFile: string, timeoutMs: Millis, signal: AbortSignal): Promise<ApiState> {
  const { loadKubeconfig } = await import('../sources/api/kubeconfig.ts');
  const kubeconfig = await loadKubeconfig(kubeconfigFile);
  const name = kubeconfig.server.hostname.replace(/^\[|\]$/g, '');
  const addresses = isIP(name) === 0 ? await addressesOf(name, signal) : [name];
  const answers = addresses.slice(0, ADDRESSES).map((address) => askAt(kubeconfig, { name, address }, timeoutMs, signal));
  try {
    // One of several that answers is enough.
    return await Promise.any(answers);
  } catch (error) {
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}

interface Endpoint {
  readonly name: string;
  readonly address: string;
}

/** Rejects where nobody answers. */
async function askAt(kubeconfig: Kubeconfig, { name, address }: Endpoint, timeoutMs: Millis, signal: AbortSignal): Promise<ApiState> {
  const { server, serverName } = kubeconfig;
  await listens(address, server.port === '' ? 443 : Number(server.port), signal);
  const { createApiClient } = await import('../sources/api/client.ts');
  const there = new URL(server);
  there.hostname = isIP(address) === 6 ? `[${address}]` : address;
  // Asked by its address, verified by its name.
  const client = createApiClient({ ...kubeconfig, server: there, serverName: serverName ?? (name === address ? undefined : name) });
  signal.addEventListener('abort', () => client.close());
  const answer = await client.probe('/readyz', { signal, headTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs });
  client.close();
  if (answer.kind === 'ok') return { state: 'ok' };
  if (answer.kind === 'denied') return { state: 'denied', detail: answer.detail };
  throw new Error(answer.detail);
}

async function listens(host: string, port: number, signal: AbortSignal): Promise<void> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect', { signal });
  } finally {
    socket.destroy();
  }
}

async function addressesOf(name: string, signal: AbortSignal): Promise<string[]> {
  // To getent it would be an option.
  if (name.startsWith('-')) throw new Error(`${name}: not the name of a host`);
  try {
    const { stdout } = await promisify(execFile)('getent', ['ahosts', name], { signal, killSignal: 'SIGKILL' });
    return [...new Set(stdout.split('\n').map((line) => line.split(/\s/)[0] ?? ''))].filter((address) => isIP(address) !== 0);
  } catch (error) {
    signal.throwIfAborted();
    if (isErrno(error, 'ENOENT')) return addressesWithoutGetent(name, signal);
    throw new Error(`${name}: the name of the API server is not known`);
  }
}

/** In an image without libc's programs: /etc/hosts, else DNS by a resolver of its own, which can be cancelled. */
export async function addressesWithoutGetent(name: string, signal: AbortSignal, hosts = '/etc/hosts'): Promise<string[]> {
  const local = (await readFile(hosts, 'utf8').catch(() => '')).split('\n').flatMap((line) => {
    const [address = '', ...names] = line.replace(/#.*/, '').trim().split(/\s+/);
    return isIP(address) !== 0 && names.includes(name) ? [address] : [];
  });
  if (local.length > 0) return local;
  const { Resolver } = await import('node:dns/promises');
  const resolver = new Resolver();
  signal.addEventListener('abort', () => resolver.cancel());
  const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  signal.throwIfAborted();
  const addresses = found.flatMap((one) => (one.status === 'fulfilled' ? one.value : []));
  if (addresses.length === 0) throw new Error(`${name}: the name of the API server is not known`);
  return addresses;
}
