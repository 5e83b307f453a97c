/** Puts the snapshots of all sources together into one Observation. Pure: what belongs to which workload is decided here and nowhere else. */
import type { V1Pod } from '@kubernetes/client-node';
import { ACTIVATION, CHECKPOINT, CONFIG_SOURCE, GENERATION, WORKLOAD } from '../checkpoint/annotations.ts';
import {
  type CopyOutcome,
  type CopyPod,
  type KubeletState,
  type Millis,
  type Observation,
  OF_PREDECESSOR,
  type Parent,
  type ParentState,
  type Rejection,
  type RuntimePod,
  type WorkloadObservation,
} from '../checkpoint/model.ts';
import type { OwnerState } from '../checkpoint/owner-wants.ts';
import { isMarked } from '../checkpoint/selection.ts';
import { ownsPodName, type Workload, type WorkloadKey, workloadKey, workloadOf } from '../checkpoint/workload.ts';
import { runsPredecessor } from '../predecessor/itself.ts';
import { activeOf, checkpointsOf, isItsCopy, joinPredecessor } from '../predecessor/observe.ts';
import type { DiskSnapshot } from './disk.ts';
import type { ApiSnapshot, RuntimeSnapshot, Sandbox } from './snapshots.ts';

export interface Snapshots {
  readonly now: Millis;
  readonly bootId: string;
  readonly api: ApiSnapshot;
  readonly runtime: RuntimeSnapshot;
  readonly disk: DiskSnapshot;
  readonly kubelet: KubeletState;
  /** The daemon's own workload, where it runs as one. */
  readonly self: WorkloadKey | undefined;
  /** The answers to what `decide` asked; nothing where nobody asked. */
  readonly asked?: Asked;
}

export interface Asked {
  readonly owners: ReadonlyMap<WorkloadKey, OwnerState>;
  /** By pod uid. */
  readonly answering: ReadonlyMap<string, boolean>;
  readonly refusals: ReadonlyMap<WorkloadKey, readonly string[]>;
  readonly runsIn: Observation['runsIn'];
  readonly steppedDown: Observation['steppedDown'];
}

export type Copier = (pod: V1Pod, api: ApiSnapshot) => CopyOutcome;

export function observe(given: Snapshots, copier: Copier): Observation {
  const { now, bootId, api, runtime, disk, self, kubelet, asked } = given;
  const base = {
    ...(asked?.runsIn && { runsIn: asked.runsIn }),
    ...(asked?.steppedDown && { steppedDown: asked.steppedDown }),
    ...(asked && { owners: asked.owners }),
    now,
    bootId,
    api: api.state,
    kubelet,
    runtime: runtime.state === 'ok' ? runtime : { state: runtime.state, detail: runtime.detail },
  } as const;
  if (disk.state === 'unknown') return { ...base, settledBootId: undefined, disk, self, absences: api.absences, workloads: new Map() };

  const marked = api.state.state === 'ok' ? markedPods(api.pods) : new Map<WorkloadKey, V1Pod[]>();
  const names = new Map<WorkloadKey, Workload>();
  for (const pods of marked.values()) for (const pod of pods) names.set(workloadKey(workloadOf(pod)), workloadOf(pod));
  for (const [key, { workload }] of disk.store.workloads) names.set(key, workload);

  const predecessor = joinPredecessor(disk.predecessor, api, names);
  const sandboxes = runtime.state === 'ok' ? latestSandboxes(runtime.sandboxes) : [];
  const workloads = new Map<WorkloadKey, WorkloadObservation>();
  for (const [key, workload] of names) {
    const pods = marked.get(key) ?? [];
    const stored = disk.store.workloads.get(key)?.stored;
    const parent = parentState(api, workload, pods, copier);
    const refusal = asked?.refusals.get(key);
    const rejected = rejectedParent(api, key);
    // Of a workload that nothing is stored of, nothing could take their place: they are left alone.
    const inherited = stored === undefined ? [] : checkpointsOf(predecessor, key, self);
    const isInherited = (sandbox: Sandbox) =>
      predecessor !== undefined && stored !== undefined && key !== self && isItsCopy(sandbox, workload, inherited, predecessor);
    workloads.set(key, {
      workload,
      parent,
      parentPods: sandboxes.filter((sandbox) => isParent(sandbox, workload, pods, api)).map(runtimePod),
      copyPods: sandboxes.flatMap((sandbox) =>
        isInherited(sandbox) ? [{ ...runtimePod(sandbox), generation: OF_PREDECESSOR, activation: OF_PREDECESSOR }] : copyPod(sandbox, key),
      ),
      stored,
      active: [
        ...disk.manifests
          .filter((manifest) => manifest.workload === key)
          .map(({ file, generation, activation, edits }) => ({ file, generation, activation, edits })),
        ...activeOf(inherited),
      ],
      ...(asked && { answering: asked.answering }),
      ...(refusal && { refusal }),
      ...(rejected && { rejected }),
    });
  }
  return {
    ...base,
    settledBootId: disk.store.settledBootId,
    retired: disk.store.retired.map(({ workload, entry, age, stored, replaced }) => ({
      ...(replaced !== undefined && { replaced }),
      workload,
      entry,
      age,
      servesApi: [...stored.generations.values()].some(({ traits }) => traits.servesApi),
    })),
    ...(disk.staticApiServer !== undefined && { staticApiServer: disk.staticApiServer }),
    disk: { state: 'ok' },
    self,
    absences: api.absences,
    workloads,
    ...(predecessor && { predecessor }),
    ...((disk.predecessor?.state === 'unknown' || disk.predecessor?.unread) && { predecessorUnread: true as const }),
  };
}

function markedPods(pods: ReadonlyMap<string, V1Pod>): Map<WorkloadKey, V1Pod[]> {
  const marked = new Map<WorkloadKey, V1Pod[]>();
  for (const pod of pods.values()) {
    // bootkube's own pods are marked, too; one that waits for the lock is nothing to bring back.
    if (!isMarked(pod) || hasEnded(pod) || runsPredecessor(pod)) continue;
    const key = workloadKey(workloadOf(pod));
    marked.set(key, [...(marked.get(key) ?? []), pod]);
  }
  return marked;
}

/** During a rollout a workload may have two pods here: the newest that is not on its way out is the parent. */
function parentState(api: ApiSnapshot, workload: Workload, pods: readonly V1Pod[], copier: Copier): ParentState {
  if (api.state.state !== 'ok') return { state: 'unknown' };
  const [pod] = pods.toSorted((a, b) => Number(isTerminating(a)) - Number(isTerminating(b)) || created(b) - created(a) || compare(a, b));
  if (pod !== undefined) return { state: 'present', pod: parentOf(pod, copier(pod, api)) };
  const key = workloadKey(workload);
  const unmarked = [...api.pods.values()].some(
    (other) => other.metadata?.annotations?.[CHECKPOINT] !== 'true' && !isTerminating(other) && workloadKey(workloadOf(other)) === key,
  );
  return { state: 'absent', unmarked };
}

/** The kubelet refuses a pod at admission before it makes anything of it: one that ran and was evicted says something about its containers. */
function rejectedParent(api: ApiSnapshot, key: WorkloadKey): Rejection | undefined {
  if (api.state.state !== 'ok') return undefined;
  const refused = [...api.pods.values()].filter(
    (pod) =>
      pod.status?.phase === 'Failed' &&
      (pod.status.reason ?? '') !== '' &&
      (pod.status.containerStatuses ?? []).length === 0 &&
      isMarked(pod) &&
      workloadKey(workloadOf(pod)) === key,
  );
  const [newest] = refused.toSorted((a, b) => created(b) - created(a) || compare(a, b));
  return newest && { reason: newest.status?.reason ?? '', message: newest.status?.message ?? '' };
}

function parentOf(pod: V1Pod, copy: CopyOutcome): Parent {
  return {
    name: pod.metadata?.name ?? '',
    uid: pod.metadata?.uid ?? '',
    terminating: isTerminating(pod),
    ready: pod.status?.conditions?.some((condition) => condition.type === 'Ready' && condition.status === 'True') === true,
    restarts: (pod.status?.containerStatuses ?? []).reduce((sum, status) => sum + status.restartCount, 0),
    copy,
  };
}

/** An evicted pod stays in the API for as long as nobody removes it, and never runs again. */
const hasEnded = (pod: V1Pod): boolean => pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded';
const isTerminating = (pod: V1Pod): boolean => pod.metadata?.deletionTimestamp !== undefined;
const created = (pod: V1Pod): number => new Date(pod.metadata?.creationTimestamp ?? 0).getTime();
const compare = (a: V1Pod, b: V1Pod): number => ((a.metadata?.uid ?? '') < (b.metadata?.uid ?? '') ? -1 : 1);

/** A pod keeps its uid when its sandbox is made anew; the latest one is the pod. Of earlier ones only the ended containers matter, which the kubelet still counts. */
function latestSandboxes(sandboxes: readonly Sandbox[]): Seen[] {
  const seen = new Map<string, Seen>();
  for (const sandbox of sandboxes) {
    const ended = sandbox.containers.filter((container) => container.state === 'exited');
    const other = seen.get(sandbox.uid);
    if (other === undefined) seen.set(sandbox.uid, { ...sandbox, ended });
    else seen.set(sandbox.uid, { ...(isLater(sandbox, other) ? sandbox : other), ended: [...other.ended, ...ended] });
  }
  return [...seen.values()];
}

interface Seen extends Sandbox {
  readonly ended: Sandbox['containers'];
}

const isLater = (one: Sandbox, other: Sandbox): boolean =>
  one.attempt > other.attempt || (one.attempt === other.attempt && one.createdAt > other.createdAt);

/** By uid while the API server answers. Without it, by the mark and the name: the kubelet copies a pod's annotations to its sandbox. */
function isParent(sandbox: Sandbox, workload: Workload, pods: readonly V1Pod[], api: ApiSnapshot): boolean {
  if (sandbox.namespace !== workload.namespace || sandbox.annotations[CONFIG_SOURCE] !== 'api') return false;
  if (pods.some((pod) => pod.metadata?.uid === sandbox.uid)) return true;
  const known = api.state.state === 'ok' ? api.pods.get(sandbox.uid) : undefined;
  if (known !== undefined) return workloadKey(workloadOf(known)) === workloadKey(workload);
  return sandbox.annotations[CHECKPOINT] === 'true' && ownsPodName(workload, sandbox.name);
}

function copyPod(sandbox: Seen, key: WorkloadKey): CopyPod[] {
  if (sandbox.annotations[WORKLOAD] !== key || sandbox.annotations[CONFIG_SOURCE] === 'api') return [];
  return [
    {
      ...runtimePod(sandbox),
      generation: Number(sandbox.annotations[GENERATION] ?? 0),
      activation: Number(sandbox.annotations[ACTIVATION] ?? 0),
    },
  ];
}

function runtimePod(sandbox: Seen): RuntimePod {
  const newest = new Map<string, Sandbox['containers'][number]>();
  for (const container of sandbox.containers) {
    const other = newest.get(container.name);
    if (other === undefined || container.attempt > other.attempt) newest.set(container.name, container);
  }
  const containers = [...newest.values()];
  const running = sandbox.ready ? containers.filter((container) => container.state === 'running') : [];
  return {
    uid: sandbox.uid,
    name: sandbox.name,
    sandboxId: sandbox.id,
    sandboxReady: sandbox.ready,
    created: sandbox.ready ? containers.length : 0,
    running: running.length,
    alive: sandbox.ready ? containers.filter((container) => container.state === 'created' || container.state === 'running').length : 0,
    up:
      running.length > 0 &&
      containers.every((container) => container.state === 'running' || (container.state === 'exited' && container.exitCode === 0)),
    attempts: containers.reduce((sum, container) => sum + container.attempt, 0),
    runningContainerIds: running.map((container) => container.id),
    endedContainerIds: sandbox.ended.map(({ id }) => id),
    crashedContainerIds: sandbox.ended.filter(({ exitCode }) => exitCode !== 0).map(({ id }) => id),
  };
}
