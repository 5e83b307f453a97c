/** What is reported and what actions, the API server and the runtime answer, as numbers. */
import type { Logger } from 'pino';
import type { Millis } from '../checkpoint/model.ts';
import { DamagedError, FormatError, storeFailure } from '../checkpoint/store/errors.ts';
import type { Outcome } from '../execute.ts';
import { errnoOf } from '../platform/durable.ts';
import type { Metrics } from '../platform/metrics.ts';
import type { Answer } from '../sources/api/answer.ts';
import type { ApiClient } from '../sources/api/client.ts';
import type { RuntimeSource } from '../sources/snapshots.ts';
import { conditionOf } from './condition.ts';
import type { Reported } from './reporter.ts';
import { type Milestone, stateOf, WORKLOAD_STATES } from './transitions.ts';

/** Keeps the gauges as the last report says, and counts milestones and outages. */
export function reportMetrics(metrics: Metrics): (reported: Reported) => void {
  const counters: Readonly<Record<Milestone, { inc(): void } | undefined>> = {
    // Counted with its duration, when the action has been done.
    Copied: undefined,
    Proven: metrics.proofs,
    Activated: metrics.activations,
    Yielded: metrics.yields,
    RolledBack: metrics.rollbacks,
    Refused: metrics.refusals,
    Retired: metrics.retirements,
    // Once in a node's life: the history and an Event have it.
    TakenOver: undefined,
  };
  for (const state of WORKLOAD_STATES) metrics.checkpoints.set({ state }, 0);
  let unreachableSince: Millis | undefined;
  return ({ observation: { api, runtime, disk, now }, status, transitions, pendingEvents, outlook }) => {
    metrics.loopTurns.inc();
    metrics.lastTurn.set(Date.now() / 1000);
    metrics.apiUp.set(api.state === 'ok' ? 1 : 0);
    metrics.runtimeUp.set(runtime.state === 'ok' ? 1 : 0);
    metrics.storeUp.set(disk.state === 'ok' ? 1 : 0);
    metrics.checkpointed.set(conditionOf(status, outlook).status === 'True' ? 1 : 0);
    metrics.pendingEvents.set(pendingEvents);
    if (api.state === 'unreachable') unreachableSince ??= now;
    else if (api.state === 'ok' && unreachableSince !== undefined) {
      metrics.outageDuration.observe((now - unreachableSince) / 1000);
      unreachableSince = undefined;
    }
    const workloads = Object.entries(status.workloads);
    const states = Map.groupBy(workloads, ([, workload]) => stateOf(workload));
    for (const state of WORKLOAD_STATES) metrics.checkpoints.set({ state }, states.get(state)?.length ?? 0);
    metrics.workloadReason.reset();
    metrics.lastProven.reset();
    for (const [workload, { reason, proven }] of workloads) {
      metrics.workloadReason.set({ workload, reason }, 1);
      if (proven !== undefined) metrics.lastProven.set({ workload }, Date.parse(proven.at) / 1000);
    }
    for (const milestone of transitions.flatMap(({ milestones }) => milestones)) counters[milestone]?.inc();
  };
}

/** Counts what became of an attempt of an action. */
export function countOutcome(metrics: Metrics, { action, ms, error }: Outcome): void {
  metrics.actions.inc({ action, result: error === undefined ? 'ok' : 'failed' });
  if (error !== undefined) metrics.errors.inc({ operation: action, code: codeOf(error) });
  else if (action === 'save') {
    metrics.saves.inc();
    metrics.saveDuration.observe(ms / 1000);
  }
}

/** A reason code of the store, an errno, the number of a gRPC status; never a message, which may hold anything. */
function codeOf(error: unknown): string {
  const failure = storeFailure(error);
  if (failure !== undefined) return failure;
  if (error instanceof DamagedError) return 'Damaged';
  if (error instanceof FormatError) return 'UnknownFormat';
  const errno = errnoOf(error);
  if (errno !== undefined && /^[A-Z][A-Z0-9_]{1,40}$/.test(errno)) return errno;
  return error instanceof Error && 'code' in error && typeof error.code === 'number' ? `grpc-${error.code}` : 'Other';
}

type AnyAnswer = Answer<unknown> | { readonly kind: 'ended' };

/** The same client; what the API server answers is counted, and logged as far as path and result go. */
export function countedClient(client: ApiClient, metrics: Metrics, log: Logger): ApiClient {
  async function count<A extends AnyAnswer>(method: string, path: string, asked: Promise<A>): Promise<A> {
    const started = performance.now();
    const answer = await asked;
    const result = resultOf(answer);
    metrics.apiAnswers.inc({ method, result });
    log.debug({ method, path, result, ms: Math.round(performance.now() - started) }, 'request to the API server');
    return answer;
  }
  return {
    ...client,
    get: (path, options) => count('get', path, client.get(path, options)),
    post: (path, body, options) => count('post', path, client.post(path, body, options)),
    patch: (path, body, options) => count('patch', path, client.patch(path, body, options)),
    probe: (path, options) => count('probe', path, client.probe(path, options)),
    watch: (path, options) => count('watch', path, client.watch(path, options)),
  };
}

function resultOf(answer: AnyAnswer): string {
  switch (answer.kind) {
    case 'unreachable':
      return answer.cause;
    case 'status':
    case 'denied':
      return String(answer.status);
    default:
      return answer.kind;
  }
}

/** The same source; what the runtime answers is counted. */
export function countedRuntime(runtime: RuntimeSource, metrics: Metrics): RuntimeSource {
  const count = (operation: string, ok: boolean) => metrics.criAnswers.inc({ operation, result: ok ? 'ok' : 'failed' });
  async function counted<T>(operation: string, asked: Promise<T>): Promise<T> {
    try {
      const answer = await asked;
      count(operation, true);
      return answer;
    } catch (error) {
      count(operation, false);
      throw error;
    }
  }
  return {
    async list() {
      const answer = await runtime.list();
      count('list', answer.state === 'ok');
      return answer;
    },
    stopContainer: (id, timeoutSeconds) => counted('stopContainer', runtime.stopContainer(id, timeoutSeconds)),
    stopSandbox: (id) => counted('stopSandbox', runtime.stopSandbox(id)),
    hasImage: (reference) => counted('hasImage', runtime.hasImage(reference)),
    removeContainer: (id) => counted('removeContainer', runtime.removeContainer(id)),
    get sendsEvents() {
      return runtime.sendsEvents;
    },
    stop: () => runtime.stop(),
  };
}
