/** Wires the sources, decide and act together: observe, decide, act, wait for something to happen. Nothing else is here. */
import type { Logger } from 'pino';
import { act, actionKey, type Effects } from './act.ts';
import { type Decision, decide } from './checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from './checkpoint/memory.ts';
import type { Action, Millis, Observation, Policy } from './checkpoint/model.ts';
import { workloadKey } from './checkpoint/workload.ts';
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
          const timer = setTimeout(resolve, ms);
          const done = () => {
            clearTimeout(timer);
            signal.removeEventListener('abort', done);
            resolve();
          };
          resume = done;
          signal.addEventListener('abort', done, { once: true });
        });
      }
      resume = undefined;
      pending = false;
    },
  };
}

const RETRY_FIRST: Millis = 1_000;
const RETRY_MAX: Millis = 60_000;

interface Failure {
  readonly count: number;
  readonly retryAt: Millis;
}

/** Runs until the signal is aborted; what is being done then is finished first, so that nothing is left half way. */
export async function runDaemon(daemon: Daemon): Promise<void> {
  const { effects, policy, observe, clock, wake, pace, log, signal } = daemon;
  const failures = new Map<string, Failure>();
  let memory: Memory = EMPTY_MEMORY;
  let status: Status | undefined;
  while (!signal.aborted) {
    const observation = await observe();
    if (signal.aborted) return;
    const decision = decide(memory, observation, policy);
    memory = decision.memory;
    const { progressed, retryAt } = await execute(decision.actions, { effects, failures, clock, log, signal });

    const next = nextStatus(status, observation, decision, new Date(effects.wallClock()).toISOString());
    logTransitions(log, status, next);
    if (!sameStatus(status, next) && observation.disk.state === 'ok') {
      await writeStatus(effects.checkpointDir, next).catch((error: unknown) =>
        log.warn({ error: messageOf(error) }, 'status.json could not be written'),
      );
    }
    status = next;
    if (!progressed) await wake.wait(untilNext(decision, retryAt, clock(), pace), signal);
  }
}

async function execute(
  actions: readonly Action[],
  { effects, failures, clock, log, signal }: Pick<Daemon, 'effects' | 'clock' | 'log' | 'signal'> & { failures: Map<string, Failure> },
): Promise<{ progressed: boolean; retryAt: Millis | undefined }> {
  let progressed = false;
  let retryAt: Millis | undefined;
  const wait = (at: Millis) => {
    retryAt = Math.min(retryAt ?? at, at);
  };
  // What follows in the list may rely on what failed: a copy is not removed when the one that replaces it could not be put there.
  const blocked = new Set<string>();
  for (const action of actions) {
    if (signal.aborted) break;
    const subject = 'workload' in action ? workloadKey(action.workload) : undefined;
    if (subject === undefined ? blocked.size > 0 : blocked.has(subject)) continue;
    const key = actionKey(action);
    const before = failures.get(key);
    if (before !== undefined && clock() < before.retryAt) {
      wait(before.retryAt);
      blocked.add(subject ?? key);
      continue;
    }
    const started = clock();
    try {
      await act(action, effects);
      failures.delete(key);
      progressed = true;
      log.info({ ...describe(action), ms: Math.round(clock() - started) }, action.kind);
    } catch (error) {
      const count = (before?.count ?? 0) + 1;
      const at = clock() + Math.min(RETRY_FIRST * 2 ** (count - 1), RETRY_MAX);
      failures.set(key, { count, retryAt: at });
      wait(at);
      log.error({ ...describe(action), error: messageOf(error), retryInMs: Math.round(at - clock()) }, `${action.kind} failed`);
      blocked.add(subject ?? key);
    }
  }
  return { progressed, retryAt };
}

function untilNext(decision: Decision, retryAt: Millis | undefined, now: Millis, pace: Daemon['pace']): Millis {
  const due = Math.min(decision.wakeAt ?? Number.POSITIVE_INFINITY, retryAt ?? Number.POSITIVE_INFINITY) - now;
  return Math.max(1, Math.min(due, decision.flux ? pace.flux : pace.quiet()));
}

/** What a log line may say of an action: never the copy itself, which holds Secrets. */
function describe(action: Action): Record<string, unknown> {
  if (action.kind === 'settleBoot') return {};
  const { workload, ...rest } = action;
  const { copy: _copy, kind: _kind, ...plain } = { copy: undefined, ...rest };
  return { workload: workloadKey(workload), ...plain };
}

function logTransitions(log: Logger, before: Status | undefined, after: Status): void {
  for (const source of ['api', 'runtime', 'disk'] as const) {
    if (before?.[source] !== after[source]) log.info({ source, from: before?.[source], to: after[source] }, 'source');
  }
  for (const [workload, { reason, message }] of Object.entries(after.workloads)) {
    const from = before?.workloads[workload]?.reason;
    if (from !== reason) log.info({ workload, from, to: reason, detail: message }, 'transition');
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
