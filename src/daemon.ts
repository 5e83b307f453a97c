/** Wires the sources, decide and act together: observe, decide, act, wait for something to happen. Nothing else is here. */
import type { Logger } from 'pino';
import type { Effects } from './act.ts';
import { type Decision, decide, type Report } from './checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from './checkpoint/memory.ts';
import { type Millis, NO_QUESTIONS, type Observation, type Policy, type Questions } from './checkpoint/model.ts';
import type { Reason } from './checkpoint/verdict.ts';
import type { WorkloadKey } from './checkpoint/workload.ts';
import { createExecutor, type Executed, type ExecutorOptions } from './execute.ts';
import type { Reporter } from './report/reporter.ts';

export interface Daemon {
  readonly effects: Effects;
  readonly policy: Policy;
  /** `cause`: why it is looked at. `time` alone means that nothing was done or told since the last observation. */
  readonly observe: (questions: Questions, cause: 'time' | 'event') => Promise<Observation>;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
  readonly wake: Wake;
  /** How long to wait at the most when nothing happens, and while something is going on. */
  readonly pace: { readonly quiet: () => Millis; readonly flux: Millis };
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly reporter: Reporter;
  readonly onOutcome?: ExecutorOptions['onOutcome'];
}

/** A flag that can be waited for. Waking it while nobody waits is remembered. */
export interface Wake {
  wake(): void;
  /** Whether it was woken before the time was over. */
  wait(ms: Millis, signal: AbortSignal): Promise<boolean>;
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
      const woken = pending;
      pending = false;
      return woken;
    },
  };
}

/** Runs until the signal is aborted; what is being done then is finished first, so that nothing is left half way. */
export async function runDaemon(daemon: Daemon): Promise<void> {
  const { effects, policy, observe, clock, wake, pace, log, signal, reporter, onOutcome } = daemon;
  const executor = createExecutor({ effects, clock, log, onLate: wake.wake, ...(onOutcome && { onOutcome }) });
  let memory: Memory = EMPTY_MEMORY;
  let questions = NO_QUESTIONS;
  let cause: 'time' | 'event' = 'event';
  while (!signal.aborted) {
    const observation = await observe(questions, cause);
    if (signal.aborted) break;
    const decision = decide(memory, observation, policy);
    memory = decision.memory;
    const asksMore = JSON.stringify(decision.questions) !== JSON.stringify(questions);
    questions = decision.questions;
    const { progressed, retryAt, refused } = await executor.run(decision.actions, signal);

    await reporter.report(observation, withRefusals(decision, refused));
    const waits = !progressed && !asksMore;
    const woken = waits && (await wake.wait(untilNext(decision, retryAt, clock(), pace), signal));
    cause = waits && !woken && decision.actions.length === 0 ? 'time' : 'event';
  }
  await executor.idle();
  await reporter.idle();
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

function untilNext(decision: Decision, retryAt: Millis | undefined, now: Millis, pace: Daemon['pace']): Millis {
  const due = Math.min(decision.wakeAt ?? Number.POSITIVE_INFINITY, retryAt ?? Number.POSITIVE_INFINITY) - now;
  return Math.max(1, Math.min(due, decision.flux ? pace.flux : pace.quiet()));
}
