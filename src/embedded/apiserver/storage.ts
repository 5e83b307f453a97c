/**
 * The embedded API server's etcd: one directory, shared by every API server that is given it (two of them run side by side while a copy
 * hands back to its parent), without locks.
 *
 *   log.<epoch>.jsonl        appended to with O_APPEND, one write(2) and one fdatasync(2) a record
 *   snapshot.<epoch>.jsonl   all objects at the start of the epoch; epoch 1 has none
 *
 * A record is "\n" + JSON + "\n": a record torn by SIGKILL or a power cut is ended by the next one's first newline, and lines that do
 * not parse are ignored. {"id", "key", "expect", "value"} puts (or with null deletes) an object whose revision has to be `expect`, 0 for
 * one that must not exist. The order of the lines in the file decides: a record whose expectation does not hold is void, for every reader
 * alike. The revision counts the records that are not void. {"seal": n} ends an epoch: later records in that file are void, and the
 * writer tries again in epoch n, whose snapshot every reader could write and one does.
 */
import { randomUUID } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { KubeObject } from './objects.ts';
import { readSnapshot, writeSnapshot } from './storage-snapshot.ts';

export interface Change {
  readonly revision: number;
  /** `<resource>/<namespace>/<name>`, the resource as errors name it, an empty namespace for a cluster's own objects. */
  readonly key: string;
  readonly object: KubeObject | undefined;
  readonly previous: KubeObject | undefined;
}

export interface StorageOptions {
  /** A log longer than this many bytes (and than twice the snapshot before it) is compacted. */
  readonly compactAt: number;
}

export class Storage {
  readonly directory: string;
  #options: StorageOptions;
  #objects = new Map<string, KubeObject>();
  #revision = 0;
  #epoch = 1;
  #log = -1;
  #offset = 0;
  #unread = Buffer.alloc(0);
  #snapshotSize = 0;
  #outcomes = new Map<string, number | 'void'>();
  #listeners = new Set<(change: Change) => void>();
  #watcher: fs.FSWatcher | undefined;

  /** Reads what is there. Throws when the directory cannot be read or written. */
  constructor(directory: string, options: StorageOptions = { compactAt: 4 * 1024 * 1024 }) {
    this.directory = directory;
    this.#options = options;
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    const epochs = fs.readdirSync(directory).map((name) => Number(/^snapshot\.(\d+)\.jsonl$/.exec(name)?.[1] ?? 0));
    this.#epoch = Math.max(1, ...epochs);
    if (this.#epoch > 1) {
      const snapshot = readSnapshot(this.#file('snapshot', this.#epoch));
      this.#objects = snapshot.objects;
      this.#revision = snapshot.revision;
      this.#snapshotSize = snapshot.size;
    }
    this.#openLog();
    this.catchUp();
  }

  /** Revision of the last change, as in every resourceVersion. */
  get revision(): number {
    return this.#revision;
  }

  get(key: string): KubeObject | undefined {
    return this.#objects.get(key);
  }

  /** Objects whose key begins so, in the order of their keys. */
  list(prefix: string): KubeObject[] {
    const found = [...this.#objects].filter(([key]) => key.startsWith(prefix));
    return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** Stores, or with undefined deletes, durably. Returns the new revision, or `void` when the object is not at the expected revision. */
  put(key: string, expect: number, object: KubeObject | undefined): number | 'void' {
    for (;;) {
      const epoch = this.#epoch;
      const id = randomUUID();
      this.#append({ id, key, expect, value: object ?? null });
      this.#outcomes.set(id, 'void');
      this.catchUp();
      const outcome = this.#outcomes.get(id) ?? 'void';
      this.#outcomes.delete(id);
      if (outcome === 'void' && this.#epoch !== epoch) continue;
      if (this.#offset > Math.max(this.#options.compactAt, 2 * this.#snapshotSize)) this.#seal();
      return outcome;
    }
  }

  /** Takes in what was appended since, by whichever server. */
  catchUp(): void {
    const chunk = Buffer.alloc(64 * 1024);
    for (;;) {
      const log = this.#log;
      const read = fs.readSync(log, chunk, 0, chunk.length, this.#offset);
      if (read === 0) return;
      this.#offset += read;
      const data = Buffer.concat([this.#unread, chunk.subarray(0, read)]);
      const end = data.lastIndexOf(10);
      this.#unread = Buffer.from(data.subarray(end + 1));
      for (const line of data.toString('utf8', 0, end + 1).split('\n')) {
        if (line !== '') this.#apply(line);
        // The seal: what follows in the old file is void.
        if (this.#log !== log) break;
      }
    }
  }

  /** Called for every change, in order, from this server or another one. */
  onChange(listener: (change: Change) => void): void {
    this.#listeners.add(listener);
    this.#watcher ??= fs.watch(this.directory, () => this.catchUp());
  }

  close(): void {
    this.#watcher?.close();
    this.#listeners.clear();
    fs.closeSync(this.#log);
  }

  #append(record: object): void {
    const bytes = Buffer.from(`\n${JSON.stringify(record)}\n`);
    const written = fs.writeSync(this.#log, bytes);
    if (written !== bytes.length)
      throw new Error(`${this.#file('log', this.#epoch)}: ${written} of ${bytes.length} bytes written: make room on the disk`);
    fs.fdatasyncSync(this.#log);
  }

  #apply(line: string): void {
    const record = parseRecord(line);
    if (record === undefined) return;
    if ('seal' in record) {
      this.#enter(record.seal);
      return;
    }
    const previous = this.#objects.get(record.key);
    const at = Number(previous?.metadata.resourceVersion ?? 0);
    if (at !== record.expect || (record.value === null && previous === undefined)) return;
    this.#revision += 1;
    if (this.#outcomes.has(record.id)) this.#outcomes.set(record.id, this.#revision);
    const object = record.value === null ? undefined : atRevision(record.value, this.#revision);
    if (object === undefined) this.#objects.delete(record.key);
    else this.#objects.set(record.key, object);
    const change = { revision: this.#revision, key: record.key, object, previous };
    for (const listener of this.#listeners) listener(change);
  }

  #seal(): void {
    this.#append({ seal: this.#epoch + 1 });
    this.catchUp();
  }

  #enter(epoch: number): void {
    this.#snapshotSize = writeSnapshot(this.#file('snapshot', epoch), this.#revision, this.#objects);
    const old = this.#log;
    this.#epoch = epoch;
    this.#openLog();
    fs.closeSync(old);
    // The epoch before is kept for a server that still has to read to its end.
    for (const kind of ['snapshot', 'log'] as const) fs.rmSync(this.#file(kind, epoch - 2), { force: true });
  }

  #openLog(): void {
    const file = this.#file('log', this.#epoch);
    this.#log = fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_APPEND | fs.constants.O_CREAT, 0o600);
    this.#offset = 0;
    this.#unread = Buffer.alloc(0);
    syncDirectory(this.directory);
    if (this.#epoch > 1 && !fs.existsSync(this.#file('snapshot', this.#epoch)))
      throw new Error(`${file} belongs to an epoch that is over: this server fell too far behind; start it again`);
  }

  #file(kind: 'log' | 'snapshot', epoch: number): string {
    return path.join(this.directory, `${kind}.${epoch}.jsonl`);
  }
}

type LogRecord = { id: string; key: string; expect: number; value: KubeObject | null } | { seal: number };

function parseRecord(line: string): LogRecord | undefined {
  try {
    return JSON.parse(line) as LogRecord;
  } catch {
    return undefined;
  }
}

function atRevision(object: KubeObject, revision: number): KubeObject {
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
}

function syncDirectory(directory: string): void {
  const fd = fs.openSync(directory, 'r');
  fs.fsyncSync(fd);
  fs.closeSync(fd);
}
