/** An embedded node whose control plane consists of static pods, as kubeadm makes them, with the checkpointer deployed: what a pivot begins with. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { dump } from 'js-yaml';
import { apply } from '../../../src/embedded/node/bootstrap.ts';
import { controlPlaneObjects } from '../../../src/embedded/node/control-plane.ts';
import { createNode, type EmbeddedNode, type NodeOptions } from '../../../src/embedded/node/node.ts';
import { NODE_MARK } from '../../../src/embedded/node/processes.ts';
import { COMPONENTS, type Component } from '../../../src/pivot/component.ts';
import { CONTROL_PLANE_ROLE } from '../../../src/pivot/daemonset.ts';
import { type Journal, readJournal } from '../../../src/pivot/journal.ts';

const DIST = join(import.meta.dirname, '../../../dist');
export const EMBEDDED = [process.execPath, join(DIST, 'embedded.js')];
export const CHECKPOINTER = [process.execPath, join(DIST, 'checkpointer.js')];

const QUICK = [
  '--prove-after=1s',
  '--stable-for=1s',
  '--orphan-after=2s',
  '--down-for=15s',
  '--trial-deadline=15s',
  '--checkpoint-grace-period=5s',
];

/** Powered on; everything is Ready. `images` besides the control plane's, whose versions are all the same program. */
export async function masterOfStaticPods(options: Partial<NodeOptions> = {}): Promise<EmbeddedNode> {
  const node = await createNode({
    embedded: EMBEDDED,
    checkpointer: CHECKPOINTER,
    checkpointerFlags: QUICK,
    // A kubelet that could not make a mirror pod at its start tries again at the next sync of the pod.
    kubeletFlags: [`--node-labels=${CONTROL_PLANE_ROLE}=`, '--sync-frequency=3s', '--status-sync-period=1s'],
    ...options,
  });
  for (const component of COMPONENTS) writeFileSync(manifestPath(node, component), dump(staticPod(node, component)));
  await node.powerOn();
  await node.waitFor('the API server of the static pod', () => node.readyz.up() === true, 60_000);
  const wanted = controlPlaneObjects(node.controlPlane()).filter(({ metadata }) =>
    ['kubernetes', 'pod-checkpointer'].includes(metadata.name),
  );
  for (const object of wanted) await apply(node.api(), object);
  await node.waitFor(
    'the static pods and the checkpointer are Ready',
    async () => {
      const ready = (await podsOf(node)).filter(isReady).map(({ metadata }) => metadata?.name ?? '');
      return [...COMPONENTS, 'pod-checkpointer'].every((name) => ready.some((pod) => pod.startsWith(name)));
    },
    60_000,
  );
  return node;
}

export const manifestPath = (node: EmbeddedNode, component: Component): string => join(node.layout.manifests, `${component}.yaml`);
export const manifestsOf = (node: EmbeddedNode): Record<Component, string> =>
  Object.fromEntries(COMPONENTS.map((component) => [component, readFileSync(manifestPath(node, component), 'utf8')])) as Record<
    Component,
    string
  >;

/** As kubeadm 1.36 has them, with the flags that the embedded programs need; probes at once, so that a test does not wait for them. */
export function staticPod(node: EmbeddedNode, component: Component): V1Pod {
  const { ports, layout } = node;
  const port = { 'kube-apiserver': ports.apiserver, 'kube-controller-manager': ports.controllerManager, 'kube-scheduler': ports.scheduler }[
    component
  ];
  const https = component === 'kube-apiserver';
  const probe = (path: string) => ({
    httpGet: { host: '127.0.0.1', path, port: 'probe-port', ...(https ? { scheme: 'HTTPS' } : {}) },
    periodSeconds: 1,
  });
  const conf = component === 'kube-scheduler' ? 'scheduler.conf' : 'controller-manager.conf';
  const flags = https
    ? [
        `--advertise-address=127.0.0.1`,
        `--bind-address=127.0.0.1`,
        `--client-ca-file=/etc/kubernetes/pki/ca.crt`,
        `--etcd-servers=file:///var/lib/etcd`,
        `--secure-port=${port}`,
        `--tls-cert-file=/etc/kubernetes/pki/apiserver.crt`,
        `--tls-private-key-file=/etc/kubernetes/pki/apiserver.key`,
      ]
    : [`--bind-address=127.0.0.1`, `--kubeconfig=/etc/kubernetes/${conf}`, '--leader-elect=true', `--secure-port=${port}`];
  const mounts = https
    ? [
        { name: 'k8s-certs', mountPath: '/etc/kubernetes/pki', path: join(layout.kubernetes, 'pki'), type: 'DirectoryOrCreate' },
        { name: 'etcd', mountPath: '/var/lib/etcd', path: layout.etcd, type: 'DirectoryOrCreate' },
      ]
    : [{ name: 'kubeconfig', mountPath: `/etc/kubernetes/${conf}`, path: join(layout.kubernetes, conf), type: 'FileOrCreate' }];
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: component, namespace: 'kube-system', labels: { component, tier: 'control-plane' } },
    spec: {
      hostNetwork: true,
      priorityClassName: 'system-node-critical',
      // An API server that is told to end keeps its clients' watches until it is killed.
      terminationGracePeriodSeconds: 2,
      containers: [
        {
          name: component,
          image: `registry.local/${component}:v1.36.2`,
          imagePullPolicy: 'IfNotPresent',
          command: [component, ...flags],
          livenessProbe: { ...probe(https ? '/livez' : '/healthz'), failureThreshold: 8 },
          readinessProbe: probe(https ? '/readyz' : '/healthz'),
          ports: [{ containerPort: port, name: 'probe-port', protocol: 'TCP' }],
          volumeMounts: mounts.map(({ name, mountPath }) => ({ name, mountPath, ...(name === 'etcd' ? {} : { readOnly: true }) })),
        },
      ],
      volumes: mounts.map(({ name, path, type }) => ({ name, hostPath: { path, type } })),
    },
  };
}

export interface Ran {
  readonly code: number | NodeJS.Signals;
  readonly lines: readonly string[];
}

export interface Running {
  readonly ended: Promise<Ran>;
  readonly lines: readonly string[];
  kill(signal: NodeJS.Signals): void;
}

/** `checkpointer pivot` or `unpivot` as a process of the node: a power cut takes it along. */
export function begin(
  node: EmbeddedNode,
  command: 'pivot' | 'unpivot',
  args: readonly string[] = [],
  onLine: (line: string) => void = () => undefined,
): Running {
  const { layout } = node;
  const [file = '', ...first] = CHECKPOINTER;
  const child = spawn(
    file,
    [
      ...first,
      command,
      `--kubeconfig=${layout.adminConf}`,
      `--checkpoint-dir=${layout.checkpointDir}`,
      `--pod-manifest-path=${layout.manifests}`,
      `--node-name=${node.name}`,
      '--healthy-for=1s',
      '--step-timeout=60s',
      '--yes',
      ...args,
    ],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, [NODE_MARK]: node.id } },
  );
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line);
      onLine(line);
    });
  const ended = new Promise<Ran>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code: code ?? signal ?? 'SIGKILL', lines }));
  });
  return { ended, lines, kill: (signal) => child.kill(signal) };
}

export const run = (node: EmbeddedNode, command: 'pivot' | 'unpivot', ...args: readonly string[]): Promise<Ran> =>
  begin(node, command, args).ended;

export async function podsOf(node: EmbeddedNode, component?: Component): Promise<V1Pod[]> {
  const { items } = (await node.api().request('GET', '/api/v1/namespaces/kube-system/pods')) as { readonly items: readonly V1Pod[] };
  return component === undefined
    ? [...items]
    : items.filter(({ metadata }) => metadata?.labels?.['k8s-app'] === component && !isMirror(metadata.annotations));
}

const isMirror = (annotations: Readonly<Record<string, string>> | undefined): boolean =>
  annotations?.['kubernetes.io/config.mirror'] !== undefined;

export const isReady = ({ metadata, status }: V1Pod): boolean =>
  metadata?.deletionTimestamp === undefined && status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;

export async function daemonSetOf(node: EmbeddedNode, component: Component): Promise<V1DaemonSet | undefined> {
  return (await node
    .api()
    .request('GET', `/apis/apps/v1/namespaces/kube-system/daemonsets/${component}`)
    .catch(() => undefined)) as V1DaemonSet | undefined;
}

export function journalOf(node: EmbeddedNode): Promise<Journal | undefined> {
  return readJournal(node.layout.checkpointDir);
}

/** A pod is made, bound and runs: for that all three components have to work. */
export async function expectWorking(node: EmbeddedNode, name: string): Promise<void> {
  const template = {
    metadata: { labels: { app: name } },
    spec: { containers: [{ name: 'main', image: 'registry.local/sleep:1' }], tolerations: [{ operator: 'Exists' }] },
  };
  const spec = { replicas: 1, selector: { matchLabels: { app: name } }, template };
  const path = '/apis/apps/v1/namespaces/default/deployments';
  const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace: 'default' }, spec };
  await node.waitFor(
    'the API server takes a Deployment',
    // An answer that was lost may have been a good one.
    async () =>
      (await node
        .api()
        .request('POST', path, deployment)
        .catch(() => undefined)) ?? node.api().request('GET', `${path}/${name}`),
    30_000,
  );
  await node.waitFor(
    `a pod of Deployment ${name} runs`,
    async () => {
      const { items } = (await node.api().request('GET', '/api/v1/namespaces/default/pods')) as { readonly items: readonly V1Pod[] };
      return items.some((pod) => pod.metadata?.labels?.['app'] === name && isReady(pod));
    },
    60_000,
  );
  await node.api().request('DELETE', `/apis/apps/v1/namespaces/default/deployments/${name}`, { propagationPolicy: 'Background' });
}

/** As `kubectl set image` does. */
export async function setImage(node: EmbeddedNode, component: Component, image: string): Promise<void> {
  const patch = { spec: { template: { spec: { containers: [{ name: component, image }] } } } };
  const path = `/apis/apps/v1/namespaces/kube-system/daemonsets/${component}`;
  await node.api().request('PATCH', path, patch, { contentType: 'application/strategic-merge-patch+json' });
}

/** No copy is active but the checkpointer's own, and every component has its one pod. */
export async function handedBack(node: EmbeddedNode): Promise<void> {
  await node.waitFor(
    'every copy has handed back to its parent',
    async () => {
      if ((await node.manifests()).some((file) => !file.includes('pod-checkpointer-ds'))) return false;
      return (await Promise.all(COMPONENTS.map((component) => podsOf(node, component)))).every(
        (pods) => pods.length === 1 && pods.every(isReady),
      );
    },
    120_000,
  );
}
