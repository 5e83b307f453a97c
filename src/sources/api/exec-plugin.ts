/** Runs a credential plugin of a kubeconfig (client.authentication.k8s.io) and reads the ExecCredential that it prints. */
import { spawn } from 'node:child_process';
import type { ExecPlugin } from './kubeconfig.ts';

export interface ExecCredential {
  readonly token: string | undefined;
  readonly certificate: { readonly certificate: string; readonly key: string } | undefined;
  /** Milliseconds since the epoch; undefined: good until the API server refuses it. */
  readonly expiresAt: number | undefined;
}

const DEADLINE_MS = 30_000;
const OUTPUT_LIMIT = 1024 * 1024;

/** @throws Error with one line that names the command; never with what the command printed on stdout. */
export async function runExecPlugin(
  plugin: ExecPlugin,
  cluster: { server: string; ca: string | undefined },
  signal: AbortSignal,
): Promise<ExecCredential> {
  const info = {
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(plugin.provideClusterInfo && {
        cluster: {
          server: cluster.server,
          ...(cluster.ca !== undefined && { 'certificate-authority-data': Buffer.from(cluster.ca).toString('base64') }),
        },
      }),
    },
  };
  const env = {
    ...process.env,
    ...Object.fromEntries(plugin.env.map((e) => [e.name, e.value])),
    KUBERNETES_EXEC_INFO: JSON.stringify(info),
  };
  return parseExecCredential(await outputOf(plugin, env, signal), plugin);
}

function outputOf(plugin: ExecPlugin, env: NodeJS.ProcessEnv, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`credential plugin ${plugin.command}: ${why}`));
    const child = spawn(plugin.command, plugin.args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
      signal,
      timeout: DEADLINE_MS,
      killSignal: 'SIGKILL',
    });
    const stdout: Buffer[] = [];
    let size = 0;
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > OUTPUT_LIMIT) child.kill('SIGKILL');
      else stdout.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < 1024) stderr += chunk.toString('utf8');
    });
    child.on('error', (error) => fail(error.message));
    child.on('close', (code, signal) => {
      if (size > OUTPUT_LIMIT) fail(`printed more than ${OUTPUT_LIMIT} bytes`);
      else if (code !== 0) fail(`ended with ${signal ?? `exit code ${code}`}: ${firstLine(stderr)}`);
      else resolve(Buffer.concat(stdout).toString('utf8'));
    });
  });
}

function firstLine(text: string): string {
  return (text.trim().split('\n')[0] ?? '').slice(0, 200);
}

export function parseExecCredential(output: string, plugin: ExecPlugin): ExecCredential {
  const expected = `expected an ExecCredential of ${plugin.apiVersion} with status.token or status.clientCertificateData and clientKeyData`;
  let parsed: { apiVersion?: unknown; status?: Record<string, unknown> } | null;
  try {
    parsed = JSON.parse(output);
  } catch {
    throw new Error(`credential plugin ${plugin.command}: its output is not JSON, ${expected}`);
  }
  const text = (key: string) => {
    const value = parsed?.status?.[key];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const [token, certificate, key, expiry] = ['token', 'clientCertificateData', 'clientKeyData', 'expirationTimestamp'].map(text);
  const pair = certificate !== undefined && key !== undefined ? { certificate, key } : undefined;
  if (parsed?.apiVersion !== plugin.apiVersion || (token === undefined && pair === undefined)) {
    throw new Error(`credential plugin ${plugin.command}: ${expected}`);
  }
  const expiresAt = expiry === undefined ? Number.NaN : Date.parse(expiry);
  return { token, certificate: pair, expiresAt: Number.isNaN(expiresAt) ? undefined : expiresAt };
}
