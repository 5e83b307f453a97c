/** Numbers about the daemon, for Prometheus. */
import { Counter, Registry } from 'prom-client';

export interface Metrics {
  readonly registry: Registry;
  readonly storeFailures: Counter<'failure' | 'action'>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  return {
    registry,
    storeFailures: new Counter({
      name: 'pod_checkpointer_store_failures_total',
      help: 'Changes that the store did not take, by reason code and kind of action. Each left the store as it was.',
      labelNames: ['failure', 'action'],
      registers: [registry],
    }),
  };
}
