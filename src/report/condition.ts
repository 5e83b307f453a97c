/**
 * The condition `ControlPlaneCheckpointed` of the Node: whether every marked workload of this node would come back after a power cut without an API
 * server. Pure. True means that each of them has a proven generation, and that `inspect`, as far as it has been heard, sees nothing that keeps one down.
 */
import type { Millis } from '../checkpoint/model.ts';
import type { Status, WorkloadStatus } from '../status.ts';
import type { Foreseen, Outlook } from './outlook.ts';

export const CONDITION_TYPE = 'ControlPlaneCheckpointed';

export interface NodeCondition {
  readonly status: 'True' | 'False' | 'Unknown';
  /** One of OwnReason, `RecoversWithWarnings`, or codes with a comma between them: the pattern of metav1.Condition takes those. */
  readonly reason: string;
  readonly message: string;
}

interface OwnCondition extends NodeCondition {
  readonly reason: OwnReason;
}

/** What the daemon knows by itself, at every turn. */
type OwnReason =
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

/** @param outlook what `inspect` said last; undefined: it has not been asked, or has not answered. */
export function conditionOf(status: Pick<Status, 'disk' | 'workloads'>, outlook?: Outlook): NodeCondition {
  const own = ownCondition(status);
  if (outlook === undefined || own.status === 'Unknown') return own;
  const findings = outlook.findings.filter(
    // A workload that is no more needs nothing.
    ({ workload, code }) => !KNOWN_HERE.has(code) && (workload === undefined || Object.hasOwn(status.workloads, workload)),
  );
  const fatal = findings.filter(({ level }) => level === 'fatal');
  if (fatal.length > 0) {
    const failing = own.status === 'False' ? own : undefined;
    const reasons = new Set([...(failing === undefined ? [] : [failing.reason]), ...fatal.map(({ code }) => code)]);
    const sentences = [...(failing === undefined ? [] : [failing.message]), ...fatal.map(sentence)];
    return { status: 'False', reason: [...reasons].slice(0, CODES).join(','), message: bounded('does not recover: ', sentences) };
  }
  if (own.status === 'False' || findings.length === 0) return own;
  return {
    status: 'True',
    reason: 'RecoversWithWarnings',
    message: bounded('recovers with warnings: ', [...(own.reason === 'AllProven' ? [] : [own.message]), ...findings.map(sentence)]),
  };
}

/**
 * What the daemon says itself, and says sooner: nothing stored, nothing proven, refused. And that nobody leads, which is seen for a moment where the lead
 * goes over: the one who asks leads.
 */
const KNOWN_HERE: ReadonlySet<string> = new Set(['NothingMarked', 'NothingStored', 'NotProven', 'Refused', 'SecretEnvRefused', 'NoLeader']);

/** There are no more kinds of what is fatal than a reason has room for (metav1.Condition: 1024 characters). */
const CODES = 12;
const SENTENCE = 240;
/** Characters. The Node is written, and read by everybody who watches it, at each heartbeat. */
const MESSAGE = 1_000;

function sentence({ workload, code, message }: Foreseen): string {
  const text = message.length > SENTENCE ? `${message.slice(0, SENTENCE)}…` : message;
  return `${workload === undefined ? '' : `${workload}: `}${text} (${code})`;
}

/** The first always, then as many as there is room for. */
function bounded(verdict: string, [first = '', ...more]: readonly string[]): string {
  let text = verdict + first.slice(0, MESSAGE);
  for (const [i, next] of more.entries()) {
    if (text.length + next.length > MESSAGE) return `${text}; and ${more.length - i} more (checkpointer inspect)`;
    text += `; ${next}`;
  }
  return text;
}

function ownCondition({ disk, workloads }: Pick<Status, 'disk' | 'workloads'>): OwnCondition {
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
