/**
 * The pivot to self-hosted: a temporary control plane as plain processes takes the objects of the real one and leaves as the real one takes over
 * (as bootkube did).
 */
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import { apiserverFlags, componentFlags, controlPlaneObjects, type ManifestObject } from './control-plane.ts';
import type { EmbeddedNode } from './node.ts';
import { isReady } from './readyz.ts';

interface PodList {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
    readonly spec: { readonly nodeName?: string };
    readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
  }[];
}

const STEP_MS = 60_000;

/** Returns when every pod of the self-hosted control plane is Ready and nothing temporary is left. The node is on. */
export async function bootstrap(node: EmbeddedNode): Promise<void> {
  const options = node.controlPlane();
  const objects = controlPlaneObjects(options);
  const workloads = objects.filter(({ kind }) => kind === 'DaemonSet').map(({ metadata }) => metadata.name);
  const { layout, ports, pki } = node;
  const step = (text: string) => node.timeline.record({ kind: 'bootstrap', step: text });

  step('temporary control plane');
  const apiserver = node.startEmbedded(
    'bootstrap-apiserver',
    'kube-apiserver',
    apiserverFlags(options, `${layout.kubernetes}/pki`, layout.etcd),
  );
  const failed = apiserver.ended.then((how): never => {
    throw new Error(`the temporary API server ended with ${how}: see ${layout.log}/${apiserver.name}.log`);
  });
  failed.catch(() => {});
  await Promise.race([
    failed,
    node.waitFor('the temporary API server is ready', () => isReady(ports.apiserver, options.files.caCert), STEP_MS),
  ]);
  for (const object of objects) await apply(node.api(), object);
  step(`${objects.length} objects applied`);
  // On the ports of the real ones: of two controller managers only one works at a time.
  const others = [
    node.startEmbedded(
      'bootstrap-controller-manager',
      'kube-controller-manager',
      componentFlags(pki.controllerManagerConf, ports.controllerManager),
    ),
    node.startEmbedded('bootstrap-scheduler', 'kube-scheduler', componentFlags(pki.schedulerConf, ports.scheduler)),
  ];
  await node.waitFor(
    'every workload has a pod on the node',
    async () => {
      const bound = await boundWorkloads(node.api());
      return workloads.every((name) => bound.has(name));
    },
    STEP_MS,
  );
  await Promise.all(others.map((program) => program.end('SIGKILL')));
  step('all pods are bound, the temporary controllers have left');

  await node.waitFor('the real API server was started', () => hasStarted(node, 'kube-apiserver'), STEP_MS);
  if (options.portSharing) await node.waitFor('the real API server serves', () => isServing(node), STEP_MS);
  // Told to end it would keep its watches, and their clients, for a minute; and an exclusive port has to be free before the real server has failed twice on it.
  await apiserver.end('SIGKILL');
  step('the temporary API server has left');
  await node.waitFor(
    'every pod of the control plane is ready',
    async () => {
      const ready = await readyWorkloads(node.api());
      return workloads.every((name) => ready.has(name));
    },
    STEP_MS,
  );
  step('self-hosted');
}

async function hasStarted(node: EmbeddedNode, container: string): Promise<boolean> {
  return (await node.containers()).some((one) => one.container === container && one.state !== 'created');
}

/** Asked on a shared port, either server may answer: it has to say so itself. */
async function isServing(node: EmbeddedNode): Promise<boolean> {
  return (await node.containerLog('kube-apiserver', 'kube-apiserver')).includes('Serving securely');
}

async function pods(api: ApiClient): Promise<PodList['items']> {
  return ((await api.request('GET', '/api/v1/namespaces/kube-system/pods')) as PodList).items;
}

async function boundWorkloads(api: ApiClient): Promise<Set<string>> {
  const bound = (await pods(api)).filter(({ spec }) => spec.nodeName !== undefined);
  return new Set(bound.map(({ metadata }) => metadata.labels?.['k8s-app'] ?? ''));
}

async function readyWorkloads(api: ApiClient): Promise<Set<string>> {
  const ready = (await pods(api)).filter(({ status }) =>
    status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'),
  );
  return new Set(ready.map(({ metadata }) => metadata.labels?.['k8s-app'] ?? ''));
}

const COLLECTIONS: Readonly<Record<string, string>> = {
  DaemonSet: '/apis/apps/v1/namespaces/%/daemonsets',
  Deployment: '/apis/apps/v1/namespaces/%/deployments',
  Secret: '/api/v1/namespaces/%/secrets',
  Service: '/api/v1/namespaces/%/services',
  ServiceAccount: '/api/v1/namespaces/%/serviceaccounts',
  ConfigMap: '/api/v1/namespaces/%/configmaps',
  Pod: '/api/v1/namespaces/%/pods',
};

/** Creates the object, or patches the one that is there. @throws what the API server answers. */
export async function apply(api: ApiClient, object: ManifestObject): Promise<void> {
  const collection = COLLECTIONS[object.kind]?.replace('%', object.metadata.namespace);
  if (collection === undefined) throw new Error(`${object.kind} ${object.metadata.name}: objects of this kind are not applied here`);
  try {
    await api.request('POST', collection, object);
  } catch (error) {
    if (!(error instanceof AnswerError && error.code === 409)) throw error;
    await api.request('PATCH', `${collection}/${object.metadata.name}`, object, { contentType: 'application/merge-patch+json' });
  }
}
