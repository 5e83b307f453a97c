/**
 * An ApiClient that follows its kubeconfig: when the file is another one than it was read from (a server that moved, a certificate that stands in the file
 * itself, which kubeadm renews), requests go where it leads now, as who it says now. The files that a kubeconfig names are looked at by credentials.ts.
 *
 *  1. The file is looked at before each request, and when somebody says that it may have changed: a watch that is open asks for nothing.
 *  2. A file that cannot be used changes nothing: it may be half written. It is said once, and read again when it is another one.
 *  3. What is under way as the old one is ended, as unreachable; a watch is opened again at once (reflector.ts).
 */
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { type ApiClient, createApiClient } from './client.ts';
import type { Kubeconfig } from './kubeconfig.ts';

export interface ReloadingClient extends ApiClient {
  /** Looks at the file now. Never rejects. */
  refresh(): Promise<void>;
}

export interface ReloadLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/**
 * @param first as it was read, which may have been long ago
 * @param load reads `first.file` anew; rejects where that cannot be used
 */
export function createReloadingClient(first: Kubeconfig, load: () => Promise<Kubeconfig>, log: ReloadLog): ReloadingClient {
  let config = first;
  let client = createApiClient(first);
  let stamp: string | undefined;
  let looking: Promise<void> | undefined;
  let closed = false;

  async function look(): Promise<void> {
    const now = await stampOf(first.file);
    if (now === stamp || closed) return;
    // Before it is read: one that changes meanwhile is read again.
    stamp = now;
    let read: Kubeconfig;
    try {
      read = await load();
    } catch (error) {
      log.warn(
        { error: error instanceof Error ? error.message : String(error) },
        'the kubeconfig changed and cannot be used: what it said before counts',
      );
      return;
    }
    if (closed || isDeepStrictEqual(read, config)) return;
    log.info({ kubeconfig: read.file, from: config.server.href, to: read.server.href }, 'the kubeconfig changed: what it says now counts');
    const old = client;
    config = read;
    client = createApiClient(read);
    old.close();
  }

  function refresh(): Promise<void> {
    looking ??= look().finally(() => {
      looking = undefined;
    });
    return looking;
  }

  async function current(): Promise<ApiClient> {
    await refresh();
    return client;
  }

  return {
    get server() {
      return client.server;
    },
    get: async (path, options) => (await current()).get(path, options),
    post: async (path, body, options) => (await current()).post(path, body, options),
    patch: async (path, body, options) => (await current()).patch(path, body, options),
    delete: async (path, body, options) => (await current()).delete(path, body, options),
    probe: async (path, options) => (await current()).probe(path, options),
    watch: async (path, options) => (await current()).watch(path, options),
    refresh,
    close() {
      closed = true;
      client.close();
    },
  };
}

/** Follows links. A file that is gone is as it was until there is one again. */
async function stampOf(file: string): Promise<string> {
  const found = await stat(file, { bigint: true }).catch(() => undefined);
  return found === undefined ? 'gone' : `${found.dev}:${found.ino}:${found.size}:${found.mtimeNs}:${found.ctimeNs}`;
}
