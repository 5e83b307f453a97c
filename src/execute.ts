/**
 * Carries out what was decided, action by action, and remembers what failed and what still goes on. An action that does not end in time goes on beside the
 * loop: a disk that takes 10 s for a save must not keep the daemon from seeing what happens on the node.
 */
import type { Logger } from 'pino';
import { act, actionKey, type Effects } from './act.ts';
import type { Action, ActionKind, Millis } from './checkpoint/model.ts';
import { type StoreFailure, storeFailure } from './checkpoint/store/errors.ts';
import { type WorkloadKey, workloadKey } from './checkpoint/workload.ts';

const RETRY_FIRST: Millis = 1_000;
const RETRY_MAX: Millis = 60_000;
/** The loop waits this long for an action, then goes on without it. */
const PATIENCE: Millis = 1_000;

/** These change the store and can wait: while anything still goes on, a slow disk is not given more to do. */
const CAN_WAIT: ReadonlySet<ActionKind> = new Set([
  'save',
  'repoint',
  'prove',
  'markFailing',
  'demote',
  'renew',
  'prune',
  'retire',
  'discard',
  'settleBoot',
  'clearPredecessor',
  'tidyPredecessor',
] as const);

/**
 * While one of these is still under way, because of a slow disk, what ends an outage for the same workload goes on beside it: none of them touches a
 * manifest, and none takes away what may be activated (see ACTIVATION_WAIT in act.ts for the lock). Retiring does, and is waited for.
 */
const goesBeside = (kind: ActionKind): boolean => kind === 'quarantine' || (CAN_WAIT.has(kind) && kind !== 'retire');

interface Going {
  /** What it changes: a workload, or the node as a whole. */
  readonly subject: string;
  readonly kind: ActionKind;
  readonly attempt: Promise<boolean>;
}

interface Failure {
  readonly count: number;
  readonly retryAt: Millis;
  readonly store: StoreFailure | undefined;
  readonly message: string;
}

export interface Executed {
  /** Something changed: what was observed is out of date. */
  readonly progressed: boolean;
  readonly retryAt: Millis | undefined;
  /** Of the actions that were to be done, those that the store refused. */
  readonly refused: ReadonlyMap<WorkloadKey, { readonly failure: StoreFailure; readonly message: string }>;
}

export interface Executor {
  run(actions: readonly Action[], signal: AbortSignal): Promise<Executed>;
  /** Resolves when nothing goes on any more. */
  idle(): Promise<void>;
}

export interface ExecutorOptions {
  readonly effects: Effects;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
  readonly log: Logger;
  /** Called when an action ends that the loop did not wait for. */
  readonly onLate: () => void;
  /** Called with what became of each attempt; for the metrics. */
  readonly onOutcome?: (outcome: Outcome) => void;
}

export interface Outcome {
  readonly action: ActionKind;
  /** How long it took. */
  readonly ms: Millis;
  /** Absent when it was done. */
  readonly error?: unknown;
}

export function createExecutor({ effects, clock, log, onLate, onOutcome }: ExecutorOptions): Executor {
  const failures = new Map<string, Failure>();
  const going = new Set<Going>();

  /** True when it was done. Never rejects. */
  async function attempt(action: Action): Promise<boolean> {
    const key = actionKey(action);
    const started = clock();
    try {
      await act(action, effects);
      failures.delete(key);
      const ms = clock() - started;
      onOutcome?.({ action: action.kind, ms });
      log.info({ ...describe(action), ms: Math.round(ms) }, action.kind);
      return true;
    } catch (error) {
      const count = (failures.get(key)?.count ?? 0) + 1;
      const retryAt = clock() + Math.min(RETRY_FIRST * 2 ** (count - 1), RETRY_MAX);
      const message = error instanceof Error ? error.message : String(error);
      const store = storeFailure(error);
      failures.set(key, { count, retryAt, store, message });
      onOutcome?.({ action: action.kind, ms: clock() - started, error });
      log.error(
        { ...describe(action), ...(store && { failure: store }), error: message, retryInMs: Math.round(retryAt - clock()) },
        `${action.kind} failed`,
      );
      return false;
    }
  }

  async function run(actions: readonly Action[], signal: AbortSignal): Promise<Executed> {
    let progressed = false;
    /** What waits for its own time; what is only blocked behind it waits with it. */
    const waiting: Action[] = [];
    // What follows in the list may rely on what failed: a copy is not removed when the one that replaces it could not be put there.
    const blocked = new Set<string>();
    const holdsUp = (action: Action, subject: string) =>
      [...going].some((one) => one.subject === subject && !(goesBeside(one.kind) && !goesBeside(action.kind)));
    // A save that cannot be done does not keep the boot unsettled, and so every later outage a cold boot.
    let unsettled = false;
    const block = (action: Action) => {
      waiting.push(action);
      // What could not be moved out of the way, or taken over, must not keep another generation from serving.
      if (action.kind !== 'quarantine' && action.kind !== 'adopt') blocked.add(subjectOf(action));
      unsettled ||= !CAN_WAIT.has(action.kind) && action.kind !== 'adopt';
    };
    for (const action of actions) {
      if (signal.aborted) break;
      const subject = subjectOf(action);
      if (subject === NODE ? unsettled : blocked.has(subject) || holdsUp(action, subject)) continue;
      const before = failures.get(actionKey(action));
      if ((before !== undefined && clock() < before.retryAt) || (CAN_WAIT.has(action.kind) && going.size > 0)) {
        block(action);
        continue;
      }
      const done = await within(attempt(action), { subject, kind: action.kind });
      if (done === true) progressed = true;
      else block(action);
    }
    return { progressed, ...standing(actions, waiting) };
  }

  async function within(attempt: Promise<boolean>, what: Omit<Going, 'attempt'>): Promise<boolean | 'late'> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, PATIENCE, 'late');
    });
    const outcome = await Promise.race([attempt, patience]);
    clearTimeout(timer);
    if (outcome === 'late') {
      const late: Going = { ...what, attempt };
      going.add(late);
      void attempt.then(() => {
        going.delete(late);
        onLate();
      });
    }
    return outcome;
  }

  function standing(actions: readonly Action[], waiting: readonly Action[]): Omit<Executed, 'progressed'> {
    let retryAt: Millis | undefined;
    const refused = new Map<WorkloadKey, { failure: StoreFailure; message: string }>();
    for (const action of actions) {
      const failure = failures.get(actionKey(action));
      if (failure === undefined) continue;
      // While something goes on, its end wakes the loop.
      if (going.size === 0 && waiting.includes(action)) retryAt = Math.min(retryAt ?? failure.retryAt, failure.retryAt);
      if (failure.store !== undefined && 'workload' in action)
        refused.set(workloadKey(action.workload), { failure: failure.store, message: `${action.kind}: ${failure.message}` });
    }
    return { retryAt, refused };
  }

  return {
    run,
    async idle() {
      await Promise.all([...going].map(({ attempt }) => attempt));
    },
  };
}

const NODE = 'node';

const subjectOf = (action: Action): string => ('workload' in action ? workloadKey(action.workload) : NODE);

/** What a log line may say of an action: neither the copy, which holds Secrets, nor its digest, by which one with few possible values can be guessed. */
function describe(action: Action): Record<string, unknown> {
  if (action.kind === 'settleBoot' || action.kind === 'stepDown') return {};
  if (action.kind === 'tidyPredecessor') return { directories: action.directories };
  const { workload, ...rest } = action;
  const { copy: _copy, digest: _digest, kind: _kind, ...plain } = { copy: undefined, digest: undefined, ...rest };
  return { workload: workloadKey(workload), ...plain };
}
