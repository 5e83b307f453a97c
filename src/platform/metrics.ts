/**
 * Numbers about the daemon, for Prometheus. Base units (seconds, bytes), counters end in _total. Labels hold names and codes, never a value of an object.
 * What each of them means to an operator is in docs/metrics.md.
 */
import { readdirSync } from 'node:fs';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { VERSION } from '../version.ts';

export type Metrics = ReturnType<typeof createMetrics>;

const PREFIX = 'pod_checkpointer_';
/** From a fast NVMe's fsync to a disk that is dying. */
const FSYNC_BUCKETS = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];
const SAVE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** From the restart of a component to a night without anybody. */
const OUTAGE_BUCKETS = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3_600, 14_400, 43_200];

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name: `${PREFIX}${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string = never>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Gauge({ name: `${PREFIX}${name}`, help, labelNames: [...labelNames], registers });
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `${PREFIX}${name}`, help, buckets, registers });

  gauge('build_info', 'Always 1; which version runs, on which Node.', ['version', 'node_version']).set(
    { version: VERSION, node_version: process.version },
    1,
  );
  registerProcess(registry);
  return {
    registry,
    leader: gauge('leader', '1 if this process leads on its node, 0 while it waits for another one.'),
    apiUp: gauge('api_up', '1 while the API server answers, 0 while it is unreachable, denies, or has not answered yet.'),
    runtimeUp: gauge('runtime_up', '1 while the container runtime answers.'),
    storeUp: gauge('store_up', '1 while the store and the static pod directory can be read.'),
    checkpointed: gauge('checkpointed', "1 while the Node's condition ControlPlaneCheckpointed is True."),
    checkpoints: gauge('checkpoints', 'Workloads by what they have: no generation, a saved one, a proven one, an active copy.', ['state']),
    workloadReason: gauge('workload_reason', 'Always 1; the reason code of each workload.', ['workload', 'reason']),
    lastProven: gauge('last_proven_timestamp_seconds', 'When the copy that is proven was first seen to be so, in Unix time.', ['workload']),
    saves: counter('saves_total', 'Generations that were written.'),
    saveDuration: histogram('save_duration_seconds', 'Time to write one generation, every fsync included.', SAVE_BUCKETS),
    fsyncDuration: histogram('fsync_duration_seconds', 'Time of each fsync of a file or directory of the store.', FSYNC_BUCKETS),
    proofs: counter('proofs_total', 'Copies that became the proven one.'),
    activations: counter('activations_total', 'Copies that took the place of their parent.'),
    yields: counter('yields_total', 'Active copies that made room for their parent.'),
    rollbacks: counter('rollbacks_total', 'Times that a proven copy came back because what ran did not hold up.'),
    refusals: counter('refusals_total', 'Times that a workload turned into one of which no copy can be made.'),
    retirements: counter('retirements_total', 'Workloads whose generations were moved out of use.'),
    actions: counter('actions_total', 'Attempts of actions, by kind and result.', ['action', 'result']),
    outageDuration: histogram(
      'api_outage_duration_seconds',
      'Times without an answer of the API server, each counted when it ended.',
      OUTAGE_BUCKETS,
    ),
    errors: counter('errors_total', 'Actions that failed, by kind and by reason code, errno or gRPC status.', ['operation', 'code']),
    apiAnswers: counter('api_answers_total', 'Requests to the API server by method and what became of them.', ['method', 'result']),
    criAnswers: counter('cri_answers_total', 'Requests to the container runtime by operation and what became of them.', [
      'operation',
      'result',
    ]),
    pendingEvents: gauge('events_pending', 'Events that the API server has not taken yet.'),
    loopTurns: counter('loop_turns_total', 'Turns of the loop: observations that were decided upon.'),
    lastTurn: gauge('loop_last_turn_timestamp_seconds', 'When the loop last turned, in Unix time.'),
  };
}

/** The names that Prometheus' own clients give them; read when they are asked for, so that they cost nothing in between. */
function registerProcess(registry: Registry): void {
  const registers = [registry];
  const started = Date.now() / 1000 - process.uptime();
  new Gauge({ name: 'process_start_time_seconds', help: 'Start of the process, in Unix time.', registers }).set(started);
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'process_open_fds',
    help: 'Open file descriptors.',
    registers,
    collect() {
      // Less the one that reads this directory.
      this.set(openDescriptors());
    },
  });
  let counted = 0;
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time, user and system.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      const total = (user + system) / 1e6;
      this.inc(Math.max(0, total - counted));
      counted = total;
    },
  });
}

function openDescriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length - 1;
  } catch {
    return 0;
  }
}
