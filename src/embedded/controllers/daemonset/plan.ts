/**
 * What a DaemonSet needs next, from what there is: pure, one look at a time. Follows pkg/controller/daemon: first each node gets its one pod
 * (failed ones are deleted and made again), then, if nothing was missing, a new template is rolled out.
 */
import type { KubeObject, Pod } from '../../apiserver/objects.ts';
import { intendedNode, selectsNode, toleratesTaints } from '../placement.ts';
import { type DaemonSet, daemonTolerations, REVISION_HASH, revisionHash } from './template.ts';

export interface DaemonSetView {
  readonly set: DaemonSet;
  readonly nodes: readonly KubeObject[];
  /** Pods that the DaemonSet controls. */
  readonly pods: readonly Pod[];
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Milliseconds until a failed pod of this node may be deleted; 0 for at once. */
  backoff(nodeName: string): number;
}

export interface DaemonSetPlan {
  /** Nodes to make a pod for. */
  readonly create: readonly string[];
  readonly remove: readonly Pod[];
  /** Nodes among whose pods a failed one is removed. */
  readonly failed: readonly string[];
  readonly status: object;
  /** Time alone will change the plan then. */
  readonly againInMs: number | undefined;
}

type Placement = 'run' | 'keep' | 'none';

export function planDaemonSet(view: DaemonSetView): DaemonSetPlan {
  const { set, nodes } = view;
  const placement = new Map(nodes.map((node) => [node.metadata.name, placementOn(set, node)]));
  const byNode = groupByNode(view.pods);
  const wanted = nodes.map((node) => node.metadata.name).filter((name) => placement.get(name) === 'run');
  const status = statusOf(view, wanted, byNode);
  if (set.metadata.deletionTimestamp !== undefined) return { create: [], remove: [], failed: [], status, againInMs: undefined };

  const create = wanted.filter((name) => !byNode.has(name));
  const remove: Pod[] = [];
  const failed: string[] = [];
  const waits: number[] = [];
  for (const [name, pods] of byNode) {
    const alive = pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
    if ((placement.get(name) ?? 'none') === 'none') {
      remove.push(...alive);
      continue;
    }
    const ended = alive.filter((pod) => pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded');
    const wait = ended.length === 0 ? 0 : view.backoff(name);
    if (wait > 0) waits.push(wait);
    else if (ended.length > 0) {
      failed.push(name);
      remove.push(...ended);
    }
    remove.push(
      ...surplus(
        view,
        alive.filter((pod) => !ended.includes(pod)),
      ),
    );
  }
  const rollout = create.length + remove.length > 0 ? { create: [], remove: [] } : rollOut(view, wanted, byNode);
  waits.push(...view.pods.flatMap((pod) => untilAvailable(view, pod)));
  return {
    create: [...create, ...rollout.create],
    remove: [...remove, ...rollout.remove],
    failed,
    status,
    againInMs: waits.length === 0 ? undefined : Math.min(...waits),
  };
}

/** A taint that only keeps new pods away lets those stay that are there. */
function placementOn(set: DaemonSet, node: KubeObject): Placement {
  const spec = set.spec.template.spec ?? { containers: [] };
  const tolerations = daemonTolerations(spec);
  if (spec.nodeName !== undefined && spec.nodeName !== node.metadata.name) return 'none';
  if (!selectsNode(spec, node) || !toleratesTaints(tolerations, node, ['NoExecute'])) return 'none';
  return toleratesTaints(tolerations, node, ['NoSchedule']) ? 'run' : 'keep';
}

function groupByNode(pods: readonly Pod[]): Map<string, Pod[]> {
  const groups = new Map<string, Pod[]>();
  for (const pod of pods) {
    const name = pod.spec.nodeName ?? intendedNode(pod.spec) ?? '';
    groups.set(name, [...(groups.get(name) ?? []), pod]);
  }
  return groups;
}

/** Pods too many on one node: all but the oldest; during a surge the oldest of the new and of the old template both stay. */
function surplus(view: DaemonSetView, pods: readonly Pod[]): Pod[] {
  const byAge = pods.toSorted((a, b) => age(a) - age(b));
  if (limitsOf(view.set, 1).surge === 0) return byAge.slice(1);
  return [...byAge.filter((pod) => isNew(view.set, pod)).slice(1), ...byAge.filter((pod) => !isNew(view.set, pod)).slice(1)];
}

/** Bound pods before those that wait, then by creation. */
function age(pod: Pod): number {
  const waiting = (pod.spec.nodeName ?? '') === '' ? Number.MAX_SAFE_INTEGER / 2 : 0;
  return waiting + Date.parse(pod.metadata.creationTimestamp ?? '');
}

function rollOut(
  view: DaemonSetView,
  wanted: readonly string[],
  byNode: ReadonlyMap<string, readonly Pod[]>,
): { create: string[]; remove: Pod[] } {
  const { set } = view;
  if (set.spec.updateStrategy?.type === 'OnDelete') return { create: [], remove: [] };
  const { unavailable: maxUnavailable, surge: maxSurge } = limitsOf(set, wanted.length);
  return maxSurge > 0 ? surge(view, byNode, maxSurge) : replace(view, byNode, maxUnavailable);
}

/** Without a surge: the old pod goes first, as many at a time as may be unavailable; one that is unavailable anyway goes at once. */
function replace(
  view: DaemonSetView,
  byNode: ReadonlyMap<string, readonly Pod[]>,
  maxUnavailable: number,
): { create: string[]; remove: Pod[] } {
  let unavailable = 0;
  const broken: Pod[] = [];
  const candidates: Pod[] = [];
  for (const pods of byNode.values()) {
    const [pod] = pods;
    if (pod === undefined) continue;
    const available = isAvailable(view, pod) && pod.metadata.deletionTimestamp === undefined;
    if (!available) unavailable += 1;
    if (isNew(view.set, pod) || pod.metadata.deletionTimestamp !== undefined) continue;
    (available ? candidates : broken).push(pod);
  }
  return { create: [], remove: [...broken, ...candidates.slice(0, Math.max(0, maxUnavailable - unavailable))] };
}

/** With a surge: the new pod comes first, and the old one goes once the new one is available, or at once if it is not ready itself. */
function surge(view: DaemonSetView, byNode: ReadonlyMap<string, readonly Pod[]>, maxSurge: number): { create: string[]; remove: Pod[] } {
  let surging = 0;
  const remove: Pod[] = [];
  const atOnce: string[] = [];
  const candidates: string[] = [];
  for (const [name, pods] of byNode) {
    const old = pods.find((pod) => !isNew(view.set, pod));
    const fresh = pods.find((pod) => isNew(view.set, pod));
    if (old === undefined) continue;
    if (fresh === undefined) {
      if (old.metadata.deletionTimestamp !== undefined || !isAvailable(view, old)) atOnce.push(name);
      else candidates.push(name);
    } else {
      surging += 1;
      const done = isAvailable(view, fresh) || !isReady(old);
      if (done && old.metadata.deletionTimestamp === undefined) remove.push(old);
    }
  }
  return { create: [...atOnce, ...candidates.slice(0, Math.max(0, maxSurge - surging))], remove };
}

function isNew(set: DaemonSet, pod: Pod): boolean {
  return pod.metadata.labels?.[REVISION_HASH] === revisionHash(set);
}

function readySince(pod: Pod): number | undefined {
  const ready = pod.status?.conditions?.find((condition) => condition.type === 'Ready' && condition.status === 'True');
  return ready === undefined ? undefined : Date.parse(String(ready.lastTransitionTime ?? '')) || 0;
}

function isReady(pod: Pod): boolean {
  return readySince(pod) !== undefined;
}

function isAvailable(view: DaemonSetView, pod: Pod): boolean {
  return isReady(pod) && untilAvailable(view, pod).length === 0;
}

/** Milliseconds that a ready pod still has to be ready for, empty when there are none. */
function untilAvailable(view: DaemonSetView, pod: Pod): number[] {
  const since = readySince(pod);
  if (since === undefined) return [];
  const left = since + (view.set.spec.minReadySeconds ?? 0) * 1000 - view.now;
  return left > 0 ? [left] : [];
}

function limitsOf(set: DaemonSet, nodes: number): { unavailable: number; surge: number } {
  const { maxUnavailable = 1, maxSurge = 0 } = set.spec.updateStrategy?.rollingUpdate ?? {};
  const count = (value: unknown) => {
    const text = String(value);
    return text.endsWith('%') ? Math.ceil((Number(text.slice(0, -1)) * nodes) / 100) : Number(text);
  };
  return { unavailable: count(maxUnavailable), surge: count(maxSurge) };
}

function statusOf(view: DaemonSetView, wanted: readonly string[], byNode: ReadonlyMap<string, readonly Pod[]>): object {
  const on = (name: string) => byNode.get(name) ?? [];
  const count = (holds: (pod: Pod) => boolean) => wanted.filter((name) => on(name).some(holds)).length;
  const numberAvailable = count((pod) => isAvailable(view, pod));
  return {
    observedGeneration: view.set.metadata.generation ?? 1,
    desiredNumberScheduled: wanted.length,
    currentNumberScheduled: count(() => true),
    numberMisscheduled: [...byNode.keys()].filter((name) => !wanted.includes(name)).length,
    numberReady: count(isReady),
    updatedNumberScheduled: count((pod) => isNew(view.set, pod)),
    numberAvailable,
    numberUnavailable: wanted.length - numberAvailable,
  };
}
