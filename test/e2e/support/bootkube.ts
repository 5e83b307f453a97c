/** The predecessor, to compare with: bootkube's pod-checkpointer as its own DaemonSet, with the administrator's kubeconfig in a Secret. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MARK } from './control-plane.ts';
import { imageOf } from './images.ts';
import type { RealNode } from './node.ts';

export async function installBootkube(node: RealNode): Promise<void> {
  const kubeconfig = await readFile(join(node.files.disk, 'etc-kubernetes/admin.conf'));
  const labels = { 'k8s-app': 'bootkube' };
  const paths = { NODE_NAME: 'spec.nodeName', POD_NAME: 'metadata.name', POD_NAMESPACE: 'metadata.namespace' };
  const hosts = { 'etc-kubernetes': '/etc/kubernetes', run: '/run', lock: '/run/lock' };
  const container = {
    name: 'bootkube',
    image: imageOf('bootkube-checkpoint'),
    imagePullPolicy: 'IfNotPresent',
    args: [
      '--lock-file=/var/run/lock/pod-checkpointer.lock',
      '--kubeconfig=/etc/checkpointer/kubeconfig',
      '--container-runtime-endpoint=unix:///run/containerd/containerd.sock',
    ],
    env: Object.entries(paths).map(([name, fieldPath]) => ({ name, valueFrom: { fieldRef: { fieldPath } } })),
    volumeMounts: [
      { name: 'kubeconfig', mountPath: '/etc/checkpointer' },
      { name: 'etc-kubernetes', mountPath: '/etc/kubernetes' },
      { name: 'run', mountPath: '/run' },
      { name: 'lock', mountPath: '/var/run/lock' },
    ],
  };
  const spec = {
    hostNetwork: true,
    priorityClassName: 'system-node-critical',
    automountServiceAccountToken: false,
    tolerations: [{ operator: 'Exists' }],
    containers: [container],
    volumes: [
      { name: 'kubeconfig', secret: { secretName: 'bootkube-kubeconfig' } },
      ...Object.entries(hosts).map(([name, path]) => ({ name, hostPath: { path } })),
    ],
  };
  const items = [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'bootkube-kubeconfig', namespace: 'kube-system' },
      data: { kubeconfig: kubeconfig.toString('base64') },
    },
    {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'bootkube', namespace: 'kube-system' },
      spec: { selector: { matchLabels: labels }, template: { metadata: { labels, annotations: { [MARK]: 'true' } }, spec } },
    },
  ];
  await node.kubectl(['apply', '--filename=-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
}
