/** Wires the sources, decide and act together: observe, decide, act, wait for something to happen. Nothing else is here. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Effects } from './act.ts';
import { type Decision, decide, type Report } from './checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from './checkpoint/memory.ts';
import type { Millis, Observation, Policy } from './checkpoint/model.ts';
import type { Reason } from './checkpoint/verdict.ts';
import type { WorkloadKey } from './checkpoint/workload.ts';
import { createExecutor, type Executed, type ExecutorOptions } from './execute.ts';
import { nextStatus, type Status, sameStatus, writeStatus } from './status.ts';

export interface Daemon {
  readonly effects: Effects;
  readonly policy: Policy;
  readonly observe: () => Promise<Observation>;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
  readonly wake: Wake;
  /** How long to wait at the most when nothing happens, and while something is going on. */
  readonly pace: { readonly quiet: () => Millis; readonly flux: Millis };
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Called for each change that the store refused. */
  readonly onStoreFailure?: ExecutorOptions['onStoreFailure'];
}

/** A flag that can be waited for. Waking it while nobody waits is remembered. */
export interface Wake {
  wake(): void;
  wait(ms: Millis, signal: AbortSignal): Promise<void>;
}

export function createWake(): Wake {
  let pending = false;
  let resume: (() => void) | undefined;
  return {
    wake() {
      pending = true;
      resume?.();
    },
    async wait(ms, signal) {
      if (!pending && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const done = () => {
            clearTimeout(timer);
            signal.removeEventListener('abort', done);
            resolve();
          };
          const timer = setTimeout(done, ms);
          resume = done;
          signal.addEventListener('abort', done, { once: true });
        });
      }
      resume = undefined;
      pending = false;
    },
  };
}

/** The loop waits this long for status.json, then goes on without it. */
const STATUS_PATIENCE: Millis = 1_000;

/** Runs until the signal is aborted; what is being done then is finished first, so that nothing is left half way. */
export async function runDaemon(daemon: Daemon): Promise<void> {
  const { effects, policy, observe, clock, wake, pace, log, signal, onStoreFailure } = daemon;
  const executor = createExecutor({ effects, clock, log, onLate: wake.wake, ...(onStoreFailure && { onStoreFailure }) });
  const write = createStatusWriter(effects.checkpointDir, log);
  let memory: Memory = EMPTY_MEMORY;
  let status: Status | undefined;
  while (!signal.aborted) {
    const observation = await observe();
    if (signal.aborted) break;
    const decision = decide(memory, observation, policy);
    memory = decision.memory;
    const { progressed, retryAt, refused } = await executor.run(decision.actions, signal);

    const next = nextStatus(status, observation, withRefusals(decision, refused), new Date(effects.wallClock()).toISOString());
    logTransitions(log, status, next, observation);
    if (observation.disk.state === 'ok') await write(next);
    status = next;
    if (!progressed) await wake.wait(untilNext(decision, retryAt, clock(), pace), signal);
  }
  await executor.idle();
}

/** What the store refused to take is the reason of a workload that otherwise is as it should be. */
function withRefusals(decision: Decision, refused: Executed['refused']): Decision {
  if (refused.size === 0) return decision;
  const reports = [...decision.reports].map(([key, report]): [WorkloadKey, Report] => {
    const refusal = refused.get(key);
    return refusal === undefined || !OF_SAVING.has(report.reason)
      ? [key, report]
      : [key, { reason: refusal.failure, message: refusal.message }];
  });
  return { ...decision, reports: new Map(reports) };
}

const OF_SAVING: ReadonlySet<Reason> = new Set(['Saving', 'Saved', 'Protected'] as const);

/** One write at a time; a disk that is slow does not hold up the loop. What a write missed is in the next. */
function createStatusWriter(checkpointDir: string, log: Logger): (status: Status) => Promise<void> {
  let written: Status | undefined;
  let refused: string | undefined;
  let writing: Promise<void> | undefined;
  return async (status) => {
    if (writing !== undefined || sameStatus(written, status)) return;
    writing = writeStatus(checkpointDir, status)
      .then(
        () => {
          written = status;
          refused = undefined;
        },
        (error: unknown) => {
          // Said once for each kind of failure, tried again with each decision.
          if (refused !== messageOf(error)) log.warn({ error: messageOf(error) }, 'status.json could not be written');
          refused = messageOf(error);
        },
      )
      .finally(() => {
        writing = undefined;
      });
    const patience = new AbortController();
    await Promise.race([writing, sleep(STATUS_PATIENCE, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
  };
}

function untilNext(decision: Decision, retryAt: Millis | undefined, now: Millis, pace: Daemon['pace']): Millis {
  const due = Math.min(decision.wakeAt ?? Number.POSITIVE_INFINITY, retryAt ?? Number.POSITIVE_INFINITY) - now;
  return Math.max(1, Math.min(due, decision.flux ? pace.flux : pace.quiet()));
}

function logTransitions(log: Logger, before: Status | undefined, after: Status, observation: Observation): void {
  for (const source of ['api', 'runtime', 'disk'] as const) {
    const seen = observation[source];
    const detail = 'detail' in seen ? { detail: seen.detail } : {};
    if (before?.[source] !== after[source]) log.info({ source, from: before?.[source], to: after[source], ...detail }, 'source');
  }
  for (const [workload, { reason, message }] of Object.entries(after.workloads)) {
    const from = before?.workloads[workload]?.reason;
    if (from !== reason) log.info({ workload, from, to: reason, detail: message }, 'transition');
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
