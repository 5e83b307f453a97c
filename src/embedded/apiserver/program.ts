/** kube-apiserver, embedded: the program's flags, its start and its end. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stopSignal } from '../stop-signal.ts';
import { openAuditLog } from './audit.ts';
import type { ClusterState } from './authorize.ts';
import { createNamespaces } from './bootstrap.ts';
import { Faults } from './faults.ts';
import { durationFlag, type FlagSpec, parseFlags, portFlag, requireFlag, UsageError } from './flags.ts';
import { asPod, isMap } from './objects.ts';
import { Registry } from './registry.ts';
import { resourceNamed } from './resources.ts';
import { startServer } from './server.ts';
import { Storage } from './storage.ts';
import { createTokenIssuer } from './tokens.ts';
import { WatchCache } from './watch-cache.ts';

const FLAGS: FlagSpec = {
  values: {
    'secure-port': '6443',
    'bind-address': '0.0.0.0',
    'client-ca-file': '',
    'tls-cert-file': '',
    'tls-private-key-file': '',
    'etcd-servers': '',
    'shutdown-delay-duration': '0s',
    'authorization-mode': 'Node,RBAC',
    'watch-bookmark-interval': '60s',
    'watch-cache-size': '1000',
    'min-request-timeout': '1800',
    'audit-log-path': '',
  },
  switches: ['permit-port-sharing', 'allow-privileged', 'profiling', 'anonymous-auth', 'enable-bootstrap-token-auth'],
  ignored: [
    'advertise-address',
    'enable-admission-plugins',
    'disable-admission-plugins',
    'etcd-cafile',
    'etcd-certfile',
    'etcd-keyfile',
    'etcd-prefix',
    'feature-gates',
    'kubelet-certificate-authority',
    'kubelet-client-certificate',
    'kubelet-client-key',
    'kubelet-preferred-address-types',
    'proxy-client-cert-file',
    'proxy-client-key-file',
    'requestheader-allowed-names',
    'requestheader-client-ca-file',
    'requestheader-extra-headers-prefix',
    'requestheader-group-headers',
    'requestheader-username-headers',
    'runtime-config',
    'service-account-issuer',
    'service-account-key-file',
    'service-account-signing-key-file',
    'service-cluster-ip-range',
    'service-node-port-range',
    'storage-backend',
    'tls-cipher-suites',
    'tls-min-version',
    'v',
  ],
};

/** Requests, watches among them, may finish for this long after SIGTERM; the real server's request timeout. */
const FINISH_MS = 60_000;

/** Runs until SIGTERM. Throws a UsageError for bad flags, and what keeps it from starting. */
export async function kubeApiserver(argv: readonly string[]): Promise<void> {
  const flags = parseFlags(FLAGS, argv);
  const directory = dataDirectory(requireFlag(flags, 'etcd-servers'));
  const port = portFlag(flags, 'secure-port');
  const delayMs = durationFlag(flags, 'shutdown-delay-duration');
  const timing = {
    bookmarkIntervalMs: durationFlag(flags, 'watch-bookmark-interval'),
    minTimeoutMs: durationFlag(flags, 'min-request-timeout'),
  };
  const clientCaFile = flags.value('client-ca-file');
  const certificate = fs.readFileSync(requireFlag(flags, 'tls-cert-file'));
  const key = fs.readFileSync(requireFlag(flags, 'tls-private-key-file'));

  let ending = false;
  const stopAsked = stopSignal();
  const storage = new Storage(directory);
  const registry = new Registry(storage, Date.now);
  createNamespaces(registry);
  const state = clusterState(registry, storage);
  const context = {
    storage,
    registry,
    tokens: createTokenIssuer(directory, Date.now, (namespace, name) => state.pod(namespace, name)?.metadata.uid),
    cache: new WatchCache(storage, Number(flags.value('watch-cache-size'))),
    state,
    faults: new Faults(directory),
    audit: openAuditLog(flags.value('audit-log-path')),
    timing,
    authorizeAll: flags.value('authorization-mode') === 'AlwaysAllow',
    ready: () => !ending,
  };
  const server = await startServer(context, {
    address: flags.value('bind-address'),
    port,
    sharePort: flags.isOn('permit-port-sharing'),
    certificate,
    key,
    clientCa: clientCaFile === '' ? undefined : fs.readFileSync(clientCaFile),
  });
  console.error(`Serving securely on ${flags.value('bind-address')}:${server.port}`);
  await stopAsked;
  ending = true;
  if (delayMs > 0) await delay(delayMs);
  await server.stop(FINISH_MS);
  storage.close();
}

/** `file:///var/lib/etcd` names the directory that stands for etcd. */
function dataDirectory(servers: string): string {
  if (!servers.startsWith('file:///'))
    throw new UsageError(`invalid argument ${JSON.stringify(servers)} for "--etcd-servers": expected file:///<directory>`);
  return path.normalize(fileURLToPath(servers));
}

function clusterState(registry: Registry, storage: Storage): ClusterState {
  const pods = resourceNamed('pods');
  return {
    pod: (namespace, name) => {
      const object = registry.find(pods, namespace, name);
      return object === undefined ? undefined : asPod(object);
    },
    podsOnNode: (node) =>
      storage
        .list('pods/')
        .map(asPod)
        .filter((pod) => pod.spec.nodeName === node),
    claimsOf: (volume) =>
      storage
        .list('persistentvolumeclaims/')
        .filter(({ spec }) => isMap(spec) && spec['volumeName'] === volume)
        .map(({ metadata }) => ({ namespace: metadata.namespace ?? '', name: metadata.name })),
  };
}
