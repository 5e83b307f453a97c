/** A kubelet with its runtime on a test's node, beside an embedded API server; every period is short. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CriClient, connectCri } from '../../../src/embedded/kubelet/cri-client.ts';
import type { Pod, PodStatus } from '../../../src/embedded/kubelet/pod.ts';
import { type Container, ContainerState, type PodSandbox, PodSandboxState } from '../../../src/sources/cri/generated/runtime.ts';
import { startCluster, type TestCluster } from '../embedded/cluster.ts';
import { type Program, type TestNode, testNode, writeImages } from './processes.ts';

const PERIODS = [
  '--relist-period=150ms',
  '--housekeeping-period=250ms',
  '--backoff-period=300ms',
  '--status-sync-period=300ms',
  '--api-retry-base=100ms',
  '--api-retry-max=300ms',
  '--node-sync-period=100ms',
  '--crash-backoff-base=400ms',
  '--file-check-frequency=20s',
];

export interface KubeletTest {
  readonly node: TestNode;
  readonly cluster: TestCluster;
  readonly cri: CriClient;
  /** Undefined before the first boot. */
  kubelet: Program | undefined;
  runtime: Program | undefined;
  /** Starts the runtime and the kubelet. */
  boot(...flags: string[]): void;
  startKubelet(...flags: string[]): void;
  /** Writes or removes a manifest. */
  manifest(file: string, content: object | string | undefined): string;
  /** POSTs a pod that is bound to this node already. */
  createPod(name: string, spec: object, metadata?: object): Promise<Pod>;
  pod(name: string): Promise<Pod | undefined>;
  status(name: string): Promise<PodStatus | undefined>;
  /** Containers that run, as `<pod> <container>`. */
  running(): Promise<string[]>;
  containers(podName: string): Promise<Container[]>;
  sandboxes(podName: string): Promise<PodSandbox[]>;
  stop(): Promise<void>;
}

export function podManifest(name: string, spec: object, metadata: object = {}): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'kube-system', ...metadata },
    spec: { terminationGracePeriodSeconds: 2, ...spec },
  };
}

/** One container named main. */
export function one(image: string, more: object = {}): object {
  return { containers: [{ name: 'main', image: `registry.local/${image}`, ...more }] };
}

export async function kubeletTest(): Promise<KubeletTest> {
  const cluster = await startCluster();
  const node = testNode();
  const manifests = join(node.dir, 'manifests');
  mkdirSync(manifests);
  const images = writeImages(node.dir);
  const socket = join(node.dir, 'cri.sock');
  const cri = connectCri(`unix://${socket}`, 10_000);
  const startRuntime = () => node.start('cri', `--socket=${socket}`, `--state-dir=${join(node.dir, 'cri')}`, `--images=${images}`);
  const startKubelet = (flags: readonly string[]) =>
    node.start(
      'kubelet',
      `--kubeconfig=${cluster.pki.kubeletConf}`,
      '--node-name=n1',
      `--pod-manifest-path=${manifests}`,
      `--container-runtime-endpoint=unix://${socket}`,
      `--root-dir=${join(node.dir, 'kubelet')}`,
      ...PERIODS,
      ...flags,
    );
  const named = <T extends { readonly labels: Readonly<Record<string, string>> }>(items: readonly T[], name: string) =>
    items.filter((item) => item.labels['io.kubernetes.pod.name'] === name);
  const pod = async (name: string) =>
    (await cluster.admin.request('GET', `/api/v1/namespaces/kube-system/pods/${name}`).catch(() => undefined)) as Pod | undefined;
  const test: KubeletTest = {
    node,
    cluster,
    cri,
    kubelet: undefined,
    runtime: undefined,
    boot: (...flags) => {
      test.runtime = startRuntime();
      test.startKubelet(...flags);
    },
    startKubelet: (...flags) => {
      test.kubelet = startKubelet(flags);
    },
    manifest: (file, content) => {
      const path = join(manifests, file);
      if (content === undefined) rmSync(path);
      else writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
      return path;
    },
    createPod: async (name, spec, metadata = {}) =>
      (await cluster.admin.request(
        'POST',
        '/api/v1/namespaces/kube-system/pods',
        podManifest(name, { nodeName: 'n1', ...spec }, metadata),
      )) as Pod,
    pod,
    status: async (name) => (await pod(name))?.status,
    running: async () => {
      const containers = (await cri.listContainers()).filter(({ state }) => state === ContainerState.CONTAINER_RUNNING);
      return containers.map(({ labels }) => `${labels['io.kubernetes.pod.name']} ${labels['io.kubernetes.container.name']}`).sort();
    },
    containers: async (name) => named(await cri.listContainers(), name),
    sandboxes: async (name) => named(await cri.listSandboxes(), name),
    stop: async () => {
      cri.close();
      await node[Symbol.asyncDispose]();
      await cluster.stop();
    },
  };
  return test;
}

export function isReadySandbox(sandbox: PodSandbox): boolean {
  return sandbox.state === PodSandboxState.SANDBOX_READY;
}
