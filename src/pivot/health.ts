/** What each move of a pivot waits for, said of what was seen. Pure. A move is healthy when this has said so for long enough about the same pods. */
import type { V1Pod } from '@kubernetes/client-node';
import { CONFIG_MIRROR } from '../checkpoint/annotations.ts';
import type { StoredWorkload } from '../checkpoint/model.ts';
import { COMPONENTS, type Component } from './component.ts';
import { APP_LABEL, SELF_HOSTED, selfHostedLabel } from './daemonset.ts';
import { sharedName } from './static-pod.ts';
import type { Move } from './steps.ts';

export interface View {
  readonly node: string;
  /** Undefined: the API server is ready. */
  readonly apiTrouble: string | undefined;
  /** Of kube-system on this node. */
  readonly pods: readonly V1Pod[];
  readonly nodeLabels: Readonly<Record<string, string>>;
  /** Whether the component's DaemonSet exists, and nodes that ask for its pods. */
  readonly daemonSet: boolean;
  readonly assigned: readonly string[];
  /** What the store has of the component's workload. */
  readonly stored: StoredWorkload | undefined;
  /** Components of which the store still has copies in use. */
  readonly keptCopies: readonly Component[];
  /** metadata.name of the component's static pod as it was. */
  readonly staticName: string;
}

/** `of`: the pods that it was said about; when they are others, it has to be said anew. */
export type Health = { readonly state: 'healthy'; readonly of: string } | { readonly state: 'waiting'; readonly for: string };

export function healthAfter({ step, direction }: Move, view: View): Health {
  if (view.apiTrouble !== undefined) return waiting(`the API server (${view.apiTrouble})`);
  const { component, kind } = step;
  const plain = mirror(view, view.staticName);
  const shared = mirror(view, sharedName(view.staticName));
  const daemon = daemonPod(component, view);
  switch (direction === 'there' ? kind : (`back from ${kind}` as const)) {
    case 'share':
      return plain !== undefined ? waiting('the old static pod to end') : runs(shared, 'the static pod that shares its port');
    case 'back from share':
      return shared !== undefined ? waiting('the static pod that shared its port to end') : runs(plain, 'the static pod');
    case 'apply':
      return view.daemonSet ? runs(shared ?? daemon, 'the static pod') : waiting('the DaemonSet');
    case 'back from apply':
      if (view.daemonSet && view.assigned.length === 0) return waiting('the DaemonSet to be deleted');
      if (daemon !== undefined) return waiting(`pod ${daemon.metadata?.name ?? ''} to end`);
      // The step behind the API server's takes it away for a moment. A checkpointer that still had copies would start them meanwhile, and the static pods,
      // whose ports are exclusive again, could not.
      if (component === COMPONENTS[0] && view.keptCopies.length > 0)
        return waiting(`the checkpointer to retire its copies of ${view.keptCopies.join(', ')} (--checkpoint-grace-period)`);
      return runs(shared, 'the static pod');
    case 'assign': {
      if (view.nodeLabels[selfHostedLabel(component)] !== SELF_HOSTED) return waiting("the node's label");
      const health = runs(daemon, "the DaemonSet's pod");
      return health.state === 'waiting' ? health : isProven(view.stored) ? health : waiting('a proven copy of it in the store');
    }
    case 'back from assign':
      return daemon !== undefined ? waiting(`pod ${daemon.metadata?.name ?? ''} to end`) : runs(shared, 'the static pod');
    case 'withdraw':
      return shared !== undefined || plain !== undefined ? waiting('the static pod to end') : runs(daemon, "the DaemonSet's pod");
    case 'back from withdraw':
      return runs(shared, 'the static pod');
  }
}

const waiting = (what: string): Health => ({ state: 'waiting', for: what });

/** A static pod is seen in the API by its mirror, whose name ends in the node's. */
function mirror({ pods, node }: View, name: string): V1Pod | undefined {
  return pods.find(
    ({ metadata }) => metadata?.annotations?.[CONFIG_MIRROR] !== undefined && metadata.name === `${name}-${node.toLowerCase()}`,
  );
}

/** The newest that is not on its way out, else one that is. */
function daemonPod(component: Component, { pods }: View): V1Pod | undefined {
  const owned = pods.filter(
    ({ metadata }) =>
      metadata?.labels?.[APP_LABEL] === component &&
      metadata.ownerReferences?.some((owner) => owner.controller === true && owner.kind === 'DaemonSet' && owner.name === component),
  );
  const created = ({ metadata }: V1Pod): number => new Date(metadata?.creationTimestamp ?? 0).getTime();
  const leaves = ({ metadata }: V1Pod): number => Number(metadata?.deletionTimestamp !== undefined);
  return owned.toSorted((a, b) => leaves(a) - leaves(b) || created(b) - created(a))[0];
}

function runs(pod: V1Pod | undefined, what: string): Health {
  if (pod === undefined) return waiting(`${what} to be made`);
  const name = pod.metadata?.name ?? '';
  if (pod.metadata?.deletionTimestamp !== undefined) return waiting(`${what} ${name}, which is being deleted`);
  const ready = pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
  if (!ready) return waiting(`${what} ${name} to be Ready${whyNot(pod)}`);
  const restarts = (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
  return { state: 'healthy', of: `${pod.metadata?.uid ?? name}/${restarts}` };
}

/** The kubelet's or the scheduler's own words. */
function whyNot({ spec, status }: V1Pod): string {
  const container = (status?.containerStatuses ?? []).map(({ state }) => state?.waiting?.reason ?? state?.terminated?.reason).find(Boolean);
  if (container !== undefined) return ` (${container})`;
  const unbound = spec?.nodeName === undefined ? status?.conditions?.find(({ type }) => type === 'PodScheduled') : undefined;
  const reason = status?.reason ?? unbound?.message;
  return reason === undefined ? '' : ` (${reason})`;
}

/** What a power cut would bring back is what runs now. */
function isProven(stored: StoredWorkload | undefined): boolean {
  return stored?.proven !== undefined && stored.proven === stored.newest;
}
