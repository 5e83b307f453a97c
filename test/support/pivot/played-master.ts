/**
 * A master that is played: what its kubelet, its controllers and its checkpointer would make of its manifests, its labels and the DaemonSets, told to an
 * embedded API server. Nothing runs; several of them share one API server, as masters do.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1DaemonSet, V1Node, V1Pod } from '@kubernetes/client-node';
import { generationPath, workloadPath } from '../../../src/checkpoint/store/paths.ts';
import { pointAt, prepareStore, saveGeneration } from '../../../src/checkpoint/store/write.ts';
import type { Workload } from '../../../src/checkpoint/workload.ts';
import type { ApiClient } from '../../../src/embedded/controllers/client.ts';
import { COMPONENTS, parseStaticPod } from '../../../src/pivot/component.ts';
import { ABOUT, sampleCopy } from '../store/sample.ts';
import { kubeadmManifest } from './kubeadm.ts';

const PODS = '/api/v1/namespaces/kube-system/pods';
const PERIOD_MS = 30;

export interface PlayedMaster {
  readonly name: string;
  readonly store: string;
  readonly manifests: string;
  /** The names of its pods: mirrors and those of DaemonSets. */
  pods(): Promise<string[]>;
  stop(): Promise<void>;
}

export async function playMaster(api: ApiClient, name: string, hostIP: string): Promise<PlayedMaster> {
  const directory = await mkdtemp(join(tmpdir(), `${name}-`));
  const [store, manifests] = [join(directory, 'store'), join(directory, 'manifests')];
  await mkdir(manifests);
  await prepareStore(store);
  for (const component of COMPONENTS)
    await writeFile(join(manifests, `${component}.yaml`), kubeadmManifest(component, { nodeIP: hostIP, minor: 36 }));
  await api.request('POST', '/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { 'node-role.kubernetes.io/control-plane': '' } },
    status: { addresses: [{ type: 'InternalIP', address: hostIP }], conditions: [{ type: 'Ready', status: 'True' }] },
  });
  const ending = new AbortController();
  const podsHere = async (): Promise<V1Pod[]> => items<V1Pod>(await api.request('GET', `${PODS}?fieldSelector=spec.nodeName%3D${name}`));

  const play = async (): Promise<void> => {
    const wanted = [...(await mirrors(manifests, name)), ...(await daemonPods(api, name))];
    const there = await podsHere();
    for (const pod of there)
      if (!wanted.some((one) => one.metadata?.name === pod.metadata?.name))
        await api.request('DELETE', `${PODS}/${pod.metadata?.name}`, { gracePeriodSeconds: 0 });
    for (const pod of wanted) {
      if (there.some((one) => one.metadata?.name === pod.metadata?.name)) continue;
      await api.request('POST', PODS, pod);
      const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: new Date().toISOString() }] };
      await api.request(
        'PATCH',
        `${PODS}/${pod.metadata?.name}/status`,
        { status },
        { contentType: 'application/strategic-merge-patch+json' },
      );
    }
    for (const component of COMPONENTS)
      await keepCopy(
        store,
        component,
        wanted.some((pod) => isOf(component, pod)),
      );
  };
  const playing = (async () => {
    while (!ending.signal.aborted) {
      await play().catch(() => undefined);
      await sleep(PERIOD_MS, undefined, { signal: ending.signal }).catch(() => undefined);
    }
  })();
  return {
    name,
    store,
    manifests,
    pods: async () => (await podsHere()).map(({ metadata }) => metadata?.name ?? '').sort(),
    stop: async () => {
      ending.abort();
      await playing;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

const items = <T>(list: unknown): T[] => (list as { items: T[] }).items;

async function mirrors(manifests: string, node: string): Promise<V1Pod[]> {
  const files = (await readdir(manifests)).filter((name) => !name.startsWith('.'));
  return Promise.all(
    files.map(async (file) => {
      const text = await readFile(join(manifests, file), 'utf8');
      const pod = parseStaticPod(text, file);
      const annotations = { 'kubernetes.io/config.mirror': createHash('sha256').update(text).digest('hex') };
      return podOf(node, { ...pod, metadata: { ...pod.metadata, name: `${pod.metadata?.name}-${node}`, annotations } });
    }),
  );
}

/** One of each DaemonSet whose node selector the node's labels match, as its controller and the scheduler would have it; the checkpointer's is always there. */
async function daemonPods(api: ApiClient, node: string): Promise<V1Pod[]> {
  const { metadata } = (await api.request('GET', `/api/v1/nodes/${node}`)) as V1Node;
  const sets = items<V1DaemonSet>(await api.request('GET', '/apis/apps/v1/namespaces/kube-system/daemonsets'));
  return sets
    .filter(({ spec }) =>
      Object.entries(spec?.template.spec?.nodeSelector ?? {}).every(([key, value]) => metadata?.labels?.[key] === value),
    )
    .map((set) => {
      const owner = {
        apiVersion: 'apps/v1',
        kind: 'DaemonSet',
        name: set.metadata?.name ?? '',
        uid: set.metadata?.uid ?? '',
        controller: true,
      };
      const name = `${set.metadata?.name}-${createHash('sha256').update(node).digest('hex').slice(0, 5)}`;
      const { template } = set.spec ?? {};
      return podOf(node, { ...template, metadata: { ...template?.metadata, name, namespace: 'kube-system', ownerReferences: [owner] } });
    });
}

function podOf(node: string, { metadata, spec }: V1Pod): V1Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, namespace: 'kube-system' },
    spec: { ...spec, nodeName: node, containers: spec?.containers ?? [] },
  };
}

const isOf = (component: string, { metadata }: V1Pod): boolean =>
  metadata?.ownerReferences?.some(({ name }) => name === component) === true;

/** Proven at once while there is a parent, retired at once when there is none. */
async function keepCopy(store: string, component: string, parent: boolean): Promise<void> {
  const workload: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: component };
  const directory = workloadPath(store, workload);
  const stored = await readdir(directory).then(
    () => true,
    () => false,
  );
  if (!parent && stored) await rm(directory, { recursive: true });
  if (!parent || stored) return;
  const generation = await saveGeneration(store, workload, sampleCopy(component), ABOUT);
  const index = await readFile(join(generationPath(directory, generation), 'index.json'));
  await pointAt(store, workload, 'proven', generation, createHash('sha256').update(index).digest('hex'));
}
