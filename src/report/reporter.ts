/**
 * Tells what the daemon decided: log, status.json, history, metrics, events, the node's condition. Called after every decision; on a quiet node it
 * compares, and writes nothing. What it writes it writes beside the loop, one write after the other: no disk is slow enough to hold up a decision.
 * The history comes before the status: after a power cut between them a transition is told twice, not lost.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Decision } from '../checkpoint/decide.ts';
import type { Millis, Observation } from '../checkpoint/model.ts';
import { nextStatus, readStatus, type Status, sameStatus, writeStatus } from '../status.ts';
import { conditionOf } from './condition.ts';
import type { Courier } from './courier.ts';
import { eventsOf, type PendingEvent } from './events.ts';
import { appendHistory } from './history.ts';
import { added, readOutbox, without, writeOutbox } from './outbox.ts';
import type { Outlook } from './outlook.ts';
import { standing, type Transition, transitions } from './transitions.ts';

export interface Reporter {
  /** Waits for no write; for what an earlier daemon left it waits a moment, once. Never rejects. */
  report(observation: Observation, decision: Decision): Promise<void>;
  /** Resolves when nothing is written or sent any more. */
  idle(): Promise<void>;
}

export interface ReporterOptions {
  readonly checkpointDir: string;
  readonly log: Logger;
  /** Milliseconds since the epoch, for dates only. */
  readonly wallClock: () => number;
  readonly nodeName: string;
  /** Undefined: nobody is told over the API. */
  readonly courier?: Courier;
  /** What `inspect` foresees, as far as it is known; called at each report, and answers at once. */
  readonly outlook?: (status: Status) => Outlook | undefined;
  /** Called for each report; for the metrics. */
  readonly onReport?: (report: Reported) => void;
}

export interface Reported {
  readonly observation: Observation;
  readonly status: Status;
  readonly transitions: readonly Transition[];
  readonly pendingEvents: number;
  readonly outlook?: Outlook | undefined;
}

/** The loop waits this long for what an earlier daemon left, then goes on without it. */
const PATIENCE: Millis = 1_000;
/** Transitions that wait for a disk which takes nothing. */
const UNWRITTEN = 500;

export function createReporter({ checkpointDir, log, wallClock, nodeName, courier, outlook, onReport }: ReporterOptions): Reporter {
  let status: Status | undefined;
  let written: Status | undefined;
  let history: readonly Transition[] = [];
  let pending: readonly PendingEvent[] = [];
  let outboxChanged = false;
  let began: Promise<void> | undefined;
  let logged = false;
  let writing: Promise<void> | undefined;
  let again = false;
  const refused = new Map<string, string>();

  async function begin(): Promise<void> {
    await attempt('status.json', async () => {
      const last = await readStatus(checkpointDir);
      // On a disk that took its time for this, the loop went on without it.
      status ??= last;
      written ??= last;
    });
    await attempt('events.json', async () => {
      pending = added(await readOutbox(checkpointDir), pending);
    });
  }

  /** Said once for each kind of failure, tried again with each decision. */
  async function attempt(what: string, change: () => Promise<void>): Promise<void> {
    try {
      await change();
      refused.delete(what);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (refused.get(what) !== message) log.warn({ error: message }, `${what} could not be read or written`);
      refused.set(what, message);
    }
  }

  async function write(next: Status): Promise<void> {
    if (history.length > 0) {
      const lines = history;
      await attempt('history.jsonl', async () => {
        await appendHistory(checkpointDir, lines);
        const appended = new Set(lines);
        history = history.filter((line) => !appended.has(line));
      });
    }
    if (outboxChanged) {
      const events = pending;
      await attempt('events.json', async () => {
        await writeOutbox(checkpointDir, events);
        if (pending === events) outboxChanged = false;
      });
    }
    if (!sameStatus(written, next)) {
      await attempt('status.json', async () => {
        await writeStatus(checkpointDir, next);
        written = next;
      });
    }
  }

  /** One write at a time, beside the loop: what changes meanwhile is in the next. */
  function save(): void {
    if (writing !== undefined) {
      again = true;
      return;
    }
    const dirty = () => status !== undefined && (history.length > 0 || outboxChanged || !sameStatus(written, status));
    if (!dirty()) return;
    writing = (async () => {
      do {
        again = false;
        if (status !== undefined && dirty()) await write(status);
      } while (again);
    })().finally(() => {
      writing = undefined;
    });
  }

  return {
    async report(observation, decision) {
      began ??= begin();
      await atMost(began);
      const now = new Date(wallClock()).toISOString();
      const next = nextStatus(status, observation, decision, now);
      const changes = transitions(status, next, now);
      logSources(log, status, next, observation);
      // The first lines of a daemon say how it found things.
      for (const transition of logged ? changes : found(next, changes, now)) logTransition(log, transition);
      logged = true;
      if (changes.length > 0) {
        history = [...history, ...changes].slice(-UNWRITTEN);
        const events = eventsOf(changes, nodeName);
        if (courier !== undefined && events.length > 0) {
          pending = added(pending, events);
          outboxChanged = true;
        }
      }
      status = next;
      log.trace({ api: next.api, runtime: next.runtime, disk: next.disk, actions: decision.actions.map(({ kind }) => kind) }, 'turn');
      const foreseen = outlook?.(next);
      onReport?.({ observation, status: next, transitions: changes, pendingEvents: pending.length, outlook: foreseen });
      if (observation.disk.state === 'ok') save();
      if (observation.api.state !== 'ok') return;
      courier?.deliver(pending, conditionOf(next, foreseen), {
        onDelivered(event) {
          pending = without(pending, event);
          outboxChanged = true;
        },
        onIdle: save,
      });
    },
    async idle() {
      await courier?.idle();
      await writing;
    },
  };
}

async function atMost(work: Promise<void>): Promise<void> {
  const patience = new AbortController();
  await Promise.race([work, sleep(PATIENCE, undefined, { signal: patience.signal }).catch(() => undefined)]);
  patience.abort();
}

function found(next: Status, changes: readonly Transition[], now: string): Transition[] {
  const changed = new Map(changes.map((change) => [change.workload, change]));
  const here = Object.entries(next.workloads).map(([key, workload]) => changed.get(key) ?? standing(key, workload, now));
  return [...here, ...changes.filter(({ to }) => to === undefined)];
}

function logTransition(log: Logger, { workload, from, to, state, generation, milestones, message }: Transition): void {
  log.info({ workload, from, to, state, generation, ...(milestones.length > 0 && { milestones }), detail: message }, 'transition');
}

function logSources(log: Logger, before: Status | undefined, after: Status, observation: Observation): void {
  for (const source of ['api', 'runtime', 'disk'] as const) {
    const seen = observation[source];
    const detail = 'detail' in seen ? { detail: seen.detail } : {};
    if (before?.[source] !== after[source]) log.info({ source, from: before?.[source], to: after[source], ...detail }, 'source');
  }
}
