/**
 * The owners of workloads (design section 7): asked with an identity that may read owners and pods and nothing else, beside the node's own, which may not
 * read them at all. Owners are watched by name; their pods only while somebody asks. Guarantees, beside those of every source (snapshots.ts):
 *  1. `gone` stands only on a GET that was answered with 404, and is dropped when the API server stops answering or the owner is seen again;
 *  2. without an answer, for whatever reason, an owner is `unknown`: the rules that ask for it then go by time alone;
 *  3. a quiet node sends no request but the renewal of its watches, every five to ten minutes.
 */
import type { V1Node } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ObjectState } from '../../checkpoint/copy-types.ts';
import { type OwnerState, ownerKind } from '../../checkpoint/owner-wants.ts';
import type { NodePlace } from '../../checkpoint/placement.ts';
import type { WorkloadKey } from '../../checkpoint/workload.ts';
import type { OwnerQuestion, OwnersSource } from '../snapshots.ts';
import type { ApiClient } from './client.ts';
import { createGate } from './gate.ts';
import { notCurrent, type OwnerWatch, watchOwner } from './owner-watch.ts';
import { type Reflector, startReflector } from './reflector.ts';
import { TIMING, type Timing } from './timing.ts';

export interface OwnersSourceOptions {
  /** An identity that may read owners and pods; undefined where there is none. The source closes it when it is stopped. */
  readonly client: ApiClient | undefined;
  /** The node's own identity: it reads its Node, which the other one may not. It stays open. */
  readonly nodeClient: ApiClient;
  readonly nodeName: string;
  /** Look again: the snapshot is another one. */
  onChange(): void;
  /** Owners are asked about once this has resolved, each time that the API server is back. Without it: at once. */
  readonly ready?: () => Promise<void>;
  readonly log: Logger;
  readonly timing?: Timing;
  /** From 0 up to 1. */
  readonly random?: () => number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
}

/** An identity that is denied, or a token that ended, is tried again this seldom: its return is not urgent. */
const SLOWEST_RETRY = 60_000;

export function createOwnersSource(options: OwnersSourceOptions): OwnersSource {
  const { client, nodeName, log, timing = TIMING, random = Math.random, now = () => performance.now() } = options;
  if (client === undefined) log.info('no identity that may read owners: rules about owners go by time');
  let stopped = false;
  const watches = new Map<WorkloadKey, OwnerWatch>();
  const ending = new Set<Promise<void>>();
  let questions: ReadonlyMap<WorkloadKey, OwnerQuestion> = new Map();
  /** Looks for the return of the API server for all of them. */
  let node: Reflector<V1Node> | undefined;
  const gate = createGate(() => {
    const state = node?.collection().state.state;
    return state === 'unreachable' || state === 'unknown';
  });
  let last = '';

  function changed(): void {
    if (stopped) return;
    // Owners and nodes report their status more often than anything of it matters here.
    const next = JSON.stringify([...read()]);
    if (next === last) return;
    last = next;
    try {
      options.onChange();
    } catch (error) {
      log.error({ err: error }, 'whoever was woken by the source of owners failed');
    }
  }

  function startNode(): Reflector<V1Node> {
    return startReflector<V1Node>({
      client: options.nodeClient,
      timing,
      random,
      now,
      log,
      path: '/api/v1/nodes',
      fieldSelector: `metadata.name=${nodeName}`,
      keep: placeOnly,
      onChange: changed,
      onState(state) {
        // Denied is an answer, too: others may be answered.
        if (state.state !== 'ok' && state.state !== 'denied') return;
        if (options.ready === undefined) gate.open();
        else void options.ready().then(gate.open);
      },
    });
  }

  function place(): ObjectState<NodePlace> {
    if (node === undefined) return { state: 'unknown', detail: 'not read yet' };
    const { state, objects } = node.collection();
    const trouble = notCurrent(state);
    if (trouble !== undefined) return { state: 'unknown', detail: trouble };
    const [found] = objects.values();
    if (found === undefined) return { state: 'absent' };
    return { state: 'present', object: { name: nodeName, labels: found.metadata?.labels ?? {}, taints: found.spec?.taints ?? [] } };
  }

  function read(): Map<WorkloadKey, OwnerState> {
    const where = place();
    return new Map([...questions].map(([key, { workload }]) => [key, watches.get(key)?.state(where) ?? unwatched(ownerKind(workload))]));
  }

  function start({ workload }: OwnerQuestion): OwnerWatch | undefined {
    const kind = ownerKind(workload);
    if (kind === undefined || client === undefined) return undefined;
    node ??= startNode();
    return watchOwner(kind, workload, {
      client,
      nodeName,
      onChange: changed,
      gate: (signal) => gate.wait(signal),
      // The watch of the Node asks /readyz for all of them.
      timing: { ...timing, silentAfter: timing.replaceAfter, maxDelay: Math.max(timing.maxDelay, SLOWEST_RETRY) },
      random,
      now,
      log,
    });
  }

  function end(key: WorkloadKey, watch: OwnerWatch): void {
    watches.delete(key);
    const ended = watch.stop().finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    track(wanted) {
      if (stopped) return;
      questions = wanted;
      for (const [key, watch] of [...watches]) if (!wanted.has(key)) end(key, watch);
      for (const [key, question] of wanted) {
        const watch = watches.get(key) ?? start(question);
        if (watch === undefined) continue;
        watches.set(key, watch);
        watch.ask(question.ask);
      }
      // Whoever tracks looks himself: only what comes later wakes him.
      last = JSON.stringify([...read()]);
    },
    snapshot: () => ({ owners: read() }),
    async stop() {
      stopped = true;
      for (const [key, watch] of [...watches]) end(key, watch);
      const ended = Promise.all([node?.stop(), ...ending]);
      client?.close();
      await ended;
    },
  };
}

function unwatched(kind: ReturnType<typeof ownerKind>): OwnerState {
  return kind === undefined ? { state: 'none' } : { state: 'unknown', detail: 'no identity that may read owners was given' };
}

/** The rest of a node changes with every report of its kubelet. */
function placeOnly({ metadata, spec }: V1Node): V1Node {
  const { name, uid, labels } = metadata ?? {};
  return {
    metadata: { ...(name !== undefined && { name }), ...(uid !== undefined && { uid }), ...(labels !== undefined && { labels }) },
    spec: { ...(spec?.taints !== undefined && { taints: spec.taints }) },
  };
}
