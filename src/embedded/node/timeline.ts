/** What happens on an embedded node, in order, for a demo to show and for a test to measure. */
import { EventEmitter } from 'node:events';

export type TimelineEvent = {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** Milliseconds since the last power on; undefined before the first. */
  readonly sincePowerOn: number | undefined;
} & Happening;

export type Happening =
  | { readonly kind: 'power-on'; readonly bootId: string }
  | { readonly kind: 'power-off' }
  | { readonly kind: 'bootstrap'; readonly step: string }
  | { readonly kind: 'readyz'; readonly up: boolean }
  | { readonly kind: 'manifest'; readonly change: 'added' | 'removed'; readonly file: string }
  /** A line that a program of the node said. */
  | { readonly kind: 'log'; readonly program: string; readonly line: string };

export class Timeline {
  readonly #emitter = new EventEmitter();
  readonly #events: TimelineEvent[] = [];
  #poweredOnAt: number | undefined;

  /** `at` where it is known better than now. */
  record(happening: Happening, at = Date.now()): void {
    if (happening.kind === 'power-on') this.#poweredOnAt = at;
    const event: TimelineEvent = { at, sincePowerOn: this.#poweredOnAt === undefined ? undefined : at - this.#poweredOnAt, ...happening };
    this.#events.push(event);
    this.#emitter.emit('event', event);
  }

  /** Everything so far, oldest first. */
  all(): readonly TimelineEvent[] {
    return [...this.#events];
  }

  /** Calls for each further event; returns what ends it. */
  listen(listener: (event: TimelineEvent) => void): () => void {
    this.#emitter.on('event', listener);
    return () => this.#emitter.off('event', listener);
  }
}
