/**
 * One owner: watched by its name, and, while somebody asks about them, its pods by its selector. A Deployment's pods belong to its ReplicaSets, so
 * these are watched with them.
 */
import type { V1ObjectMeta, V1Pod } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ObjectState } from '../../checkpoint/copy-types.ts';
import type { ApiState } from '../../checkpoint/model.ts';
import {
  isControlledBy,
  type OwnerKind,
  type OwnerObject,
  type OwnerPods,
  type OwnerState,
  podsOf,
  selectorText,
  wantsPodOn,
} from '../../checkpoint/owner-wants.ts';
import type { NodePlace } from '../../checkpoint/placement.ts';
import type { Workload } from '../../checkpoint/workload.ts';
import { unreachable } from './answer.ts';
import type { ApiClient, RequestOptions } from './client.ts';
import { type Collection, type Reflector, startReflector, type Watched } from './reflector.ts';
import { backoff, sleep, type Timing } from './timing.ts';
import { listPage } from './wire.ts';

export interface OwnerWatchOptions {
  /** May read owners and pods. */
  readonly client: ApiClient;
  readonly nodeName: string;
  onChange(): void;
  /** Awaited before another attempt after a failure. */
  gate(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  readonly random: () => number;
  readonly now: () => number;
  readonly log: Logger;
}

export interface OwnerWatch {
  /** Whether its pods are to be known from now on. */
  ask(wanted: boolean): void;
  state(node: ObjectState<NodePlace>): OwnerState;
  stop(): Promise<void>;
}

const PLURAL: Readonly<Record<OwnerKind, string>> = {
  DaemonSet: 'daemonsets',
  Deployment: 'deployments',
  ReplicaSet: 'replicasets',
  StatefulSet: 'statefulsets',
};

interface PodWatches {
  /** Of the owner and its selector: another owner, or another selector, other watches. */
  readonly stamp: string;
  readonly pods: Reflector<V1Pod>;
  readonly replicaSets: Reflector<Watched> | undefined;
}

export function watchOwner(kind: OwnerKind, workload: Workload, options: OwnerWatchOptions): OwnerWatch {
  const { client, nodeName, timing, random, log } = options;
  const namespace = encodeURIComponent(workload.namespace);
  const owners = `/apis/apps/v1/namespaces/${namespace}/${PLURAL[kind]}`;
  const stopped = new AbortController();
  const ending = new Set<Promise<unknown>>();
  let asked = false;
  let seenUid: string | undefined;
  let confirmation: { readonly ending: AbortController; done: boolean } | undefined;
  let podWatches: PodWatches | undefined;
  let deniedBefore = false;
  /** Questions by name in a row that did not settle anything. */
  let attempts = 0;

  const owner = watch<OwnerObject>(
    owners,
    { fieldSelector: `metadata.name=${workload.name}` },
    // The status changes with every pod of it, the rest hardly ever.
    ({ metadata, spec }) => ({ ...(metadata && { metadata: withoutManagedFields(metadata) }), ...(spec && { spec }) }) as OwnerObject,
    look,
    (state) => {
      const what = { kind, namespace: workload.namespace, name: workload.name };
      if (state.state === 'denied') log.warn({ ...what, detail: state.detail }, 'owner denied');
      if (state.state === 'ok' && deniedBefore) log.info(what, 'owner readable again');
      deniedBefore = state.state === 'denied' || (deniedBefore && state.state !== 'ok');
    },
  );

  function watch<T extends Watched>(
    path: string,
    selectors: { readonly fieldSelector?: string; readonly labelSelector?: string },
    keep: (object: T) => T,
    onChange: () => void,
    onState: (state: ApiState) => void = () => undefined,
  ): Reflector<T> {
    return startReflector<T>({
      client,
      path,
      fieldSelector: '',
      ...selectors,
      keep,
      onChange,
      onState,
      gate: options.gate,
      timing,
      random,
      now: options.now,
      log,
    });
  }

  function current(): OwnerObject | undefined {
    return [...owner.collection().objects.values()][0];
  }

  function look(): void {
    const { state } = owner.collection();
    const object = current();
    seenUid = object?.metadata?.uid ?? seenUid;
    if (object !== undefined) attempts = 0;
    if (state.state === 'ok' && object === undefined) confirmation ??= confirm();
    else if (confirmation !== undefined) {
      confirmation.ending.abort();
      confirmation = undefined;
    }
    followPods();
    options.onChange();
  }

  /**
   * A list or watch without the owner proves nothing yet: it is asked for by name until that is answered with 404, and the answer holds while nothing
   * else is seen. Where it turns out to be there, the list was not whole: it is made anew.
   */
  function confirm(): { readonly ending: AbortController; done: boolean } {
    const confirming = { ending: new AbortController(), done: false };
    const signal = AbortSignal.any([confirming.ending.signal, stopped.signal]);
    const asking = async () => {
      for (;;) {
        const answer = await askByName(signal);
        if (signal.aborted) return;
        if (answer === 'gone') {
          confirming.done = true;
          options.onChange();
          return;
        }
        attempts += 1;
        await sleep(backoff(attempts, timing, random()), signal);
        if (signal.aborted) return;
        if (answer === 'present')
          owner.interrupt(unreachable('unreadable', `${client.server}: lists no ${kind} ${workload.name}, and has it`));
      }
    };
    end(asking());
    return confirming;
  }

  async function askByName(signal: AbortSignal): Promise<'gone' | 'present' | 'unanswered'> {
    const deadlines: RequestOptions = { signal, headTimeoutMs: timing.headTimeout, bodyTimeoutMs: timing.bodyTimeout };
    // No resourceVersion: the answer is etcd's, not a cache's.
    const answer = await client.get(`${owners}/${encodeURIComponent(workload.name)}`, deadlines);
    if (answer.kind === 'ok') return 'present';
    if (answer.kind !== 'status' || answer.status !== 404 || answer.reason !== 'NotFound') return 'unanswered';
    if (kind !== 'Deployment') return 'gone';
    // Deleted with --cascade=orphan, or not yet collected: its ReplicaSets go on without it.
    const sets = await client.get(`/apis/apps/v1/namespaces/${namespace}/replicasets`, deadlines);
    const page = sets.kind === 'ok' ? listPage<Watched>(sets.body) : undefined;
    if (page === undefined || page.continue !== undefined) return 'unanswered';
    return page.items.some(([, { metadata }]) => isLeftBy(workload.name, metadata)) ? 'unanswered' : 'gone';
  }

  function followPods(): void {
    const object = current();
    const selector = selectorText(object?.spec?.selector);
    const uid = object?.metadata?.uid;
    const stamp = asked && selector !== undefined && uid !== undefined ? `${uid} ${selector}` : undefined;
    if (stamp === podWatches?.stamp) return;
    if (podWatches !== undefined) {
      end(podWatches.pods.stop());
      if (podWatches.replicaSets !== undefined) end(podWatches.replicaSets.stop());
    }
    podWatches = stamp === undefined || selector === undefined ? undefined : watchPods(stamp, selector);
  }

  function watchPods(stamp: string, labelSelector: string): PodWatches {
    const own = { labelSelector };
    return {
      stamp,
      pods: watch<V1Pod>(`/api/v1/namespaces/${namespace}/pods`, own, keepPlace, options.onChange),
      replicaSets:
        kind === 'Deployment'
          ? watch<Watched>(`/apis/apps/v1/namespaces/${namespace}/replicasets`, own, keepIdentity, options.onChange)
          : undefined,
    };
  }

  function pods(uid: string): OwnerPods {
    if (!asked) return { state: 'unknown', detail: 'not asked for' };
    if (podWatches === undefined) return { state: 'unknown', detail: 'the selector of the owner selects nothing that could be asked for' };
    const { replicaSets } = podWatches;
    const found = podWatches.pods.collection();
    const sets = replicaSets?.collection();
    const trouble = notCurrent(found.state) ?? (sets && notCurrent(sets.state));
    if (trouble !== undefined) return { state: 'unknown', detail: `pods: ${trouble}` };
    return podsOf(found.objects.values(), sets === undefined ? new Set([uid]) : setsOf(uid, sets), nodeName);
  }

  function end(what: Promise<unknown>): void {
    const ended = what.finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    ask(wanted) {
      if (asked === wanted) return;
      asked = wanted;
      followPods();
    },
    state(node) {
      const trouble = notCurrent(owner.collection().state);
      if (trouble !== undefined) return { state: 'unknown', detail: trouble };
      const object = current();
      const uid = object?.metadata?.uid;
      if (object === undefined || uid === undefined) {
        if (confirmation?.done === true) return { state: 'gone', ...(seenUid !== undefined && { uid: seenUid }) };
        return { state: 'unknown', detail: `the API server lists no such ${kind}, and has not confirmed yet that it is gone` };
      }
      if (node.state !== 'present')
        return { state: 'unknown', detail: `Node ${nodeName}: ${node.state === 'absent' ? 'not there' : node.detail}` };
      return {
        state: 'present',
        uid,
        deleting: object.metadata?.deletionTimestamp !== undefined,
        wantsPodHere: wantsPodOn(kind, object, node.object),
        pods: pods(uid),
      };
    },
    async stop() {
      stopped.abort();
      asked = false;
      followPods();
      await Promise.all([owner.stop(), ...ending]);
    },
  };
}

/** Undefined: what was read is current. */
export function notCurrent(state: ApiState): string | undefined {
  switch (state.state) {
    case 'ok':
      return undefined;
    case 'unknown':
      return 'not read yet';
    case 'denied':
    case 'unreachable':
      return `${state.state}: ${state.detail}`;
  }
}

/** Uids of the ReplicaSets that the Deployment controls. */
function setsOf(deployment: string, { objects }: Collection<Watched>): Set<string> {
  const own = new Set([deployment]);
  return new Set([...objects].flatMap(([uid, { metadata }]) => (isControlledBy(metadata, own) ? [uid] : [])));
}

/** By its name, as a pod's workload is found (checkpoint/workload.ts). */
function isLeftBy(deployment: string, meta: V1ObjectMeta | undefined): boolean {
  const hash = meta?.labels?.['pod-template-hash'];
  return hash !== undefined && meta?.name === `${deployment}-${hash}`;
}

function withoutManagedFields({ managedFields: _dropped, ...metadata }: V1ObjectMeta): V1ObjectMeta {
  return metadata;
}

function identityOf({ name, namespace, uid, ownerReferences, deletionTimestamp }: V1ObjectMeta = {}): V1ObjectMeta {
  return {
    ...(name !== undefined && { name }),
    ...(namespace !== undefined && { namespace }),
    ...(uid !== undefined && { uid }),
    ...(ownerReferences !== undefined && { ownerReferences }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
  };
}

function keepIdentity({ metadata }: Watched): Watched {
  return { metadata: identityOf(metadata) };
}

/** Of a pod: whose it is, where it is or is to be, and whether it is Ready. */
function keepPlace({ metadata, spec, status }: V1Pod): V1Pod {
  const ready = status?.conditions?.filter(({ type }) => type === 'Ready');
  return {
    metadata: identityOf(metadata),
    spec: {
      containers: [],
      ...(spec?.nodeName !== undefined && { nodeName: spec.nodeName }),
      ...(spec?.affinity?.nodeAffinity !== undefined && { affinity: { nodeAffinity: spec.affinity.nodeAffinity } }),
    },
    status: { ...(status?.phase !== undefined && { phase: status.phase }), ...(ready !== undefined && { conditions: ready }) },
  };
}
