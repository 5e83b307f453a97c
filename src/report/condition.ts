/**
 * The condition `ControlPlaneCheckpointed` of the Node: whether every marked workload of this node would come back after a power cut without an API
 * server. Pure. True means that each of them has a proven generation.
 */
import type { Millis } from '../checkpoint/model.ts';
import type { Status, WorkloadStatus } from '../status.ts';

export const CONDITION_TYPE = 'ControlPlaneCheckpointed';

export interface NodeCondition {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: ConditionReason;
  readonly message: string;
}

export type ConditionReason =
  | 'AllProven'
  /** All are proven; of some pod no copy can be made as it is now, so an older one would run. */
  | 'ProvenButRefused'
  /** A workload has a generation that would run, and nobody knows yet whether it can. */
  | 'NotProven'
  /** A workload has no generation: it would not run. */
  | 'NotSaved'
  /** No pod of this node is marked, and nothing is stored. */
  | 'NothingMarked'
  | 'StoreUnreadable';

export function conditionOf({ disk, workloads }: Pick<Status, 'disk' | 'workloads'>): NodeCondition {
  if (disk !== 'ok')
    return { status: 'Unknown', reason: 'StoreUnreadable', message: 'the store or the static pod directory cannot be read' };
  const all = Object.entries(workloads).sort(([a], [b]) => (a < b ? -1 : 1));
  if (all.length === 0) return { status: 'False', reason: 'NothingMarked', message: 'no pod of this node is marked for checkpointing' };
  const unsaved = all.filter(([, workload]) => workload.proven === undefined && workload.newest === undefined);
  if (unsaved.length > 0) return { status: 'False', reason: 'NotSaved', message: `without any copy: ${named(unsaved)}` };
  const unproven = all.filter(([, workload]) => workload.proven === undefined);
  if (unproven.length > 0) return { status: 'False', reason: 'NotProven', message: `with a copy that is not proven: ${named(unproven)}` };
  const refused = all.filter(([, workload]) => workload.reason === 'Refused');
  if (refused.length > 0)
    return { status: 'True', reason: 'ProvenButRefused', message: `with an older copy, because none can be made now: ${named(refused)}` };
  return { status: 'True', reason: 'AllProven', message: `proven: ${named(all)}` };
}

const NAMED = 20;

/** With the reason of each that is not as it should be: the codes are what an operator looks up. */
function named(workloads: readonly (readonly [string, WorkloadStatus])[]): string {
  const names = workloads
    .slice(0, NAMED)
    .map(([key, { reason, proven }]) => (proven === undefined || reason === 'Refused' ? `${key} (${reason})` : key));
  return names.join(', ') + (workloads.length > NAMED ? ` and ${workloads.length - NAMED} more` : '');
}

/** As the kubelet reports its own (nodeStatusReportFrequency): so often, and at once when something changed. */
export const HEARTBEAT: Millis = 300_000;

export interface SentCondition extends NodeCondition {
  /** On the monotonic clock. */
  readonly at: Millis;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

export function isDue(sent: SentCondition | undefined, next: NodeCondition, now: Millis): boolean {
  if (sent === undefined) return true;
  const same = sent.status === next.status && sent.reason === next.reason && sent.message === next.message;
  return !same || now >= sent.at + HEARTBEAT;
}
