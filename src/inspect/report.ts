/** What `inspect -o json` prints: one document, its shape described in docs/inspect.md. Pure. */
import type { CopyToken } from '../checkpoint/copy-types.ts';
import type { ApiState, GenerationNumber, KubeletState, WorkloadObservation } from '../checkpoint/model.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { observe } from '../sources/observe.ts';
import type { Sandbox } from '../sources/snapshots.ts';
import type { WorkloadStatus } from '../status.ts';
import type { Facts, LeaderFacts, StoreFacts, UnitState } from './facts.ts';
import type { Finding } from './finding.ts';
import { WARN_BEFORE, type WarnBefore } from './foresight/expiry.ts';
import { type PredecessorReport, predecessorReports } from './foresight/predecessor.ts';
import { keysOf, type PowerCut, powerCut, type Verdict } from './power-cut.ts';

export interface Inspection {
  /** Of this document. Fields are added within a version, never changed or removed. */
  readonly version: 2;
  /** When it was made, RFC 3339. */
  readonly at: string;
  /** What would happen at a power cut now: the worst of all workloads' and the node's own. */
  readonly verdict: Verdict;
  readonly node: NodeReport;
  readonly workloads: readonly WorkloadReport[];
  /** Out of use, and still kept. */
  readonly retired: readonly RetiredReport[];
}

export interface NodeReport {
  readonly bootId?: string;
  readonly leader: LeaderReport;
  readonly kubeletLock: KubeletState;
  readonly api: ApiState;
  readonly runtime: { readonly state: 'ok'; readonly name?: string } | { readonly state: 'unknown'; readonly detail: string };
  readonly store: StoreReport;
  readonly bootUnit: UnitState;
  readonly hostUnit: UnitState;
  readonly staticPodPath: { readonly ours: string; readonly kubelets?: string; readonly from?: string };
  readonly findings: readonly Finding[];
  /** What bootkube's pod-checkpointer left; absent where nothing of it is there. */
  readonly predecessor?: readonly PredecessorReport[];
}

export interface LeaderReport {
  readonly state: LeaderFacts['state'];
  readonly detail?: string;
  /** As written down when it began to lead; of an earlier boot where `bootId` is not the node's. */
  readonly pid?: number;
  readonly where?: string;
  readonly since?: string;
  readonly bootId?: string;
  readonly version?: string;
}

export type StoreReport = { readonly path: string } & (
  | {
      readonly state: 'ok';
      readonly generations: number;
      readonly damaged: number;
      /** Of all generations, bytes. */
      readonly bytes: number;
      readonly freeBytes: number;
      readonly sizeBytes: number;
      readonly quarantined: readonly string[];
    }
  | { readonly state: 'missing' }
  | { readonly state: 'unknown'; readonly detail: string }
);

export interface GenerationRef {
  readonly generation: GenerationNumber;
  readonly createdAt?: string;
}

export interface WorkloadReport {
  readonly workload: string;
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  /** As the leader last said; `Unknown` where none has. */
  readonly reason: string;
  readonly message: string;
  readonly since?: string;
  readonly parent: ParentReport;
  readonly active: readonly ActiveReport[];
  readonly proven?: GenerationRef;
  readonly newest?: GenerationRef;
  readonly previous?: GenerationRef;
  /** Numbers of all stored generations. */
  readonly generations: readonly GenerationNumber[];
  readonly damaged: readonly { readonly generation: GenerationNumber; readonly detail: string }[];
  /** Service account tokens of the generation that a reboot gets. Past `expiresAt`, or without the pod that they are bound to, they are worth nothing. */
  readonly tokens: readonly CopyToken[];
  readonly powerCut: Omit<PowerCut, 'findings'>;
  readonly findings: readonly Finding[];
}

export interface ParentReport {
  /** As the container runtime says. */
  readonly state: 'running' | 'not running' | 'unknown';
  readonly name?: string;
  /** Since when the newest of its containers runs (was created). */
  readonly runningSince?: string;
  /** Sum over its containers. */
  readonly restarts?: number;
}

export interface ActiveReport {
  readonly generation: GenerationNumber;
  readonly activation: number;
  readonly file: string;
  readonly state: 'running' | 'not running' | 'unknown';
  readonly runningSince?: string;
  readonly restarts?: number;
}

export interface RetiredReport {
  readonly workload: string;
  readonly retiredAt: string;
  readonly generations: readonly GenerationNumber[];
}

export function inspection(facts: Facts, warnBefore: WarnBefore = WARN_BEFORE): Inspection {
  const { disk, status } = facts;
  const cut = powerCut(facts, warnBefore);
  const observed = observations(facts);
  return {
    version: 2,
    at: iso(facts.at),
    verdict: cut.verdict,
    node: nodeReport(facts, cut.findings),
    workloads: keysOf(facts).flatMap((key) => {
      const own = cut.workloads.get(key);
      return own === undefined ? [] : [workloadReport(facts, key, own, observed.get(key), status?.workloads[key])];
    }),
    retired: (disk.state === 'ok' ? disk.store.retired : []).map(({ entry, age, workload, stored }) => ({
      workload: `${workload.namespace}/${workload.kind}/${workload.name}`,
      retiredAt: iso(Number(/\.([0-9]+)$/.exec(entry)?.[1] ?? facts.at - age)),
      generations: [...stored.generations.keys()],
    })),
  };
}

function nodeReport(facts: Facts, findings: readonly Finding[]): NodeReport {
  const { bootId, leader, kubeletLock, api, runtime, store, units, kubelet, places, generations } = facts;
  const predecessor = predecessorReports(facts);
  const { recorded } = leader;
  const numbers = [...generations.values()].reduce((sum, one) => sum + one.size, 0);
  return {
    ...(bootId !== undefined && { bootId }),
    leader: {
      state: leader.state,
      ...(leader.state === 'unknown' && { detail: leader.detail }),
      ...(recorded !== undefined && {
        pid: recorded.pid,
        where: recorded.where,
        since: recorded.since,
        bootId: recorded.bootId,
        version: recorded.version,
      }),
    },
    kubeletLock,
    api,
    runtime:
      runtime.state === 'ok'
        ? { state: 'ok', ...(runtime.name !== undefined && { name: runtime.name }) }
        : { state: 'unknown', detail: runtime.detail },
    store: { path: places.checkpointDir, ...storeReport(store, numbers) },
    bootUnit: units.boot,
    hostUnit: units.host,
    staticPodPath: {
      ours: places.podManifestPath,
      ...(kubelet.staticPodPath !== undefined && { kubelets: kubelet.staticPodPath.path, from: kubelet.staticPodPath.from }),
    },
    findings,
    ...(predecessor.length > 0 && { predecessor }),
  };
}

function storeReport(
  store: StoreFacts,
  generations: number,
): Omit<Extract<StoreReport, { state: 'ok' }>, 'path'> | Exclude<StoreFacts, { state: 'ok' }> {
  if (store.state !== 'ok') return store;
  const { bytes, damaged, space, quarantined } = store;
  const [freeBytes, sizeBytes] = [space.bavail * space.bsize, space.blocks * space.bsize];
  return { state: 'ok', generations, damaged, bytes, freeBytes, sizeBytes, quarantined };
}

/** What of the runtime belongs to which workload is decided where the daemon decides it; without the API server, by marks and names. */
function observations({ bootId = '', runtime, disk, kubeletLock, self }: Facts): ReadonlyMap<WorkloadKey, WorkloadObservation> {
  const api = { state: { state: 'unknown' }, pods: new Map(), absences: new Map(), owners: new Map() } as const;
  const object = () => ({ state: 'unknown', detail: 'not asked' }) as const;
  return observe({ now: 0, bootId, api: { ...api, object }, runtime, disk, kubelet: kubeletLock, self }, () => ({
    kind: 'waiting',
    objects: [],
  })).workloads;
}

function workloadReport(
  facts: Facts,
  key: WorkloadKey,
  { findings, ...cut }: PowerCut,
  observed: WorkloadObservation | undefined,
  status: WorkloadStatus | undefined,
): WorkloadReport {
  const [namespace = '', kind = '', name = ''] = key.split('/');
  const stored = observed?.stored;
  const known = facts.generations.get(key);
  const reference = (field: 'proven' | 'newest' | 'previous') => {
    const generation = stored?.[field];
    const createdAt = generation === undefined ? undefined : known?.get(generation)?.createdAt;
    return generation === undefined ? {} : { [field]: { generation, ...(createdAt !== undefined && createdAt !== '' && { createdAt }) } };
  };
  const damaged = [...(known?.values() ?? [])].flatMap(({ number, damage }) =>
    damage === undefined ? [] : [{ generation: number, detail: damage }],
  );
  return {
    workload: key,
    namespace,
    kind,
    name,
    reason: status?.reason ?? 'Unknown',
    message: status?.message ?? 'no daemon has said anything about this workload',
    ...(status !== undefined && { since: status.since }),
    parent: parentReport(facts, observed, status),
    active: activeReports(facts, key, observed),
    ...reference('proven'),
    ...reference('newest'),
    ...reference('previous'),
    generations: [...(stored?.generations.keys() ?? [])],
    damaged,
    tokens: known?.get(stored?.proven ?? stored?.newest ?? 0)?.tokens ?? [],
    powerCut: cut,
    findings,
  };
}

function parentReport({ runtime }: Facts, observed: WorkloadObservation | undefined, status: WorkloadStatus | undefined): ParentReport {
  const newest = observed?.stored?.generations.get(observed.stored.newest ?? 0);
  const name = status?.parent ?? newest?.parent.name;
  const named = name === undefined ? {} : { name };
  if (runtime.state === 'unknown') return { state: 'unknown', ...named };
  // Of a workload that has no copy only its pod's name is known.
  if (observed === undefined) {
    const sandbox = runtime.sandboxes.findLast((one) => one.namespace === status?.namespace && one.name === status.parent);
    return { ...named, ...running(sandbox) };
  }
  // During a rollout the workload may have two pods here: the one that runs is spoken of.
  const pods = observed.parentPods;
  const pod = pods.find(({ running }) => running > 0) ?? pods[0];
  if (pod === undefined) return { state: 'not running', ...named };
  return { name: pod.name, ...running(runtime.sandboxes.find(({ id }) => id === pod.sandboxId)) };
}

function activeReports({ disk, runtime }: Facts, key: WorkloadKey, observed: WorkloadObservation | undefined): ActiveReport[] {
  const manifests = disk.state === 'ok' ? disk.manifests.filter(({ workload }) => workload === key) : [];
  return manifests.map(({ generation, activation, file }) => {
    if (runtime.state === 'unknown') return { generation, activation, file, state: 'unknown' };
    const pod = observed?.copyPods.find((one) => one.generation === generation && one.activation === activation);
    return { generation, activation, file, ...running(runtime.sandboxes.find(({ id }) => id === pod?.sandboxId)) };
  });
}

function running(sandbox: Sandbox | undefined): Pick<ParentReport, 'state' | 'runningSince' | 'restarts'> {
  if (sandbox === undefined) return { state: 'not running' };
  const restarts = [...Map.groupBy(sandbox.containers, ({ name }) => name).values()]
    .map((attempts) => Math.max(...attempts.map(({ attempt }) => attempt)))
    .reduce((sum, one) => sum + one, 0);
  const started = sandbox.ready ? sandbox.containers.filter(({ state }) => state === 'running').map(({ startedAt }) => startedAt) : [];
  if (started.length === 0) return { state: 'not running', restarts };
  return { state: 'running', runningSince: iso(Math.max(...started)), restarts };
}

const iso = (ms: number): string => new Date(ms).toISOString();
