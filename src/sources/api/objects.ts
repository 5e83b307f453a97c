/** One watch for each Secret and ConfigMap that marked pods name: exactly what the Node authorizer allows, and no RBAC on Secrets. */
import type { V1ConfigMap, V1Secret } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ObjectRef, ObjectState } from '../../checkpoint/copy-types.ts';
import type { ApiClient } from './client.ts';
import { type Reflector, startReflector } from './reflector.ts';
import { withoutManagedFields } from './strip.ts';
import type { Timing } from './timing.ts';

export type NamedObject = V1Secret | V1ConfigMap;

export interface ObjectWatchesOptions {
  readonly client: ApiClient;
  onChange(): void;
  /** Awaited before another attempt after a failure: while the API server is away, one watch (that of the pods) looks for its return. */
  gate(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  readonly random: () => number;
  readonly now: () => number;
  readonly log: Logger;
}

export interface ObjectWatches {
  /** Starts the watches that are missing and ends those of objects that are no longer named. */
  follow(refs: readonly ObjectRef[]): void;
  /** What is known now, by objectKey. */
  states(): ReadonlyMap<string, ObjectState<NamedObject>>;
  stop(): Promise<void>;
}

export function objectKey(ref: ObjectRef): string {
  return `${ref.kind}/${ref.namespace}/${ref.name}`;
}

const RESOURCE = { Secret: 'secrets', ConfigMap: 'configmaps' } as const;

export function createObjectWatches(options: ObjectWatchesOptions): ObjectWatches {
  const { onChange, log, timing, ...shared } = options;
  const watches = new Map<string, Reflector<NamedObject>>();
  /** Ending, so that stop can wait for them. */
  const ending = new Set<Promise<void>>();

  function start(ref: ObjectRef): Reflector<NamedObject> {
    const what = { kind: ref.kind, namespace: ref.namespace, name: ref.name };
    let denied = false;
    return startReflector<NamedObject>({
      ...shared,
      log,
      onChange,
      // The watch of the pods asks /readyz for all of them.
      timing: { ...timing, silentAfter: timing.replaceAfter },
      path: `/api/v1/namespaces/${encodeURIComponent(ref.namespace)}/${RESOURCE[ref.kind]}`,
      fieldSelector: `metadata.name=${ref.name}`,
      keep: withoutManagedFields,
      onState(state) {
        // Only what concerns this object alone: an API server that is away is one line of the pods' watch, not one for every object.
        if (state.state === 'denied') log.warn({ ...what, detail: state.detail }, 'object denied');
        if (state.state === 'ok' && denied) log.info(what, 'object readable again');
        denied = state.state === 'denied' || (denied && state.state !== 'ok');
      },
    });
  }

  function end(key: string, watch: Reflector<NamedObject>): void {
    watches.delete(key);
    const ended = watch.stop().finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    follow(refs) {
      const wanted = new Map(refs.map((ref) => [objectKey(ref), ref]));
      for (const [key, watch] of [...watches]) if (!wanted.has(key)) end(key, watch);
      for (const [key, ref] of wanted) if (!watches.has(key)) watches.set(key, start(ref));
    },
    states() {
      return new Map([...watches].map(([key, watch]) => [key, stateOf(watch)]));
    },
    async stop() {
      for (const [key, watch] of [...watches]) end(key, watch);
      await Promise.all(ending);
    },
  };
}

function stateOf(watch: Reflector<NamedObject>): ObjectState<NamedObject> {
  const { state, objects } = watch.collection();
  switch (state.state) {
    case 'ok': {
      const [object] = objects.values();
      return object === undefined ? { state: 'absent' } : { state: 'present', object };
    }
    case 'unknown':
      return { state: 'unknown', detail: 'not read yet' };
    case 'denied':
      return { state: 'unknown', detail: `denied: ${state.detail}` };
    case 'unreachable':
      return { state: 'unknown', detail: `unreachable: ${state.detail}` };
  }
}
