/** What a control plane's component has beside its work: flags, an exclusive port with its health, an end. */
import * as http from 'node:http';
import { durationFlag, type FlagSpec, type Flags, parseFlags, portFlag, requireFlag } from '../apiserver/flags.ts';
import { stopSignal } from '../stop-signal.ts';
import { type ApiClient, createClient } from './client.ts';
import { readKubeconfig } from './kubeconfig.ts';

const IGNORED = [
  'allocate-node-cidrs',
  'authentication-kubeconfig',
  'authorization-kubeconfig',
  'client-ca-file',
  'cloud-provider',
  'cluster-cidr',
  'cluster-name',
  'cluster-signing-cert-file',
  'cluster-signing-key-file',
  'controllers',
  'feature-gates',
  'leader-elect-lease-duration',
  'leader-elect-renew-deadline',
  'leader-elect-retry-period',
  'node-monitor-grace-period',
  'requestheader-client-ca-file',
  'root-ca-file',
  'service-account-private-key-file',
  'service-cluster-ip-range',
  'tls-cert-file',
  'tls-private-key-file',
  'v',
];

/**
 * Runs until SIGTERM. The work starts once the port is held, as with the real ones: a second instance on the node ends with EADDRINUSE, unless both
 * share it (`--permit-port-sharing`). There is no leader election: two of them both work.
 * `--start-delay` keeps it from starting work for that long, to play a slow component.
 */
export async function runComponent(
  defaultPort: number,
  argv: readonly string[],
  work: (client: ApiClient, signal: AbortSignal) => void,
): Promise<void> {
  const spec: FlagSpec = {
    values: { kubeconfig: '', 'secure-port': String(defaultPort), 'bind-address': '0.0.0.0', 'start-delay': '0s' },
    switches: ['leader-elect', 'permit-port-sharing', 'profiling', 'use-service-account-credentials'],
    ignored: IGNORED,
  };
  const flags = parseFlags(spec, argv);
  const client = createClient(readKubeconfig(requireFlag(flags, 'kubeconfig')));
  const abort = new AbortController();
  const stopAsked = stopSignal();
  const server = await serveHealth(flags);
  const start = setTimeout(() => work(client, abort.signal), durationFlag(flags, 'start-delay'));
  await stopAsked;
  clearTimeout(start);
  abort.abort();
  client.close();
  server.close();
  server.closeAllConnections();
}

/** Plain HTTP: nobody here checks a certificate on this port. Throws EADDRINUSE where it is taken. */
async function serveHealth(flags: Flags): Promise<http.Server> {
  const server = http.createServer((request, response) => {
    const known = /^\/(healthz|livez|readyz)(\/|$)/.test(request.url ?? '');
    response.writeHead(known ? 200 : 404, { 'Content-Type': 'text/plain' }).end(known ? 'ok' : 'not found');
  });
  const address = flags.value('bind-address');
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const port = portFlag(flags, 'secure-port');
    server.listen({ host: address, port, exclusive: true, reusePort: flags.isOn('permit-port-sharing') }, () => resolve());
  });
  const at = server.address();
  console.error(`Serving health on ${address}:${typeof at === 'object' && at !== null ? at.port : ''}`);
  return server;
}
