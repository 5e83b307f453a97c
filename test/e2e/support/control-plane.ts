/** The control plane of a node: as static pods, and as DaemonSets with their certificates in Secrets, marked for the checkpointer. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1DaemonSet, V1Pod, V1PodSpec, V1Secret, V1Volume } from '@kubernetes/client-node';
import { imageOf } from './images.ts';
import { ADDRESS, SERVICE_RANGE } from './layout.ts';

export const COMPONENTS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
export type Component = (typeof COMPONENTS)[number];

const SECRETS = '/etc/kubernetes/secrets';
export const MARK = 'checkpointer.alpha.coreos.com/checkpoint';

/** File of the node's /etc/kubernetes for each file that the component reads. */
const FILES: Readonly<Record<Component, Readonly<Record<string, string>>>> = {
  'kube-apiserver': {
    'ca.crt': 'pki/ca.crt',
    'apiserver.crt': 'pki/apiserver.crt',
    'apiserver.key': 'pki/apiserver.key',
    'kubelet-client.crt': 'pki/kubelet-client.crt',
    'kubelet-client.key': 'pki/kubelet-client.key',
    'sa.pub': 'pki/sa.pub',
    'sa.key': 'pki/sa.key',
  },
  'kube-controller-manager': { kubeconfig: 'controller-manager.conf', 'sa.key': 'pki/sa.key', 'ca.crt': 'pki/ca.crt' },
  'kube-scheduler': { kubeconfig: 'scheduler.conf' },
};

const HEALTH: Readonly<Record<Component, { readonly port: number; readonly path: string }>> = {
  'kube-apiserver': { port: 6443, path: '/livez' },
  'kube-controller-manager': { port: 10257, path: '/healthz' },
  'kube-scheduler': { port: 10259, path: '/healthz' },
};

/** What kubeadm asks for: who starts beside whom on two cores decides when the API server answers. */
const CPU: Readonly<Record<Component, string>> = {
  'kube-apiserver': '250m',
  'kube-controller-manager': '200m',
  'kube-scheduler': '100m',
};

type Place = (file: string) => string;

function argsOf(component: Component, at: Place, sharing: boolean): string[] {
  switch (component) {
    case 'kube-apiserver':
      return [
        `--advertise-address=${ADDRESS}`,
        '--secure-port=6443',
        ...(sharing ? ['--permit-port-sharing=true'] : []),
        '--etcd-servers=http://127.0.0.1:2379',
        `--client-ca-file=${at('ca.crt')}`,
        `--tls-cert-file=${at('apiserver.crt')}`,
        `--tls-private-key-file=${at('apiserver.key')}`,
        `--kubelet-client-certificate=${at('kubelet-client.crt')}`,
        `--kubelet-client-key=${at('kubelet-client.key')}`,
        '--kubelet-preferred-address-types=InternalIP',
        '--service-account-issuer=https://kubernetes.default.svc',
        `--service-account-key-file=${at('sa.pub')}`,
        `--service-account-signing-key-file=${at('sa.key')}`,
        `--service-cluster-ip-range=${SERVICE_RANGE}`,
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
      ];
    case 'kube-controller-manager':
      return [
        `--kubeconfig=${at('kubeconfig')}`,
        `--service-account-private-key-file=${at('sa.key')}`,
        `--root-ca-file=${at('ca.crt')}`,
        '--use-service-account-credentials=true',
      ];
    case 'kube-scheduler':
      return [`--kubeconfig=${at('kubeconfig')}`];
  }
}

function specOf(component: Component, args: string[], volume: V1Volume): V1PodSpec {
  const { port, path } = HEALTH[component];
  return {
    hostNetwork: true,
    priorityClassName: 'system-node-critical',
    automountServiceAccountToken: false,
    tolerations: [{ operator: 'Exists' }],
    containers: [
      {
        name: component,
        image: imageOf(component),
        imagePullPolicy: 'IfNotPresent',
        args,
        resources: { requests: { cpu: CPU[component] } },
        livenessProbe: { httpGet: { host: '127.0.0.1', port, path, scheme: 'HTTPS' }, initialDelaySeconds: 10, failureThreshold: 8 },
        ...(component === 'kube-apiserver' && {
          readinessProbe: { httpGet: { host: '127.0.0.1', port, path: '/readyz', scheme: 'HTTPS' }, periodSeconds: 1, timeoutSeconds: 15 },
        }),
        volumeMounts: [{ name: volume.name, mountPath: volume.hostPath?.path ?? SECRETS, readOnly: true }],
      },
    ],
    volumes: [volume],
  };
}

/** As kubeadm would write it: everything from the node's own files. */
export function staticPod(component: Component): V1Pod {
  const at = (file: string) => `/etc/kubernetes/${FILES[component][file]}`;
  const volume = { name: 'kubernetes', hostPath: { path: '/etc/kubernetes', type: 'Directory' } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: component, namespace: 'kube-system', labels: { tier: 'control-plane' } },
    spec: specOf(component, argsOf(component, at, false), volume),
  };
}

export function daemonSet(component: Component, sharing: boolean): V1DaemonSet {
  const labels = { tier: 'control-plane', 'k8s-app': component };
  const volume = { name: 'secrets', secret: { secretName: component } };
  const args = argsOf(component, (file) => `${SECRETS}/${file}`, sharing && component === 'kube-apiserver');
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: component, namespace: 'kube-system', labels },
    spec: {
      selector: { matchLabels: { 'k8s-app': component } },
      updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 1 } },
      template: {
        metadata: { labels, annotations: { [MARK]: 'true' } },
        spec: { ...specOf(component, args, volume), nodeSelector: { 'kubernetes.io/os': 'linux' } },
      },
    },
  };
}

/** `kubernetes`: the disk's /etc/kubernetes. */
export async function secretOf(component: Component, kubernetes: string): Promise<V1Secret> {
  const data: Record<string, string> = {};
  for (const [name, file] of Object.entries(FILES[component])) data[name] = (await readFile(join(kubernetes, file))).toString('base64');
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name: component, namespace: 'kube-system' }, data };
}
