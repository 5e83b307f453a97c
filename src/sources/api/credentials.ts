/**
 * What a connection needs to prove who it is and whom it talks to. Files are read again when they changed: the kubelet replaces
 * kubelet-client-current.pem before its certificate ends, and a projected token is replaced every hour.
 */
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { type ExecCredential, runExecPlugin } from './exec-plugin.ts';
import type { Kubeconfig, Pem } from './kubeconfig.ts';

export interface Identity {
  readonly context: SecureContext;
  /** The value of the Authorization header, where there is one. */
  readonly authorization: string | undefined;
}

export interface Credentials {
  /**
   * The identity as the files have it now: the same object as before while nothing changed.
   * @throws Error with one line that names the file or plugin at fault.
   */
  current(): Promise<Identity>;
  /** The API server answered 401: what a plugin gave before is not to be used again. */
  refused(): void;
  /** Ends a plugin that still runs. */
  close(): void;
}

/** @param now milliseconds since the epoch, for the end of a plugin's credentials. */
export function createCredentials(config: Kubeconfig, now: () => number = Date.now): Credentials {
  const files = filesOf(config);
  let last: { readonly stamp: string; readonly identity: Identity; readonly expiresAt: number | undefined } | undefined;
  let reading: Promise<Identity> | undefined;
  const closed = new AbortController();

  async function read(): Promise<Identity> {
    const stamp = (await Promise.all(files.map(stampOf))).join('\n');
    if (last !== undefined && last.stamp === stamp && (last.expiresAt === undefined || now() < last.expiresAt)) return last.identity;
    const { identity, expiresAt } = await readIdentity(config, closed.signal);
    last = { stamp, identity, expiresAt };
    return identity;
  }

  return {
    current() {
      // Many watches open at once when an API server comes back: one of them reads.
      reading ??= read().finally(() => {
        reading = undefined;
      });
      return reading;
    },
    refused() {
      if (config.login.kind === 'exec') last = undefined;
    },
    close() {
      closed.abort();
    },
  };
}

function filesOf(config: Kubeconfig): string[] {
  const pems = [config.ca, ...(config.login.kind === 'certificate' ? [config.login.certificate, config.login.key] : [])];
  const paths = pems.flatMap((pem) => (pem?.from === 'file' ? [pem.path] : []));
  return config.login.kind === 'tokenFile' ? [...paths, config.login.path] : paths;
}

/** Follows symbolic links: kubelet-client-current.pem and a projected token are links whose target is exchanged. */
async function stampOf(file: string): Promise<string> {
  try {
    const s = await stat(file, { bigint: true });
    return `${s.dev}:${s.ino}:${s.size}:${s.mtimeNs}`;
  } catch {
    return 'unreadable';
  }
}

async function readIdentity(config: Kubeconfig, signal: AbortSignal): Promise<{ identity: Identity; expiresAt: number | undefined }> {
  const ca = config.ca === undefined ? undefined : await readPem(config.ca, 'certificate authority');
  switch (config.login.kind) {
    case 'certificate': {
      const certificate = await readPem(config.login.certificate, 'client certificate');
      const key = await readPem(config.login.key, 'client key');
      return { identity: { context: contextOf(config, ca, { certificate, key }), authorization: undefined }, expiresAt: undefined };
    }
    case 'token':
      return {
        identity: { context: contextOf(config, ca, undefined), authorization: `Bearer ${config.login.token}` },
        expiresAt: undefined,
      };
    case 'tokenFile': {
      const token = (await readNamed(config.login.path, 'token')).trim();
      if (token === '') throw new Error(`token ${config.login.path} is empty`);
      return { identity: { context: contextOf(config, ca, undefined), authorization: `Bearer ${token}` }, expiresAt: undefined };
    }
    case 'exec': {
      const given: ExecCredential = await runExecPlugin(config.login.plugin, { server: config.server.href, ca }, signal);
      const authorization = given.token === undefined ? undefined : `Bearer ${given.token}`;
      return { identity: { context: contextOf(config, ca, given.certificate), authorization }, expiresAt: given.expiresAt };
    }
  }
}

function contextOf(config: Kubeconfig, ca: string | undefined, pair: { certificate: string; key: string } | undefined): SecureContext {
  try {
    return createSecureContext({
      ...(ca !== undefined && { ca }),
      ...(pair !== undefined && { cert: pair.certificate, key: pair.key }),
      minVersion: 'TLSv1.2',
    });
  } catch (error) {
    // OpenSSL says what is wrong with the PEM, not which one: a key that does not belong to its certificate is seen while it is being replaced.
    throw new Error(`${config.file}: the certificates of context "${config.context}" cannot be used: ${(error as Error).message}`);
  }
}

async function readPem(pem: Pem, what: string): Promise<string> {
  return pem.from === 'data' ? pem.pem : readNamed(pem.path, what);
}

async function readNamed(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(`${what} ${file} cannot be read: ${(error as Error).message}`);
  }
}
