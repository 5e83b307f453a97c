/**
 * The self-hosted control plane as API objects: kube-apiserver, kube-controller-manager, kube-scheduler and the pod checkpointer as DaemonSets,
 * their certificates and kubeconfigs in Secrets, all marked for checkpointing. Nothing here does I/O.
 */
import type { V1Container, V1EnvVar, V1Probe, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import type { Layout, Ports } from './layout.ts';

export interface ControlPlaneOptions {
  readonly layout: Layout;
  readonly ports: Ports;
  /** Both API servers may listen at once (`--permit-port-sharing`); otherwise the port is exclusive. */
  readonly portSharing: boolean;
  /** Whether the API server's pod declares its port, for which the kubelet then admits one pod at a time. */
  readonly declarePorts: boolean;
  /** Contents of files that go into Secrets. */
  readonly files: {
    readonly caCert: string;
    readonly apiserverCert: string;
    readonly apiserverKey: string;
    readonly controllerManagerConf: string;
    readonly schedulerConf: string;
  };
  /** Further flags of the daemon; undefined: no checkpointer runs as a pod. */
  readonly checkpointerFlags: readonly string[] | undefined;
  /** Whether its pod has the ServiceAccount that may read owners. */
  readonly checkpointerAccount: boolean;
  readonly apiserverFlags: readonly string[];
}

export interface ManifestObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly [field: string]: unknown;
}

export const CONTROL_PLANE = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
export const CHECKPOINTER = 'pod-checkpointer';
export const VERSION = 'v1';

const SECRETS = '/etc/kubernetes/secrets';
const NAMESPACE = 'kube-system';

/** Command line of the API server, with its certificates in the directory and its data where `etcd` says. */
export function apiserverFlags(options: ControlPlaneOptions, certificates: string, etcd: string): string[] {
  return [
    '--bind-address=127.0.0.1',
    `--secure-port=${options.ports.apiserver}`,
    `--client-ca-file=${certificates}/ca.crt`,
    `--tls-cert-file=${certificates}/apiserver.crt`,
    `--tls-private-key-file=${certificates}/apiserver.key`,
    `--etcd-servers=file://${etcd}`,
    ...(options.portSharing ? ['--permit-port-sharing'] : []),
    ...options.apiserverFlags,
  ];
}

export function componentFlags(kubeconfig: string, port: number): string[] {
  return [`--kubeconfig=${kubeconfig}`, '--bind-address=127.0.0.1', `--secure-port=${port}`];
}

export function controlPlaneObjects(options: ControlPlaneOptions): ManifestObject[] {
  const { layout, ports, files } = options;
  const { apiserver, controllerManager, scheduler } = ports;
  const etcd = hostPath('etcd', layout.etcd, 'DirectoryOrCreate', '/var/lib/etcd');
  return [
    kubernetesService(apiserver),
    secret('kube-apiserver', { 'ca.crt': files.caCert, 'apiserver.crt': files.apiserverCert, 'apiserver.key': files.apiserverKey }),
    secret('kube-controller-manager', { kubeconfig: files.controllerManagerConf }),
    secret('kube-scheduler', { kubeconfig: files.schedulerConf }),
    daemonSet({
      name: 'kube-apiserver',
      args: apiserverFlags(options, SECRETS, '/var/lib/etcd'),
      mounts: [secretVolume('kube-apiserver'), etcd],
      ...(options.declarePorts ? { port: apiserver } : {}),
      livenessProbe: {
        httpGet: { host: '127.0.0.1', scheme: 'HTTPS', path: '/livez', port: apiserver },
        initialDelaySeconds: 10,
        failureThreshold: 8,
      },
      readinessProbe: { httpGet: { host: '127.0.0.1', scheme: 'HTTPS', path: '/readyz', port: apiserver }, periodSeconds: 1 },
    }),
    daemonSet({
      name: 'kube-controller-manager',
      args: componentFlags(`${SECRETS}/kubeconfig`, controllerManager),
      mounts: [secretVolume('kube-controller-manager')],
      readinessProbe: { httpGet: { host: '127.0.0.1', path: '/healthz', port: controllerManager }, periodSeconds: 1 },
    }),
    daemonSet({
      name: 'kube-scheduler',
      args: componentFlags(`${SECRETS}/kubeconfig`, scheduler),
      mounts: [secretVolume('kube-scheduler')],
      readinessProbe: { httpGet: { host: '127.0.0.1', path: '/healthz', port: scheduler }, periodSeconds: 1 },
    }),
    ...(options.checkpointerFlags === undefined
      ? []
      : [
          ...(options.checkpointerAccount ? [serviceAccount()] : []),
          checkpointer(layout, options.ports, options.checkpointerFlags, options.checkpointerAccount),
        ]),
  ];
}

/** A real API server makes it itself. Without a service network its address is where the API server listens. */
function kubernetesService(port: number): ManifestObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kubernetes', namespace: 'default' },
    spec: { clusterIP: '127.0.0.1', ports: [{ name: 'https', port, targetPort: port, protocol: 'TCP' }] },
  };
}

/** Authorized by its name alone (authorize.ts). */
function serviceAccount(): ManifestObject {
  return { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: CHECKPOINTER, namespace: NAMESPACE } };
}

const TOKEN_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';

/** What a real API server's admission mounts; the CA is not needed here. */
const TOKEN_VOLUME: Mounted = {
  volume: {
    name: 'kube-api-access',
    projected: { sources: [{ serviceAccountToken: { path: 'token', expirationSeconds: 3607 } }], defaultMode: 0o644 },
  },
  mount: { name: 'kube-api-access', mountPath: TOKEN_DIR, readOnly: true },
};

/** The daemon as a DaemonSet: its host directories are mounted at the same paths. */
function checkpointer(layout: Layout, ports: Ports, flags: readonly string[], account: boolean): ManifestObject {
  const same = (name: string, path: string, type: string) => hostPath(name, path, type, path);
  const probe = (path: string): V1Probe => ({ httpGet: { host: '127.0.0.1', path, port: ports.checkpointer }, timeoutSeconds: 5 });
  return daemonSet({
    name: CHECKPOINTER,
    args: [
      'run',
      ...checkpointerFlags(layout, ports),
      `--self=${NAMESPACE}/DaemonSet/${CHECKPOINTER}`,
      ...(account ? [`--owners-token-dir=${TOKEN_DIR}`] : []),
      ...flags,
    ],
    env: [
      { name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
      { name: 'CHECKPOINTER_BOOT_ID_FILE', value: layout.bootIdFile },
      // Of this container, not of the process that the embedded runtime makes of it.
      { name: 'CHECKPOINTER_MOUNTINFO_FILE', value: '/proc/self/mountinfo' },
    ],
    mounts: [
      same('kubernetes', layout.kubernetes, 'Directory'),
      same('checkpoints', layout.checkpointDir, 'DirectoryOrCreate'),
      same('run', layout.run, 'Directory'),
      ...(account ? [TOKEN_VOLUME] : []),
    ],
    ...(account ? { serviceAccountName: CHECKPOINTER } : {}),
    livenessProbe: { ...probe('/livez'), initialDelaySeconds: 15, periodSeconds: 2, failureThreshold: 5 },
    readinessProbe: { ...probe('/readyz'), periodSeconds: 1 },
  });
}

/** Flags that every checkpointer on the node has, in a pod or on the host. */
export function checkpointerFlags(layout: Layout, ports: Ports): string[] {
  return [
    `--kubeconfig=${layout.kubeletConf}`,
    `--pod-manifest-path=${layout.manifests}`,
    `--checkpoint-dir=${layout.checkpointDir}`,
    `--lock-file=${layout.lockFile}`,
    `--container-runtime-endpoint=unix://${layout.criSocket}`,
    `--metrics-address=127.0.0.1:${ports.checkpointer}`,
  ];
}

export function secret(name: string, files: Readonly<Record<string, string>>): ManifestObject {
  const data = Object.fromEntries(Object.entries(files).map(([key, text]) => [key, Buffer.from(text).toString('base64')]));
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: NAMESPACE }, data };
}

interface Mounted {
  readonly volume: V1Volume;
  readonly mount: V1VolumeMount;
}

function secretVolume(secretName: string): Mounted {
  return {
    volume: { name: 'secrets', secret: { secretName, defaultMode: 0o400 } },
    mount: { name: 'secrets', mountPath: SECRETS, readOnly: true },
  };
}

function hostPath(name: string, path: string, type: string, mountPath: string): Mounted {
  return { volume: { name, hostPath: { path, type } }, mount: { name, mountPath } };
}

interface ComponentSpec {
  readonly name: string;
  readonly args: readonly string[];
  readonly mounts: readonly Mounted[];
  readonly env?: V1EnvVar[];
  /** Declared in the pod. */
  readonly port?: number;
  readonly livenessProbe?: V1Probe;
  readonly readinessProbe?: V1Probe;
  readonly serviceAccountName?: string;
}

function daemonSet({ name, args, mounts, env, port, livenessProbe, readinessProbe, serviceAccountName }: ComponentSpec): ManifestObject {
  const labels = { tier: 'control-plane', 'k8s-app': name };
  const container: V1Container = {
    name,
    image: `registry.local/${name}:${VERSION}`,
    imagePullPolicy: 'IfNotPresent',
    args: [...args],
    volumeMounts: mounts.map(({ mount }) => mount),
    ...(env === undefined ? {} : { env }),
    ...(port === undefined ? {} : { ports: [{ name: 'https', containerPort: port, protocol: 'TCP' }] }),
    ...(livenessProbe === undefined ? {} : { livenessProbe }),
    ...(readinessProbe === undefined ? {} : { readinessProbe }),
  };
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name, namespace: NAMESPACE },
    spec: {
      selector: { matchLabels: { 'k8s-app': name } },
      template: {
        metadata: { labels, annotations: { 'checkpointer.alpha.coreos.com/checkpoint': 'true' } },
        spec: {
          hostNetwork: true,
          priorityClassName: 'system-node-critical',
          automountServiceAccountToken: false,
          ...(serviceAccountName === undefined ? {} : { serviceAccountName }),
          terminationGracePeriodSeconds: 5,
          tolerations: [{ operator: 'Exists' }],
          containers: [container],
          volumes: mounts.map(({ volume }) => volume),
        },
      },
    },
  };
}
