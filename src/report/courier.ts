/**
 * Brings events and the node's condition to the API server, beside the loop: one request at a time, each with a deadline, and none while the API server
 * does not answer. What was not delivered stays in the outbox; nothing in recovery waits for it.
 */
import type { Logger } from 'pino';
import type { Millis } from '../checkpoint/model.ts';
import type { Answer } from '../sources/api/answer.ts';
import type { ApiClient, RequestOptions } from '../sources/api/client.ts';
import { createEvent, repeatEvent } from '../sources/api/events.ts';
import { readCondition, writeCondition } from '../sources/api/node-status.ts';
import { isDue, type NodeCondition, type SentCondition } from './condition.ts';
import { eventKey, eventNamespace, type PendingEvent } from './events.ts';

export interface Courier {
  /**
   * Delivers what is due, beside the caller: one delivery at a time. `onDelivered` is called with each event that the API server took, or never will;
   * `onIdle` after the last of them.
   */
  deliver(pending: readonly PendingEvent[], condition: NodeCondition, on: Delivered): void;
  /** Resolves when nothing is being delivered. */
  idle(): Promise<void>;
}

export interface Delivered {
  onDelivered(event: PendingEvent): void;
  onIdle(): void;
}

export interface CourierOptions {
  readonly client: Pick<ApiClient, 'get' | 'post' | 'patch'>;
  readonly nodeName: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
  /** Milliseconds since the epoch. */
  readonly wallClock: () => number;
}

const DEADLINE: Millis = 10_000;
const RETRY_FIRST: Millis = 1_000;
const RETRY_MAX: Millis = 60_000;
/** What happens again within this time is the same event, with a higher count (as client-go's aggregation interval). */
const SAME_EVENT: Millis = 600_000;
/** The same event is not written more often: a Secret that changes ten times a second costs no ten requests. */
const REPEAT: Millis = 10_000;
const REMEMBERED = 400;

const WHAT = { event: 'an event', condition: 'the condition of the node' } as const;

/** By sort of what is sent, or by `namespaceOf` an event. */
interface Retry {
  readonly failures: number;
  readonly notBefore: Millis;
}

interface Sent {
  readonly event: PendingEvent;
  readonly since: Millis;
  readonly at: Millis;
}

export function createCourier({ client, nodeName, log, signal, clock, wallClock }: CourierOptions): Courier {
  const sent = new Map<string, Sent>();
  let condition: SentCondition | undefined;
  let going: Promise<void> | undefined;
  // Apart from each other: an identity that may not write Events may still write the condition, and a namespace that takes none (it is being terminated, or has
  // a quota of them) says nothing about the others.
  const retries = new Map<string, Retry>();
  const said = new Set<string>();

  const options = (): RequestOptions => ({ signal, headTimeoutMs: DEADLINE, bodyTimeoutMs: DEADLINE });

  /** True when the API server took it. After any other answer nothing more `of` that sort is tried for a while. */
  function settled(answer: Answer<unknown>, what: keyof typeof WHAT, of: string = what): boolean {
    if (answer.kind === 'ok') {
      retries.delete(what);
      retries.delete(of);
      return true;
    }
    const failures = (retries.get(of)?.failures ?? 0) + 1;
    retries.set(of, { failures, notBefore: clock() + Math.min(RETRY_FIRST * 2 ** (failures - 1), RETRY_MAX) });
    // Each sort once: an identity without the right would say it for ever.
    const sort = `${what} ${answer.kind === 'unreachable' ? answer.cause : answer.status}`;
    if (!said.has(sort) && !signal.aborted) log.warn({ detail: answer.detail }, `${WHAT[what]} could not be written`);
    said.add(sort);
    return false;
  }

  async function send(event: PendingEvent): Promise<'taken' | 'not here' | 'not now'> {
    const key = eventKey(event);
    const known = sent.get(key);
    if (known !== undefined && clock() - known.since < SAME_EVENT) {
      const together = { ...event, first: known.event.first, count: known.event.count + event.count };
      const answer = await repeatEvent(client, known.event, together, options());
      if (!isForgotten(answer)) return remember(answer, key, together, known.since);
    }
    const answer = await createEvent(client, event, nodeName, options());
    // It was made by a request whose answer was lost.
    const made: Answer<unknown> = answer.kind === 'status' && answer.status === 409 ? { kind: 'ok', body: undefined } : answer;
    return remember(made, key, event, clock());
  }

  /** `not here`: nothing more can be sent to its namespace now; `not now`: nothing at all. */
  function remember(answer: Answer<unknown>, key: string, event: PendingEvent, since: Millis): 'taken' | 'not here' | 'not now' {
    // Refused for what it says (a namespace that is gone, say): it will never be taken.
    const hopeless = answer.kind === 'status';
    if (hopeless) log.warn({ detail: answer.detail, reason: event.reason }, 'the API server does not take an event: it is dropped');
    else {
      const forbidden = answer.kind === 'denied' && answer.status === 403;
      const taken = settled(answer, 'event', forbidden || answer.kind === 'ok' ? namespaceOf(event) : 'event');
      if (!taken) return forbidden ? 'not here' : 'not now';
    }
    sent.delete(key);
    if (!hopeless) sent.set(key, { event, since, at: clock() });
    for (const oldest of sent.keys()) {
      if (sent.size <= REMEMBERED) break;
      sent.delete(oldest);
    }
    return 'taken';
  }

  async function sendCondition(next: NodeCondition): Promise<void> {
    const now = new Date(wallClock()).toISOString();
    let before: { readonly status: string; readonly lastTransitionTime: string } | undefined = condition;
    if (condition === undefined) {
      // An earlier daemon's: the time of the transition is kept.
      const answer = await readCondition(client, nodeName, options());
      if (answer.kind !== 'ok') return void settled(answer, 'condition');
      before = answer.body;
    }
    const transition = before?.status === next.status ? before.lastTransitionTime : now;
    const answer = await writeCondition(client, nodeName, next, { heartbeat: now, transition }, options());
    if (settled(answer, 'condition')) condition = { ...next, at: clock(), lastTransitionTime: transition };
  }

  async function round(events: readonly PendingEvent[], next: NodeCondition, { onDelivered, onIdle }: Delivered): Promise<void> {
    let delivered = 0;
    for (const event of events) {
      if (signal.aborted) break;
      if (!mayTry(namespaceOf(event))) continue;
      const became = await send(event);
      if (became === 'not now') break;
      if (became === 'not here') continue;
      onDelivered(event);
      delivered += 1;
    }
    if (!signal.aborted && isConditionDue(next)) await sendCondition(next);
    if (delivered > 0) onIdle();
  }

  const mayTry = (what: string) => clock() >= (retries.get(what)?.notBefore ?? 0);
  const isConditionDue = (next: NodeCondition) => mayTry('condition') && isDue(condition, next, clock());

  function isEventDue(event: PendingEvent): boolean {
    const known = sent.get(eventKey(event));
    return mayTry('event') && mayTry(namespaceOf(event)) && (known === undefined || clock() >= known.at + REPEAT);
  }

  return {
    deliver(pending, next, on) {
      if (going !== undefined || signal.aborted) return;
      const due = pending.filter(isEventDue);
      if (due.length === 0 && !isConditionDue(next)) return;
      going = round(due, next, on).finally(() => {
        going = undefined;
      });
      // A mistake of this program must not end the daemon: what a person reads is not what a node lives on.
      going.catch((error: unknown) => log.error({ err: error }, 'events were not delivered'));
    },
    async idle() {
      await going?.catch(() => undefined);
    },
  };
}

const namespaceOf = (event: PendingEvent) => `events of ${eventNamespace(event)}`;

function isForgotten(answer: Answer<unknown>): boolean {
  return answer.kind === 'status' && answer.status === 404;
}
