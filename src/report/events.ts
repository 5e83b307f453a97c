/**
 * Transitions as Kubernetes Events: each milestone is said of the parent pod and of the node. Pure. What happens to one object for one reason is one
 * event, whose count and last time go up, as client-go's event correlator does it.
 */
import { createHash } from 'node:crypto';
import { OF_PREDECESSOR } from '../checkpoint/model.ts';
import type { Milestone, Transition } from './transitions.ts';

export interface EventObject {
  readonly kind: 'Pod' | 'Node';
  /** Empty for a node. */
  readonly namespace: string;
  readonly name: string;
  /** Of a node: its name, as the kubelet writes it, which `kubectl describe node` looks for. */
  readonly uid: string;
}

/** An event that the API server has not, or not all of. */
export interface PendingEvent {
  readonly about: EventObject;
  /** `CheckpointActivated` and so on: stable, operators search for these. */
  readonly reason: string;
  readonly type: 'Normal' | 'Warning';
  readonly message: string;
  /** RFC 3339: when it happened first and last. */
  readonly first: string;
  readonly last: string;
  /** How often it happened, those that were sent already not counted. */
  readonly count: number;
}

const WARNINGS: ReadonlySet<Milestone> = new Set(['Activated', 'RolledBack', 'Refused'] as const);
/** The API server takes 1024 bytes of a message. */
const MESSAGE_LIMIT = 1_000;

export function eventsOf(transitions: readonly Transition[], nodeName: string): PendingEvent[] {
  const node: EventObject = { kind: 'Node', namespace: '', name: nodeName, uid: nodeName };
  return transitions.flatMap((transition) =>
    transition.milestones.flatMap((milestone): PendingEvent[] => {
      const { namespace, workload, parent, parentUid, at } = transition;
      const event = { reason: `Checkpoint${milestone}`, type: typeOf(milestone), first: at, last: at, count: 1 } as const;
      const text = sentence(milestone, transition);
      const ofNode = { ...event, about: node, message: shortened(`${workload}: ${text}`) };
      if (parent === undefined || parentUid === undefined) return [ofNode];
      return [{ ...event, about: { kind: 'Pod', namespace, name: parent, uid: parentUid }, message: shortened(text) }, ofNode];
    }),
  );
}

function typeOf(milestone: Milestone): PendingEvent['type'] {
  return WARNINGS.has(milestone) ? 'Warning' : 'Normal';
}

function sentence(milestone: Milestone, { generation, message }: Transition): string {
  const copy = generation === undefined ? 'a copy' : generation === OF_PREDECESSOR ? "bootkube's copy" : `generation ${generation}`;
  switch (milestone) {
    case 'Copied':
      return `${copy} was stored as a copy of the pod`;
    case 'Proven':
      return `${copy} is proven: it is what the node runs after a power cut without an API server`;
    case 'Activated':
      return `${copy} runs in place of the pod: ${message}`;
    case 'Yielded':
      return 'the copy made room for the pod';
    case 'RolledBack':
      return `${copy}, which was proven, runs again: ${message}`;
    case 'Refused':
      return `no copy can be made of the pod: ${message}`;
    case 'Retired':
      return 'the copies were moved out of use: their pod is gone';
    case 'TakenOver':
      return "what bootkube's pod-checkpointer kept of it was removed from the node: the copies are this checkpointer's";
  }
}

function shortened(text: string): string {
  return Buffer.byteLength(text) <= MESSAGE_LIMIT
    ? text
    : `${Buffer.from(text)
        .subarray(0, MESSAGE_LIMIT)
        .toString('utf8')
        .replace(/\uFFFD$/, '')}…`;
}

/** Events with one key are repetitions of one. A node has one for each workload: the workload is the beginning of the message. */
export function eventKey({ about, reason, message }: PendingEvent): string {
  const workload = about.kind === 'Node' ? message.slice(0, message.indexOf(': ')) : '';
  return [about.kind, about.namespace, about.name, about.uid, reason, workload].join(' ');
}

/** The older and the newer of one key as one. */
export function merged(older: PendingEvent, newer: PendingEvent): PendingEvent {
  return { ...newer, first: older.first, count: older.count + newer.count };
}

/** The same event has the same name, so that one which was sent and whose answer was lost is not made twice. */
export function eventName(event: PendingEvent): string {
  const hash = createHash('sha256')
    .update(`${eventKey(event)} ${event.first}`)
    .digest('hex')
    .slice(0, 16);
  return `${event.about.name.slice(0, 230).replace(/[.-]+$/, '')}.${hash}`;
}

/** An event about an object without a namespace lies in `default`: the API server takes it nowhere else. */
export const eventNamespace = ({ about }: PendingEvent): string => (about.namespace === '' ? 'default' : about.namespace);

/** The Event of the core API; firstTimestamp and lastTimestamp are those of what happened, however late it is sent. */
export function eventBody(event: PendingEvent, nodeName: string): object {
  const { about, reason, type, message, first, last, count } = event;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: eventName(event), namespace: eventNamespace(event) },
    involvedObject: {
      apiVersion: 'v1',
      kind: about.kind,
      name: about.name,
      uid: about.uid,
      ...(about.namespace === '' ? {} : { namespace: about.namespace }),
    },
    reason,
    type,
    message,
    count,
    firstTimestamp: wholeSeconds(first),
    lastTimestamp: wholeSeconds(last),
    source: { component: COMPONENT, host: nodeName },
    reportingComponent: COMPONENT,
    reportingInstance: nodeName,
  };
}

const COMPONENT = 'pod-checkpointer';

/** Kubernetes' Time has no fractions. */
export function wholeSeconds(time: string): string {
  return time.replace(/\.\d+Z$/, 'Z');
}
