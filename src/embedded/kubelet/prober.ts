/** Runs the probes of the pods' containers and keeps what they found, by container. */
import * as http from 'node:http';
import * as https from 'node:https';
import { connect } from 'node:net';
import type { V1Container, V1Probe } from '@kubernetes/client-node';
import { type Log, messageOf } from '../log.ts';
import type { Pod } from './pod.ts';
import type { ProbeVerdicts } from './pod-status.ts';
import { advance, initialState, PROBE_KINDS, type ProbeKind, type ProbeResult, type ProbeState, probePort } from './probes.ts';

/** The newest container of a pod's container name, as far as a probe has to know it. */
export interface ProbeTarget {
  readonly containerId: string;
  readonly running: boolean;
  readonly startedAt: number;
  readonly ip: string;
}

interface Worker {
  readonly pod: Pod;
  readonly container: V1Container;
  readonly kind: ProbeKind;
  readonly probe: V1Probe;
  state: ProbeState | undefined;
  timer: NodeJS.Timeout | undefined;
  busy: boolean;
}

export class Prober implements ProbeVerdicts {
  readonly #workers = new Map<string, Worker>();
  readonly #target: (uid: string, container: string) => ProbeTarget | undefined;
  readonly #changed: (uid: string) => void;
  readonly #log: Log;

  /** `changed` is called when a result of a pod's probe has changed. */
  constructor(target: (uid: string, container: string) => ProbeTarget | undefined, changed: (uid: string) => void, log: Log) {
    this.#target = target;
    this.#changed = changed;
    this.#log = log;
  }

  /** Adding a pod twice changes nothing. */
  addPod(pod: Pod): void {
    for (const container of pod.spec.containers) {
      for (const kind of PROBE_KINDS) {
        const probe = container[`${kind}Probe`];
        const key = workerKey(pod.metadata.uid, container.name, kind);
        if (probe === undefined || this.#workers.has(key)) continue;
        const worker: Worker = { pod, container, kind, probe, state: undefined, timer: undefined, busy: false };
        this.#workers.set(key, worker);
        worker.timer = setInterval(() => void this.#look(worker), (probe.periodSeconds ?? 10) * 1000);
        void this.#look(worker);
      }
    }
  }

  removePod(uid: string, kinds: readonly ProbeKind[] = PROBE_KINDS): void {
    for (const [key, worker] of this.#workers) {
      if (worker.pod.metadata.uid !== uid || !kinds.includes(worker.kind)) continue;
      clearInterval(worker.timer);
      this.#workers.delete(key);
    }
  }

  /** Looks at a pod's probes now, as the kubelet does with readiness whenever a pod is synced and not ready yet. */
  trigger(uid: string): void {
    for (const worker of this.#workers.values()) {
      if (worker.pod.metadata.uid === uid && worker.state?.result !== 'success') void this.#look(worker);
    }
  }

  started(container: V1Container, containerId: string): boolean {
    return container.startupProbe === undefined || this.#result('startup', containerId) === 'success';
  }

  ready(container: V1Container, containerId: string): boolean {
    return container.readinessProbe === undefined || this.#result('readiness', containerId) === 'success';
  }

  /** Ids of containers that have to be restarted. */
  failed(uid: string): Set<string> {
    const failures = [...this.#workers.values()].filter(
      (worker) => worker.pod.metadata.uid === uid && worker.kind !== 'readiness' && worker.state?.result === 'failure',
    );
    return new Set(failures.map((worker) => worker.state?.containerId ?? ''));
  }

  #result(kind: ProbeKind, containerId: string): ProbeResult | undefined {
    for (const worker of this.#workers.values()) {
      if (worker.kind === kind && worker.state?.containerId === containerId) return worker.state.result;
    }
    return undefined;
  }

  async #look(worker: Worker): Promise<void> {
    if (worker.busy) return;
    worker.busy = true;
    try {
      const { pod, container, kind, probe } = worker;
      const target = this.#target(pod.metadata.uid, container.name);
      if (target === undefined) return;
      if (worker.state?.containerId !== target.containerId) worker.state = initialState(kind, target.containerId);
      const { state } = worker;
      if (state.onHold) return;
      if (!target.running) {
        worker.state = { ...state, result: 'failure' };
        return;
      }
      if (Date.now() - target.startedAt < (probe.initialDelaySeconds ?? 0) * 1000) return;
      if (this.started(container, target.containerId) === (kind === 'startup')) return;
      const found = await probeOnce(probe, container, target.ip);
      if (worker.state !== state || found === 'unknown') return;
      worker.state = advance(kind, probe, state, found);
      if (worker.state.result === state.result) return;
      this.#log(`${kind} probe of ${pod.metadata.namespace}/${pod.metadata.name} ${container.name}: ${worker.state.result}`);
      this.#changed(pod.metadata.uid);
    } catch (error) {
      this.#log(`probe of ${worker.pod.metadata.namespace}/${worker.pod.metadata.name} ${worker.container.name}: ${messageOf(error)}`);
    } finally {
      worker.busy = false;
    }
  }
}

function workerKey(uid: string, container: string, kind: ProbeKind): string {
  return `${uid}/${container}/${kind}`;
}

/** An exec probe has no place to run in, it is unknown for ever. */
async function probeOnce(probe: V1Probe, container: V1Container, ip: string): Promise<ProbeResult> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  const { httpGet, tcpSocket } = probe;
  if (httpGet !== undefined) {
    const port = probePort(httpGet.port, container.ports ?? []);
    const url = `${(httpGet.scheme ?? 'HTTP').toLowerCase()}://${hostOf(httpGet.host ?? ip)}:${port}${httpGet.path ?? '/'}`;
    const headers = Object.fromEntries((httpGet.httpHeaders ?? []).map(({ name, value }) => [name, value]));
    return (await httpAnswers(url, headers, timeoutMs)) ? 'success' : 'failure';
  }
  if (tcpSocket !== undefined) {
    const port = probePort(tcpSocket.port, container.ports ?? []);
    return (await accepts(tcpSocket.host ?? ip, port, timeoutMs)) ? 'success' : 'failure';
  }
  return 'unknown';
}

function hostOf(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** 200 to 399 is success. The kubelet does not verify the certificate of what it probes. */
function httpAnswers(url: string, headers: Readonly<Record<string, string>>, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { headers: { 'User-Agent': 'kube-probe/1.36', ...headers }, agent: false, signal: AbortSignal.timeout(timeoutMs) };
    const onResponse = (response: http.IncomingMessage) => {
      response.resume();
      const code = response.statusCode ?? 0;
      resolve(code >= 200 && code < 400);
    };
    const request = url.startsWith('https:')
      ? https.get(url, { ...options, rejectUnauthorized: false }, onResponse)
      : http.get(url, options, onResponse);
    request.on('error', () => resolve(false));
  });
}

function accepts(host: string, port: number, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const end = (result: boolean) => {
      socket.destroy();
      resolve(result);
    };
    socket.on('connect', () => end(true));
    socket.on('timeout', () => end(false));
    socket.on('error', () => end(false));
  });
}
