/** Reports the pods' status to the API server, and deletes pods that have ended (pkg/kubelet/status/status_manager.go). */
import { sameValue } from '../apiserver/objects.ts';
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import { type Log, messageOf } from '../log.ts';
import { deletePod, podPath } from './objects.ts';
import { CONFIG_MIRROR, fullName, isMirror, isTerminalPhase, type Pod, type PodStatus } from './pod.ts';

interface Entry {
  pod: Pod;
  status: PodStatus;
  version: number;
  reported: number;
  /** Its containers are gone for good: a deleted pod may now leave the API server. */
  finished: boolean;
}

export class StatusManager {
  readonly #client: ApiClient;
  readonly #log: Log;
  readonly #entries = new Map<string, Entry>();
  readonly #busy = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #lastError = '';

  /** `period` in milliseconds: how often reports that failed are tried again. */
  constructor(client: ApiClient, period: number, log: Log) {
    this.#client = client;
    this.#log = log;
    this.#timer = setInterval(() => this.#syncAll(), period);
  }

  get(uid: string): PodStatus | undefined {
    return this.#entries.get(uid)?.status;
  }

  set(pod: Pod, status: PodStatus): void {
    const { uid } = pod.metadata;
    const entry = this.#entries.get(uid);
    if (entry === undefined) this.#entries.set(uid, { pod, status, version: 1, reported: 0, finished: false });
    else {
      entry.pod = pod;
      if (sameValue(entry.status, status) && pod.metadata.deletionTimestamp === undefined) return;
      if (entry.status.phase !== status.phase)
        this.#log(`pod ${fullName(pod)} ${status.phase}${status.reason === undefined ? '' : ` (${status.reason})`}`);
      entry.status = status;
      entry.version++;
    }
    void this.#sync(uid);
  }

  /** The pod has ended and its containers are gone. */
  finish(pod: Pod): void {
    const entry = this.#entries.get(pod.metadata.uid);
    if (entry === undefined || entry.finished) return;
    entry.pod = pod;
    entry.finished = true;
    entry.version++;
    void this.#sync(pod.metadata.uid);
  }

  /** Forgets pods that no source has any more. */
  retain(uids: ReadonlySet<string>): void {
    for (const uid of this.#entries.keys()) if (!uids.has(uid)) this.#entries.delete(uid);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #syncAll(): void {
    for (const [uid, entry] of this.#entries) if (entry.reported < entry.version) void this.#sync(uid);
  }

  /** One report at a time for each pod; changes meanwhile are reported after it. */
  async #sync(uid: string): Promise<void> {
    if (this.#busy.has(uid)) return;
    this.#busy.add(uid);
    try {
      for (let entry = this.#entries.get(uid); entry !== undefined && entry.reported < entry.version; entry = this.#entries.get(uid)) {
        const { version } = entry;
        if (!(await this.#report(uid, entry))) return;
        entry.reported = version;
        this.#lastError = '';
      }
    } catch (error) {
      // While the API server is away this is every pod's story: told once.
      if (messageOf(error) !== this.#lastError) this.#log(`status of pod ${uid} not reported: ${messageOf(error)}`);
      this.#lastError = messageOf(error);
    } finally {
      this.#busy.delete(uid);
    }
  }

  /** False when there is nothing to report to now. */
  async #report(uid: string, { pod, status, finished }: Entry): Promise<boolean> {
    const { namespace, name } = pod.metadata;
    let found: Pod;
    try {
      found = (await this.#client.request('GET', podPath(namespace, name))) as Pod;
    } catch (error) {
      // A node may not ask for a pod that is not there: it gets 403 for it, not 404.
      if (error instanceof AnswerError && (error.code === 403 || error.code === 404)) return false;
      throw error;
    }
    const reportedUid = found.metadata.annotations?.[CONFIG_MIRROR] ?? found.metadata.uid;
    if (reportedUid !== uid) return false;
    // A deleted pod becomes terminal only once its containers are gone.
    const merged = merge(found.status, status, finished || found.metadata.deletionTimestamp === undefined);
    if (!sameValue(pick(found.status, merged), merged)) {
      const patch = { metadata: { uid: found.metadata.uid }, status: merged };
      await this.#client.request('PATCH', `${podPath(namespace, name)}/status`, patch, { contentType: 'application/merge-patch+json' });
    }
    const mayGo = found.metadata.deletionTimestamp !== undefined && !isMirror(found) && finished;
    if (mayGo) {
      await deletePod(this.#client, namespace, name, found.metadata.uid);
      this.#log(`pod ${fullName(pod)} has ended and was deleted`);
    }
    return true;
  }
}

function merge(found: PodStatus | undefined, status: PodStatus, mayEnd: boolean): PodStatus {
  const phase = isTerminalPhase(status.phase) && !mayEnd ? (found?.phase ?? 'Running') : status.phase;
  return phase === undefined ? status : { ...status, phase };
}

/** The fields of `wanted` as they are in `found`. */
function pick(found: PodStatus | undefined, wanted: PodStatus): object {
  const fields = new Map(Object.entries(found ?? {}));
  return Object.fromEntries(Object.keys(wanted).map((field) => [field, fields.get(field)]));
}
