/** What the daemon last decided, written for people: `inspect` reads it while the API server is away. Lost, it is written again; nothing is decided from it. */
import type { Decision } from './checkpoint/decide.ts';
import type { Observation } from './checkpoint/model.ts';
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

/** The next status: `since` moves, and the message is taken over, only when the reason changes, because messages count seconds. */
export function nextStatus(before: Status | undefined, observation: Observation, decision: Decision, now: string): Status {
  const workloads = Object.fromEntries(
    [...observation.workloads.values()].flatMap((observed): [string, WorkloadStatus][] => {
      const key = workloadKey(observed.workload);
      const report = decision.reports.get(key);
      if (report === undefined) return [];
      const old = before?.workloads[key];
      const { namespace, kind, name } = observed.workload;
      const parent = observed.parent.state === 'present' ? observed.parent.pod.name : old?.parent;
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
            ...(parent === undefined ? {} : { parent }),
          },
        ],
      ];
    }),
  );
  const { api, runtime, disk, bootId } = observation;
  return { api: api.state, runtime: runtime.state, disk: disk.state, bootId, workloads };
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

/** Undefined where none was written, or what is there cannot be parsed. */
export async function readStatus(checkpointDir: string): Promise<Status | undefined> {
  return parse(await readRegular(statusPath(checkpointDir), LIMIT), isStatus);
}

export async function readLeader(checkpointDir: string): Promise<Leader | undefined> {
  return parse(await readRegular(leaderPath(checkpointDir), LIMIT), isLeader);
}

function parse<T>(bytes: Buffer | undefined, is: (value: unknown) => value is T): T | undefined {
  if (bytes === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return is(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isStatus(value: unknown): value is Status {
  return (
    typeof value === 'object' &&
    value !== null &&
    'workloads' in value &&
    typeof value.workloads === 'object' &&
    value.workloads !== null &&
    'api' in value
  );
}

function isLeader(value: unknown): value is Leader {
  return typeof value === 'object' && value !== null && 'pid' in value && 'where' in value && 'since' in value;
}
