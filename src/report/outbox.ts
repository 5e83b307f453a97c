/**
 * Events that have not reached the API server: `events.json` in the store's directory, because most of what a person should know happens while there is no
 * API server to tell. Replaced atomically at each change; it holds at most OUTBOX_LIMIT events, of which the oldest go first, so it stays below 512 KiB.
 */
import { join } from 'node:path';
import { readRegular, replaceDurable } from '../platform/durable.ts';
import { eventKey, merged, type PendingEvent } from './events.ts';

export const OUTBOX_LIMIT = 200;
const BYTES = 1024 * 1024;

export const outboxPath = (checkpointDir: string) => join(checkpointDir, 'events.json');

/** Repetitions become one; what is beyond the limit is dropped, the oldest first. Pure. */
export function added(pending: readonly PendingEvent[], events: readonly PendingEvent[], limit = OUTBOX_LIMIT): PendingEvent[] {
  const byKey = new Map(pending.map((event) => [eventKey(event), event]));
  for (const event of events) {
    const key = eventKey(event);
    const older = byKey.get(key);
    // To the end: what happened last is kept longest.
    byKey.delete(key);
    byKey.set(key, older === undefined ? event : merged(older, event));
  }
  return [...byKey.values()].slice(-limit);
}

/** What is left when this one has been sent, while more of the same may have come. Pure. */
export function without(pending: readonly PendingEvent[], sent: PendingEvent): PendingEvent[] {
  return pending.flatMap((event) => {
    if (eventKey(event) !== eventKey(sent)) return [event];
    return event.count > sent.count ? [{ ...event, first: event.last, count: event.count - sent.count }] : [];
  });
}

/** Empty where there is none, or what is there is not ours. Throws when it cannot be read. */
export async function readOutbox(checkpointDir: string): Promise<PendingEvent[]> {
  const bytes = await readRegular(outboxPath(checkpointDir), BYTES);
  if (bytes === undefined) return [];
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    const events: unknown = typeof value === 'object' && value !== null && 'events' in value ? value.events : undefined;
    return Array.isArray(events) ? events.filter(isPending).slice(-OUTBOX_LIMIT) : [];
  } catch {
    return [];
  }
}

export async function writeOutbox(checkpointDir: string, pending: readonly PendingEvent[]): Promise<void> {
  await replaceDurable(outboxPath(checkpointDir), Buffer.from(`${JSON.stringify({ version: 1, events: pending }, undefined, 2)}\n`));
}

function isPending(value: unknown): value is PendingEvent {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  const about = fields['about'];
  return (
    ['reason', 'type', 'message', 'first', 'last'].every((field) => typeof fields[field] === 'string') &&
    typeof fields['count'] === 'number' &&
    typeof about === 'object' &&
    about !== null &&
    ['kind', 'namespace', 'name', 'uid'].every((field) => typeof (about as Readonly<Record<string, unknown>>)[field] === 'string')
  );
}
