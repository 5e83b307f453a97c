/** What the daemon last decided, written for people: `inspect` reads it while the API server is away. Lost, it is written again; nothing is decided from it. */
import type { Decision } from './checkpoint/decide.ts';
import type { Digest, GenerationNumber, Observation, StoredWorkload, WorkloadObservation } from './checkpoint/model.ts';
import { leaderPath, statusPath } from './checkpoint/store/paths.ts';
import type { Reason } from './checkpoint/verdict.ts';
import { workloadKey } from './checkpoint/workload.ts';
import { readRegular, replaceDurable } from './platform/durable.ts';

const LIMIT = 4 * 1024 * 1024;

export interface WorkloadStatus {
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly reason: Reason;
  readonly message: string;
  /** RFC 3339: when the reason became this one. */
  readonly since: string;
  readonly parent?: string;
  readonly parentUid?: string;
  readonly newest?: GenerationStatus;
  /** `at`, RFC 3339: when this copy was first seen to be proven. A generation with the same copy (newer tokens, another pod) keeps it. */
  readonly proven?: GenerationStatus & { readonly at: string };
  /** The activation whose manifest lies in the kubelet's directory. */
  readonly active?: { readonly generation: GenerationNumber; readonly activation: number };
  /** The checkpointer's own workload, whose copy is active all the time. */
  readonly self?: true;
  /** What bootkube's pod-checkpointer left of it, and what that waits for. */
  readonly predecessor?: string;
}

export interface GenerationStatus {
  readonly generation: GenerationNumber;
  readonly digest: Digest;
}

export interface Status {
  readonly api: string;
  readonly runtime: string;
  readonly disk: string;
  readonly bootId: string;
  readonly workloads: Readonly<Record<string, WorkloadStatus>>;
}

export interface Leader {
  readonly pid: number;
  /** Where it runs: a pod of its workload, or `host`. */
  readonly where: string;
  readonly since: string;
  readonly bootId: string;
  readonly version: string;
}

/**
 * The next status: `since` moves, and the message is taken over, only when the reason changes, because messages count seconds. While the disk cannot be
 * read nothing is decided about any workload, and what was last known of them stays.
 */
export function nextStatus(before: Status | undefined, observation: Observation, decision: Decision, now: string): Status {
  const { api, runtime, disk, bootId } = observation;
  const sources = { api: api.state, runtime: runtime.state, disk: disk.state, bootId };
  if (disk.state === 'unknown') return { ...sources, workloads: before?.workloads ?? {} };
  const workloads = Object.fromEntries(
    [...observation.workloads.values()].flatMap((observed): [string, WorkloadStatus][] => {
      const key = workloadKey(observed.workload);
      const report = decision.reports.get(key);
      if (report === undefined) return [];
      const old = before?.workloads[key];
      const inherited = decision.predecessor?.get(key) ?? (observation.predecessorUnread ? old?.predecessor : undefined);
      const { namespace, kind, name } = observed.workload;
      const same = old !== undefined && old.reason === report.reason;
      return [
        [
          key,
          {
            namespace,
            kind,
            name,
            reason: report.reason,
            message: same ? old.message : report.message,
            since: same ? old.since : now,
            ...parentOf(observed, old),
            ...storedOf(observed.stored, old, now),
            ...activeOf(observed),
            ...(observation.self === key ? { self: true } : {}),
            ...(inherited === undefined ? {} : { predecessor: inherited }),
          },
        ],
      ];
    }),
  );
  return { ...sources, workloads: { ...unseen(before, api.state), ...workloads } };
}

/** A workload without a generation is known from the API server alone: while that does not answer, it is not gone. */
function unseen(before: Status | undefined, api: Observation['api']['state']): Status['workloads'] {
  if (api === 'ok') return {};
  return Object.fromEntries(Object.entries(before?.workloads ?? {}).filter(([, { newest }]) => newest === undefined));
}

/** The pod as the API server has it, else as it was last known, else the one that the newest generation was made of. */
function parentOf({ parent, stored }: WorkloadObservation, old: WorkloadStatus | undefined): Pick<WorkloadStatus, 'parent' | 'parentUid'> {
  if (parent.state === 'present') return { parent: parent.pod.name, parentUid: parent.pod.uid };
  if (old?.parent !== undefined) return { parent: old.parent, ...(old.parentUid === undefined ? {} : { parentUid: old.parentUid }) };
  const copied = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest)?.parent;
  return copied === undefined ? {} : { parent: copied.name, parentUid: copied.uid };
}

function storedOf(
  stored: StoredWorkload | undefined,
  old: WorkloadStatus | undefined,
  now: string,
): Pick<WorkloadStatus, 'newest' | 'proven'> {
  const newest = generationOf(stored, stored?.newest);
  const proven = generationOf(stored, stored?.proven);
  const at = old?.proven !== undefined && old.proven.digest === proven?.digest ? old.proven.at : now;
  return { ...(newest === undefined ? {} : { newest }), ...(proven === undefined ? {} : { proven: { ...proven, at } }) };
}

function generationOf(stored: StoredWorkload | undefined, number: GenerationNumber | undefined): GenerationStatus | undefined {
  const found = number === undefined ? undefined : stored?.generations.get(number);
  return found === undefined ? undefined : { generation: found.number, digest: found.digest };
}

function activeOf({ active }: WorkloadObservation): Pick<WorkloadStatus, 'active'> {
  const [latest] = active.toSorted((a, b) => b.activation - a.activation);
  return latest === undefined ? {} : { active: { generation: latest.generation, activation: latest.activation } };
}

export function sameStatus(one: Status | undefined, other: Status): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

export async function writeStatus(checkpointDir: string, status: Status): Promise<void> {
  await replaceDurable(statusPath(checkpointDir), Buffer.from(`${JSON.stringify(status, undefined, 2)}\n`));
}

export async function writeLeader(checkpointDir: string, leader: Leader): Promise<void> {
  await replaceDurable(leaderPath(checkpointDir), Buffer.from(`${JSON.stringify(leader, undefined, 2)}\n`));
}

/**
 * Undefined where none was written, or what is there cannot be parsed. What a hand, a bad disk or another version made of an entry is left out: nothing that is
 * read for people may end a daemon, or the command that somebody types because no daemon runs.
 */
export async function readStatus(checkpointDir: string): Promise<Status | undefined> {
  const fields = parse(await readRegular(statusPath(checkpointDir), LIMIT));
  const workloads = fields?.['workloads'];
  if (fields === undefined || !isFields(workloads) || !('api' in fields)) return undefined;
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : 'unknown');
  return {
    api: text('api'),
    runtime: text('runtime'),
    disk: text('disk'),
    bootId: text('bootId'),
    workloads: Object.fromEntries(Object.entries(workloads).flatMap(([key, value]) => (isWorkload(value) ? [[key, value]] : []))),
  };
}

/** Undefined as for the status. */
export async function readLeader(checkpointDir: string): Promise<Leader | undefined> {
  const { pid, where, since, bootId = 'unknown', version = 'unknown' } = parse(await readRegular(leaderPath(checkpointDir), LIMIT)) ?? {};
  if (typeof pid !== 'number' || typeof where !== 'string' || typeof since !== 'string') return undefined;
  if (typeof bootId !== 'string' || typeof version !== 'string') return undefined;
  return { pid, where, since, bootId, version };
}

type Fields = Readonly<Record<string, unknown>>;

function parse(bytes: Buffer | undefined): Fields | undefined {
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isWorkload(value: unknown): value is WorkloadStatus {
  if (!isFields(value)) return false;
  const { parent, parentUid, newest, proven, active, predecessor } = value;
  return (
    ['namespace', 'kind', 'name', 'reason', 'message', 'since'].every((name) => typeof value[name] === 'string') &&
    [parent, parentUid, predecessor].every((name) => name === undefined || typeof name === 'string') &&
    (newest === undefined || hasFields(newest, { generation: 'number', digest: 'string' })) &&
    (proven === undefined || hasFields(proven, { generation: 'number', digest: 'string', at: 'string' })) &&
    (active === undefined || hasFields(active, { generation: 'number', activation: 'number' }))
  );
}

function hasFields(value: unknown, types: Readonly<Record<string, 'number' | 'string'>>): boolean {
  return isFields(value) && Object.entries(types).every(([name, type]) => typeof value[name] === type);
}
