/** Probes as data: what a probe has found so far, and what follows from one more look (pkg/kubelet/prober/worker.go). */
import type { V1Probe } from '@kubernetes/client-node';

export type ProbeKind = 'startup' | 'readiness' | 'liveness';
export const PROBE_KINDS: readonly ProbeKind[] = ['startup', 'readiness', 'liveness'];

export type ProbeResult = 'success' | 'failure' | 'unknown';

export interface ProbeState {
  readonly containerId: string;
  /** The result that counts, after thresholds. */
  readonly result: ProbeResult;
  readonly last: ProbeResult | undefined;
  /** How many times in a row `last` was found. */
  readonly run: number;
  /** No more looks until there is a new container: it is to be restarted, or has started. */
  readonly onHold: boolean;
}

/** A new container is not ready, is alive, and has not said whether it has started. */
const INITIAL: Readonly<Record<ProbeKind, ProbeResult>> = { startup: 'unknown', readiness: 'failure', liveness: 'success' };

export function initialState(kind: ProbeKind, containerId: string): ProbeState {
  return { containerId, result: INITIAL[kind], last: undefined, run: 0, onHold: false };
}

export function advance(kind: ProbeKind, probe: V1Probe, state: ProbeState, found: 'success' | 'failure'): ProbeState {
  const run = state.last === found ? state.run + 1 : 1;
  const threshold = found === 'success' ? (probe.successThreshold ?? 1) : (probe.failureThreshold ?? 3);
  if (run < threshold) return { ...state, last: found, run };
  const onHold = kind === 'startup' || (kind === 'liveness' && found === 'failure');
  return { ...state, result: found, last: found, run: onHold ? 0 : run, onHold };
}

/** The port that a probe means: a number, or the name of a port of its container. @throws when there is no such name. */
export function probePort(port: unknown, ports: readonly { readonly name?: string; readonly containerPort: number }[]): number {
  const number = typeof port === 'number' ? port : Number(port);
  if (Number.isInteger(number) && number > 0 && number < 65536) return number;
  const named = ports.find(({ name }) => name === port);
  if (named === undefined) throw new Error(`probe port ${JSON.stringify(port)} is no port number and no port of the container`);
  return named.containerPort;
}
