/**
 * The static pods that kubeadm makes, by its minor version: flags, paths and probes. See test/golden/pivot/README.md for where these facts are from.
 * Nothing of kubeadm's code is in here.
 */
import type { V1Container, V1Pod, V1Probe } from '@kubernetes/client-node';
import { dump } from 'js-yaml';
import { COMPONENTS, type Component } from '../../../src/pivot/component.ts';

export const MINORS = [30, 31, 32, 33, 34, 35, 36] as const;
export type Minor = (typeof MINORS)[number];

export interface Cluster {
  readonly nodeIP: string;
  readonly minor: Minor;
}

const PKI = '/etc/kubernetes/pki';
const PORTS: Readonly<Record<Component, number>> = {
  'kube-apiserver': 6443,
  'kube-controller-manager': 10257,
  'kube-scheduler': 10259,
};

export function kubeadmPod(component: Component, cluster: Cluster): V1Pod {
  const { minor } = cluster;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...(component === 'kube-apiserver'
        ? { annotations: { 'kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint': `${cluster.nodeIP}:6443` } }
        : {}),
      labels: { component, tier: 'control-plane' },
      name: component,
      namespace: 'kube-system',
    },
    spec: {
      containers: [
        {
          command: [component, ...FLAGS[component](cluster).map((flag) => `--${flag}`)],
          image: `registry.k8s.io/${component}:v1.${minor}.2`,
          imagePullPolicy: 'IfNotPresent',
          ...probes(component, cluster),
          name: component,
          // A named port for all probes since 1.34 (kubernetes/kubernetes#132776).
          ...(minor >= 34 ? { ports: [{ containerPort: PORTS[component], name: 'probe-port', protocol: 'TCP' }] } : {}),
          resources: {
            requests: { cpu: { 'kube-apiserver': '250m', 'kube-controller-manager': '200m', 'kube-scheduler': '100m' }[component] },
          },
          volumeMounts: mountsOf(component, cluster).map(([name, path]) => ({
            mountPath: path,
            name,
            ...(name === 'flexvolume-dir' ? {} : { readOnly: true }),
          })),
        },
      ],
      hostNetwork: true,
      priority: 2000001000,
      priorityClassName: 'system-node-critical',
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
      volumes: mountsOf(component, cluster).map(([name, path]) => ({
        hostPath: { path, type: name === 'kubeconfig' ? 'FileOrCreate' : 'DirectoryOrCreate' },
        name,
      })),
    },
    status: {},
  };
}

export function kubeadmManifest(component: Component, cluster: Cluster): string {
  return dump(kubeadmPod(component, cluster));
}

export function kubeadmManifests(cluster: Cluster): ReadonlyMap<Component, string> {
  return new Map(COMPONENTS.map((component) => [component, kubeadmManifest(component, cluster)]));
}

function probes(component: Component, { minor, nodeIP }: Cluster): Pick<V1Container, 'livenessProbe' | 'readinessProbe' | 'startupProbe'> {
  const host = component === 'kube-apiserver' ? nodeIP : '127.0.0.1';
  const port = minor >= 34 ? 'probe-port' : PORTS[component];
  const probe = (path: string, more: Partial<V1Probe>): V1Probe => ({
    httpGet: { host, path, port, scheme: 'HTTPS' },
    timeoutSeconds: 15,
    ...more,
  });
  // The scheduler's are two since 1.32 (kubernetes/kubernetes#126945), the API server's since 1.19 (#90970).
  const two = component === 'kube-apiserver' || (component === 'kube-scheduler' && minor >= 32);
  const live = two ? '/livez' : '/healthz';
  return {
    livenessProbe: probe(live, { failureThreshold: 8, initialDelaySeconds: 10, periodSeconds: 10 }),
    ...(two ? { readinessProbe: probe('/readyz', { failureThreshold: 3, periodSeconds: 1 }) } : {}),
    startupProbe: probe(live, { failureThreshold: 24, initialDelaySeconds: 10, periodSeconds: 10 }),
  };
}

const CA_DIRECTORIES: readonly (readonly [string, string])[] = [
  ['ca-certs', '/etc/ssl/certs'],
  ['etc-ca-certificates', '/etc/ca-certificates'],
  ['k8s-certs', PKI],
  ['usr-local-share-ca-certificates', '/usr/local/share/ca-certificates'],
  ['usr-share-ca-certificates', '/usr/share/ca-certificates'],
];

/** By name. The controller manager's directory for volume plugins is gone since 1.36. */
function mountsOf(component: Component, { minor }: Cluster): readonly (readonly [string, string])[] {
  return MOUNTS[component].filter(([name]) => name !== 'flexvolume-dir' || minor < 36).toSorted(([a], [b]) => (a < b ? -1 : 1));
}

const MOUNTS: Readonly<Record<Component, readonly (readonly [string, string])[]>> = {
  'kube-apiserver': CA_DIRECTORIES,
  'kube-controller-manager': [
    ...CA_DIRECTORIES,
    ['flexvolume-dir', '/usr/libexec/kubernetes/kubelet-plugins/volume/exec'],
    ['kubeconfig', '/etc/kubernetes/controller-manager.conf'],
  ],
  'kube-scheduler': [['kubeconfig', '/etc/kubernetes/scheduler.conf']],
};

const FLAGS: Readonly<Record<Component, (cluster: Cluster) => readonly string[]>> = {
  'kube-apiserver': ({ nodeIP }) => [
    `advertise-address=${nodeIP}`,
    'allow-privileged=true',
    'authorization-mode=Node,RBAC',
    `client-ca-file=${PKI}/ca.crt`,
    'enable-admission-plugins=NodeRestriction',
    'enable-bootstrap-token-auth=true',
    `etcd-cafile=${PKI}/etcd/ca.crt`,
    `etcd-certfile=${PKI}/apiserver-etcd-client.crt`,
    `etcd-keyfile=${PKI}/apiserver-etcd-client.key`,
    'etcd-servers=https://127.0.0.1:2379',
    `kubelet-client-certificate=${PKI}/apiserver-kubelet-client.crt`,
    `kubelet-client-key=${PKI}/apiserver-kubelet-client.key`,
    'kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname',
    `proxy-client-cert-file=${PKI}/front-proxy-client.crt`,
    `proxy-client-key-file=${PKI}/front-proxy-client.key`,
    'requestheader-allowed-names=front-proxy-client',
    `requestheader-client-ca-file=${PKI}/front-proxy-ca.crt`,
    'requestheader-extra-headers-prefix=X-Remote-Extra-',
    'requestheader-group-headers=X-Remote-Group',
    'requestheader-username-headers=X-Remote-User',
    'secure-port=6443',
    'service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `service-account-key-file=${PKI}/sa.pub`,
    `service-account-signing-key-file=${PKI}/sa.key`,
    'service-cluster-ip-range=10.96.0.0/12',
    `tls-cert-file=${PKI}/apiserver.crt`,
    `tls-private-key-file=${PKI}/apiserver.key`,
  ],
  'kube-controller-manager': () => [
    'allocate-node-cidrs=true',
    'authentication-kubeconfig=/etc/kubernetes/controller-manager.conf',
    'authorization-kubeconfig=/etc/kubernetes/controller-manager.conf',
    'bind-address=127.0.0.1',
    `client-ca-file=${PKI}/ca.crt`,
    'cluster-cidr=10.244.0.0/16',
    'cluster-name=kubernetes',
    `cluster-signing-cert-file=${PKI}/ca.crt`,
    `cluster-signing-key-file=${PKI}/ca.key`,
    'controllers=*,bootstrapsigner,tokencleaner',
    'kubeconfig=/etc/kubernetes/controller-manager.conf',
    'leader-elect=true',
    `requestheader-client-ca-file=${PKI}/front-proxy-ca.crt`,
    `root-ca-file=${PKI}/ca.crt`,
    `service-account-private-key-file=${PKI}/sa.key`,
    'service-cluster-ip-range=10.96.0.0/12',
    'use-service-account-credentials=true',
  ],
  'kube-scheduler': () => [
    'authentication-kubeconfig=/etc/kubernetes/scheduler.conf',
    'authorization-kubeconfig=/etc/kubernetes/scheduler.conf',
    'bind-address=127.0.0.1',
    'kubeconfig=/etc/kubernetes/scheduler.conf',
    'leader-elect=true',
  ],
};
