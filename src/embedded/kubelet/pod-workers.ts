/**
 * The life of each pod by uid: syncing → terminating → terminated → finished, never back (pkg/kubelet/pod_workers.go).
 *
 *  1. One step of a pod at a time. A pod that becomes terminating interrupts the step that is under way.
 *  2. Of two static pods with one full name, the later one waits until the earlier one has terminated. API pods wait for nobody.
 *  3. A grace period only ever gets shorter, and is at least 1 s.
 *  4. A pod that was removed from its source is terminated by housekeeping, which runs only once the sources are ready.
 */
import { type Log, messageOf } from '../log.ts';
import { fullName, isStatic, isTerminalPhase, type Pod } from './pod.ts';

export type UpdateType = 'create' | 'update' | 'sync' | 'kill';

/** What the runtime has of a pod that no source knows. */
export interface Orphan {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
}

export interface Update {
  readonly type: UpdateType;
  readonly pod: Pod;
  readonly mirror: Pod | undefined;
}

export interface SyncResult {
  /** The pod has reached its end by itself. */
  readonly terminal: boolean;
  /** When to look again although nothing changes, in milliseconds; undefined: at the resync interval. */
  readonly retryAfter: number | undefined;
}

export interface PodSyncer {
  sync(update: Update, signal: AbortSignal): Promise<SyncResult>;
  /** Stops all containers; after it none runs. */
  terminate(pod: Pod, graceSeconds: number, signal: AbortSignal): Promise<void>;
  terminateOrphan(orphan: Orphan): Promise<void>;
  /** Volumes, last status. */
  finish(pod: Pod): Promise<void>;
}

type Phase = 'sync' | 'terminating' | 'terminated' | 'finished';

interface Worker {
  readonly uid: string;
  readonly fullName: string;
  readonly isStatic: boolean;
  readonly orphan: Orphan | undefined;
  phase: Phase;
  started: boolean;
  graceSeconds: number;
  restartRequested: boolean;
  pending: Update | undefined;
  active: Update | undefined;
  working: boolean;
  abort: AbortController;
  timer: NodeJS.Timeout | undefined;
}

export interface WorkerTiming {
  /** Milliseconds until a step that failed is tried again, and until a static pod that waits asks again. */
  readonly retry: number;
  /** Milliseconds between two syncs of a pod that does not change. */
  readonly resync: number;
}

export class PodWorkers {
  readonly #workers = new Map<string, Worker>();
  readonly #startedStatic = new Map<string, string>();
  readonly #waitingStatic = new Map<string, string[]>();
  readonly #syncer: PodSyncer;
  readonly #timing: WorkerTiming;
  readonly #due: (uid: string) => void;
  readonly #log: Log;

  /** `due` is called when a pod is to be synced again; whoever knows the pods answers with an update. */
  constructor(syncer: PodSyncer, timing: WorkerTiming, due: (uid: string) => void, log: Log) {
    this.#syncer = syncer;
    this.#timing = timing;
    this.#due = due;
    this.#log = log;
  }

  isTerminationRequested(uid: string): boolean {
    return (this.#workers.get(uid)?.phase ?? 'sync') !== 'sync';
  }

  isKnownTerminated(uid: string): boolean {
    const phase = this.#workers.get(uid)?.phase;
    return phase === 'terminated' || phase === 'finished';
  }

  knows(uid: string): boolean {
    return this.#workers.has(uid);
  }

  /** Whether a pod of this full name is on its way out: its mirror stays until then. */
  isTerminating(name: string): boolean {
    return [...this.#workers.values()].some((worker) => worker.fullName === name && worker.phase === 'terminating');
  }

  update(update: Update): void {
    const { pod } = update;
    let worker = this.#workers.get(pod.metadata.uid);
    if (worker === undefined) worker = this.#add(pod.metadata.uid, fullName(pod), isStatic(pod), undefined);
    else if (worker.phase !== 'sync' && update.type === 'create') {
      // The same manifest came back while its pod still goes: it starts again afterwards.
      worker.restartRequested = true;
      return;
    }
    if (worker.phase === 'finished') return;
    const ends = pod.metadata.deletionTimestamp !== undefined || isTerminalPhase(pod.status?.phase) || update.type === 'kill';
    if (worker.phase === 'sync' && ends) this.#requestTermination(worker, pod);
    else if (worker.phase === 'terminating') {
      const grace = effectiveGrace(worker.graceSeconds, pod);
      if (grace < worker.graceSeconds) worker.abort.abort();
      worker.graceSeconds = grace;
    }
    worker.pending = update;
    this.#kick(worker);
  }

  /** Ends what the runtime has of a pod that no source knows, with the shortest grace. */
  killOrphan(orphan: Orphan): void {
    if (this.#workers.has(orphan.uid)) return;
    const worker = this.#add(orphan.uid, `${orphan.namespace}/${orphan.name}`, false, orphan);
    worker.phase = 'terminating';
    worker.graceSeconds = 1;
    this.#log(`pod ${worker.fullName} (${orphan.uid}) runs and no source knows it: it is ended`);
    void this.#step(worker);
  }

  /** Housekeeping: ends workers whose pod no source has any more, forgets those that are done. `desired` holds uids. */
  retain(desired: ReadonlySet<string>): void {
    for (const worker of [...this.#workers.values()]) {
      const orphaned = !desired.has(worker.uid);
      if (!orphaned && !worker.restartRequested) continue;
      if (worker.phase === 'finished' || (orphaned && !worker.started && worker.orphan === undefined)) this.#remove(worker);
      else if (orphaned && worker.orphan === undefined) {
        if (worker.phase === 'sync' && worker.active !== undefined) this.#requestTermination(worker, worker.active.pod);
        worker.pending ??= worker.active;
        this.#kick(worker);
      }
    }
  }

  #add(uid: string, name: string, static_: boolean, orphan: Orphan | undefined): Worker {
    const worker: Worker = {
      uid,
      fullName: name,
      isStatic: static_,
      orphan,
      phase: 'sync',
      started: orphan !== undefined,
      graceSeconds: 0,
      restartRequested: false,
      pending: undefined,
      active: undefined,
      working: false,
      abort: new AbortController(),
      timer: undefined,
    };
    this.#workers.set(uid, worker);
    if (static_) this.#waitingStatic.set(name, [...(this.#waitingStatic.get(name) ?? []), uid]);
    return worker;
  }

  #remove(worker: Worker): void {
    clearTimeout(worker.timer);
    this.#workers.delete(worker.uid);
    if (this.#startedStatic.get(worker.fullName) === worker.uid) this.#startedStatic.delete(worker.fullName);
  }

  #requestTermination(worker: Worker, pod: Pod): void {
    worker.phase = 'terminating';
    worker.graceSeconds = effectiveGrace(0, pod);
    worker.abort.abort();
  }

  #kick(worker: Worker): void {
    if (!worker.working) void this.#step(worker);
  }

  async #step(worker: Worker): Promise<void> {
    worker.working = true;
    clearTimeout(worker.timer);
    let retryAfter: number | undefined = this.#timing.resync;
    try {
      retryAfter = await this.#advance(worker);
    } catch (error) {
      if (!worker.abort.signal.aborted) this.#log(`error syncing pod ${worker.fullName}, skipping: ${messageOf(error)}`);
      retryAfter = worker.abort.signal.aborted ? 0 : this.#timing.retry;
    } finally {
      worker.working = false;
    }
    if (this.#workers.get(worker.uid) !== worker || worker.phase === 'finished' || retryAfter === undefined) return;
    if (worker.pending !== undefined && worker.started) this.#kick(worker);
    else worker.timer = setTimeout(() => (worker.orphan === undefined ? this.#due(worker.uid) : void this.#step(worker)), retryAfter);
  }

  /** One step. Returns when the next one is due, undefined for never. */
  async #advance(worker: Worker): Promise<number | undefined> {
    if (worker.orphan !== undefined) {
      await this.#syncer.terminateOrphan(worker.orphan);
      worker.phase = 'finished';
      return undefined;
    }
    const update = worker.pending ?? worker.active;
    if (update === undefined) return undefined;
    if (!worker.started) {
      if (worker.phase !== 'sync' && worker.isStatic) {
        // Never ran: there is nothing to end.
        worker.phase = 'finished';
        return undefined;
      }
      if (worker.isStatic && !this.#mayStart(worker)) {
        worker.pending = update;
        return this.#timing.retry;
      }
      worker.started = true;
    }
    worker.pending = undefined;
    worker.active = update;
    worker.abort = new AbortController();
    const { signal } = worker.abort;
    switch (worker.phase) {
      case 'sync': {
        const result = await this.#syncer.sync(update, signal);
        if (result.terminal && worker.phase === 'sync') {
          this.#requestTermination(worker, update.pod);
          return 0;
        }
        return result.retryAfter ?? this.#timing.resync;
      }
      case 'terminating':
        await this.#syncer.terminate(update.pod, worker.graceSeconds, signal);
        worker.phase = 'terminated';
        return 0;
      case 'terminated':
        await this.#syncer.finish(update.pod);
        worker.phase = 'finished';
        if (this.#startedStatic.get(worker.fullName) === worker.uid) this.#startedStatic.delete(worker.fullName);
        return undefined;
      case 'finished':
        return undefined;
    }
  }

  #mayStart(worker: Worker): boolean {
    const holder = this.#startedStatic.get(worker.fullName);
    if (holder !== undefined) return holder === worker.uid;
    const waiting = (this.#waitingStatic.get(worker.fullName) ?? []).filter((uid) => this.#workers.get(uid)?.phase === 'sync');
    if (waiting[0] !== worker.uid) return false;
    this.#waitingStatic.set(worker.fullName, waiting.slice(1));
    this.#startedStatic.set(worker.fullName, worker.uid);
    return true;
  }
}

/** Seconds. The API server's word for a deleted pod, else the pod's own; what was decided before can only be shortened; 1 at least. */
export function effectiveGrace(current: number, pod: Pod): number {
  const wanted = pod.metadata.deletionGracePeriodSeconds ?? (current === 0 ? (pod.spec.terminationGracePeriodSeconds ?? 30) : current);
  return Math.max(1, current === 0 ? wanted : Math.min(current, wanted));
}
