/**
 * One watch for each object that marked pods name, by its name: of Secrets and ConfigMaps exactly what the Node authorizer allows, and no RBAC on Secrets.
 * Trust bundles that are chosen by their signer have one watch for the signer.
 */
import type { V1Node } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { selects } from '../../checkpoint/copy/trust-bundles.ts';
import type { NamedRef, ObjectState, Referred, TrustBundleRef } from '../../checkpoint/copy-types.ts';
import { objectKey } from '../../checkpoint/references.ts';
import type { ApiClient } from './client.ts';
import { type Reflector, startReflector } from './reflector.ts';
import { withoutManagedFields } from './strip.ts';
import type { Timing } from './timing.ts';

export type WatchedRef = NamedRef | TrustBundleRef;
export type WatchedObject = Referred[WatchedRef['kind']];
type Single = Exclude<WatchedObject, readonly unknown[]> | Referred['ClusterTrustBundle'][number];

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
  follow(refs: readonly WatchedRef[]): void;
  /** What is known now; undefined for what is not watched. */
  state(ref: WatchedRef): ObjectState<WatchedObject> | undefined;
  stop(): Promise<void>;
}

interface Watch {
  readonly ref: WatchedRef;
  readonly reflector: Reflector<Single>;
  /** The last answer and what it was made from: the same objects give the same answer. */
  last?: { readonly from: ReturnType<Reflector<Single>['collection']>; readonly state: ObjectState<WatchedObject> };
}

export function createObjectWatches(options: ObjectWatchesOptions): ObjectWatches {
  const { onChange, log, timing, ...shared } = options;
  const watches = new Map<string, Watch>();
  /** Ending, so that stop can wait for them. */
  const ending = new Set<Promise<void>>();

  function start(ref: WatchedRef): Watch {
    const what = { kind: ref.kind, namespace: ref.namespace, name: ref.name };
    let denied = false;
    const reflector = startReflector<Single>({
      ...shared,
      log,
      onChange,
      // The watch of the pods asks /readyz for all of them.
      timing: { ...timing, silentAfter: timing.replaceAfter },
      path: pathOf(ref),
      fieldSelector:
        ref.kind === 'ClusterTrustBundle' && ref.name === '' ? `spec.signerName=${ref.signerName}` : `metadata.name=${ref.name}`,
      keep: ref.kind === 'Node' ? allocatableOnly : withoutManagedFields,
      onState(state) {
        // Only what concerns this object alone: an API server that is away is one line of the pods' watch, not one for every object.
        if (state.state === 'denied') log.warn({ ...what, detail: state.detail }, 'object denied');
        if (state.state === 'ok' && denied) log.info(what, 'object readable again');
        denied = state.state === 'denied' || (denied && state.state !== 'ok');
      },
    });
    return { ref, reflector };
  }

  function end(key: string, { reflector }: Watch): void {
    watches.delete(key);
    const ended = reflector.stop().finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    follow(refs) {
      const wanted = new Map(refs.map((ref) => [objectKey(ref), ref]));
      for (const [key, watch] of [...watches]) if (!wanted.has(key)) end(key, watch);
      for (const [key, ref] of wanted) if (!watches.has(key)) watches.set(key, start(ref));
    },
    state(ref) {
      const watch = watches.get(objectKey(ref));
      if (watch === undefined) return undefined;
      const from = watch.reflector.collection();
      if (watch.last?.from !== from) watch.last = { from, state: stateOf(watch.ref, from) };
      return watch.last.state;
    },
    async stop() {
      for (const [key, watch] of [...watches]) end(key, watch);
      await Promise.all(ending);
    },
  };
}

/** In the words of RBAC: the Node authorizer has no others. */
function permissionFor(ref: WatchedRef): string {
  const resource = pathOf(ref).split('/').at(-1) ?? '';
  const name = ref.name === '' ? '' : ` "${ref.name}"`;
  return `list and watch on ${resource}${name}${ref.namespace === '' ? '' : ` in namespace ${ref.namespace}`}`;
}

function pathOf(ref: WatchedRef): string {
  const namespaced = (plural: string) => `/api/v1/namespaces/${encodeURIComponent(ref.namespace)}/${plural}`;
  switch (ref.kind) {
    case 'Secret':
      return namespaced('secrets');
    case 'ConfigMap':
      return namespaced('configmaps');
    case 'Service':
      return namespaced('services');
    case 'Node':
      return '/api/v1/nodes';
    case 'ClusterTrustBundle':
      return '/apis/certificates.k8s.io/v1beta1/clustertrustbundles';
  }
}

/** The rest of a node changes with every report of its kubelet. */
function allocatableOnly(node: Single): Single {
  const { metadata, status } = node as V1Node;
  return { ...(metadata && { metadata }), status: { ...(status?.allocatable && { allocatable: status.allocatable }) } } as V1Node;
}

function stateOf(ref: WatchedRef, { state, objects }: ReturnType<Reflector<Single>['collection']>): ObjectState<WatchedObject> {
  switch (state.state) {
    case 'ok': {
      const found = [...objects.values()];
      if (ref.kind === 'ClusterTrustBundle') {
        const bundles = (found as Referred['ClusterTrustBundle'][number][]).filter(
          (bundle) => ref.name !== '' || selects(ref.labelSelector, bundle.metadata?.labels),
        );
        return bundles.length === 0 ? { state: 'absent' } : { state: 'present', object: bundles };
      }
      const [object] = found;
      return object === undefined ? { state: 'absent' } : { state: 'present', object: object as WatchedObject };
    }
    case 'unknown':
      return { state: 'unknown', detail: 'not read yet' };
    case 'denied':
      return { state: 'denied', detail: `${state.detail}; needed: ${permissionFor(ref)}` };
    case 'unreachable':
      return { state: 'unknown', detail: `unreachable: ${state.detail}` };
  }
}
