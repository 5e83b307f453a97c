/** kube-scheduler, embedded: binds pending pods to nodes. */
import { asPod, type KubeObject, type Pod } from '../apiserver/objects.ts';
import { AnswerError, type ApiClient } from './client.ts';
import { runComponent } from './component.ts';
import { type Informer, startInformer } from './informer.ts';
import { startLoop } from './loop.ts';
import { chooseNode, isPending } from './schedule.ts';

const PORT = 10259;

/** Runs until SIGTERM. Throws for bad flags and when its port is taken. */
export function kubeScheduler(argv: readonly string[]): Promise<void> {
  return runComponent(PORT, argv, (client, signal) => {
    const wake = () => loop.wake();
    const pods = startInformer(client, '/api/v1/pods', wake, signal);
    const nodes = startInformer(client, '/api/v1/nodes', wake, signal);
    const loop = startLoop('scheduler', () => schedulePending(client, pods, nodes), signal);
  });
}

/** Binds one pod after another, each seeing the ports that those before it took. Throws when the API does not answer. */
async function schedulePending(client: ApiClient, pods: Informer, nodes: Informer): Promise<void> {
  if (!pods.synced() || !nodes.synced()) return;
  const all = pods.objects().map(asPod);
  const pending = all.filter(isPending).toSorted((a, b) => (b.spec.priority ?? 0) - (a.spec.priority ?? 0));
  const placed = new Map<string | undefined, Pod>();
  for (const pod of pending) {
    const now = all.map((other) => placed.get(other.metadata.uid) ?? other);
    const choice = chooseNode(pod, nodes.objects(), now);
    try {
      if ('node' in choice) {
        await bind(client, pod, choice.node);
        placed.set(pod.metadata.uid, { ...pod, spec: { ...pod.spec, nodeName: choice.node } });
      } else await reportUnschedulable(client, pods, pod, choice.unschedulable);
    } catch (error) {
      // Gone, bound already, or refused: its next event tells what to do.
      if (!(error instanceof AnswerError) || (error.code !== 404 && error.code !== 409)) throw error;
    }
  }
}

async function bind(client: ApiClient, pod: Pod, node: string): Promise<void> {
  const { namespace, name, uid } = pod.metadata;
  const body = {
    apiVersion: 'v1',
    kind: 'Binding',
    metadata: { namespace, name, uid },
    target: { apiVersion: 'v1', kind: 'Node', name: node },
  };
  await client.request('POST', `/api/v1/namespaces/${namespace}/pods/${name}/binding`, body);
}

async function reportUnschedulable(client: ApiClient, pods: Informer, pod: Pod, message: string): Promise<void> {
  const known = pod.status?.conditions?.find((condition) => condition.type === 'PodScheduled');
  if (known?.reason === 'Unschedulable' && known.message === message) return;
  const { namespace, name } = pod.metadata;
  const status = { conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }] };
  const options = { contentType: 'application/strategic-merge-patch+json' };
  pods.absorb((await client.request('PATCH', `/api/v1/namespaces/${namespace}/pods/${name}/status`, { status }, options)) as KubeObject);
}
