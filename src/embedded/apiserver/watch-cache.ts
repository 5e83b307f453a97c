/**
 * The last changes of each resource, as the API server's watch cache keeps them. It begins empty at the revision of the server's start: as with
 * the real one, a watch from before a restart goes on only if nothing has changed since the revision it names.
 */
import type { KubeObject } from './objects.ts';
import type { Change, Storage } from './storage.ts';

interface History {
  changes: Change[];
  /** Changes up to and with this revision are no longer here. */
  floor: number;
}

export class WatchCache {
  #histories = new Map<string, History>();
  #subscribers = new Map<string, Set<(change: Change) => void>>();
  #storage: Storage;
  #capacity: number;
  #start: number;

  /** Keeps `capacity` changes of each resource. */
  constructor(storage: Storage, capacity: number) {
    this.#storage = storage;
    this.#capacity = capacity;
    this.#start = storage.revision;
    storage.onChange((change) => this.#take(change));
  }

  /** Changes of the resource after a revision, or `expired` when not all of them are known any more. */
  since(resource: string, revision: number): readonly Change[] | 'expired' {
    const history = this.#history(resource);
    if (revision < history.floor) return 'expired';
    return history.changes.filter((change) => change.revision > revision);
  }

  /** The oldest revision that a watch of the resource can start from. */
  floor(resource: string): number {
    return this.#history(resource).floor;
  }

  /** Objects under the prefix as they were at a revision, in the order of their keys. */
  at(resource: string, prefix: string, revision: number): KubeObject[] | 'expired' {
    const later = this.since(resource, revision);
    if (later === 'expired') return 'expired';
    const objects = new Map(this.#storage.list(prefix).map((object) => [keyOf(resource, object), object]));
    for (const change of later.toReversed()) {
      if (!change.key.startsWith(prefix)) continue;
      if (change.previous === undefined) objects.delete(change.key);
      else objects.set(change.key, change.previous);
    }
    return [...objects].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** Calls for every later change of the resource. Returns what ends it. */
  subscribe(resource: string, listener: (change: Change) => void): () => void {
    const subscribers = this.#subscribers.get(resource) ?? new Set();
    this.#subscribers.set(resource, subscribers.add(listener));
    return () => subscribers.delete(listener);
  }

  #history(resource: string): History {
    const known = this.#histories.get(resource);
    if (known !== undefined) return known;
    const fresh = { changes: [], floor: this.#start };
    this.#histories.set(resource, fresh);
    return fresh;
  }

  #take(change: Change): void {
    const resource = change.key.slice(0, change.key.indexOf('/'));
    const history = this.#history(resource);
    history.changes.push(change);
    if (history.changes.length > this.#capacity) history.floor = history.changes.shift()?.revision ?? history.floor;
    for (const subscriber of this.#subscribers.get(resource) ?? []) subscriber(change);
  }
}

export function keyOf(resource: string, object: KubeObject): string {
  return storageKey(resource, object.metadata.namespace ?? '', object.metadata.name);
}

export function storageKey(resource: string, namespace: string, name: string): string {
  return `${resource}/${namespace}/${name}`;
}
