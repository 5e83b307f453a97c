/** kube-controller-manager, embedded: DaemonSets, Deployments, ReplicaSets and garbage collection. */
import { runComponent } from './component.ts';
import { DaemonSetController } from './daemonset/controller.ts';
import { runDeployments } from './deployments.ts';
import { collectGarbage } from './garbage.ts';
import { startInformer } from './informer.ts';
import { type Loop, startLoop } from './loop.ts';
import { runReplicaSets } from './replicas.ts';

const PORT = 10257;

/** Runs until SIGTERM. Throws for bad flags and when its port is taken. */
export function kubeControllerManager(argv: readonly string[]): Promise<void> {
  return runComponent(PORT, argv, (client, signal) => {
    const loops: Loop[] = [];
    const wakeAll = () => {
      for (const loop of loops) loop.wake();
    };
    const inform = (path: string) => startInformer(client, path, wakeAll, signal);
    const pods = inform('/api/v1/pods');
    const nodes = inform('/api/v1/nodes');
    const [sets, deployments, replicaSets, statefulSets] = ['daemonsets', 'deployments', 'replicasets', 'statefulsets'].map((plural) =>
      inform(`/apis/apps/v1/${plural}`),
    );
    if (sets === undefined || deployments === undefined || replicaSets === undefined || statefulSets === undefined) return;
    const daemonSets = new DaemonSetController({ client, sets, pods, nodes });
    const daemonSetLoop = startLoop(
      'daemonset controller',
      async () => {
        const again = await daemonSets.run(Date.now());
        if (again !== undefined) daemonSetLoop.wakeIn(again);
      },
      signal,
    );
    const garbage = { client, dependents: [pods, replicaSets], owners: [nodes, sets, deployments, replicaSets, statefulSets] };
    loops.push(
      daemonSetLoop,
      startLoop('deployment controller', () => runDeployments(client, deployments, replicaSets), signal),
      startLoop('replicaset controller', () => runReplicaSets(client, replicaSets, pods), signal),
      startLoop('garbage collector', () => collectGarbage(garbage), signal),
    );
    wakeAll();
  });
}
