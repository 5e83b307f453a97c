/** The API server as a source: this node's pods, the objects that marked pods name, and the answers about pods that are missing. */
import { setMaxListeners } from 'node:events';
import type { V1Pod } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ApiObject, ClaimRef, ObjectRef, ObjectState, Token, TokenRef } from '../../checkpoint/copy-types.ts';
import type { Absence, ApiState } from '../../checkpoint/model.ts';
import { objectKey } from '../../checkpoint/references.ts';
import { isMarked } from '../../checkpoint/selection.ts';
import type { ApiSnapshot, ApiSource } from '../snapshots.ts';
import { askForPod } from './absence.ts';
import { createClaims } from './claims.ts';
import type { ApiClient } from './client.ts';
import { createDepartureWatch } from './departure.ts';
import { createGate } from './gate.ts';
import { createObjectWatches, type WatchedRef } from './objects.ts';
import { startReflector } from './reflector.ts';
import { keepPod } from './strip.ts';
import { TIMING, type Timing } from './timing.ts';
import { createTokens } from './tokens.ts';

export interface ApiSourceOptions {
  /** The source closes it when it is stopped. */
  readonly client: ApiClient;
  readonly nodeName: string;
  /** Which objects a marked pod names. */
  references(pod: V1Pod): readonly ObjectRef[];
  /** Look again: the snapshot is another one. */
  onChange(): void;
  /** What marked pods name is read once this has resolved, each time that the API server is back. Without it: at once. */
  readonly ready?: () => Promise<void>;
  readonly log: Logger;
  readonly timing?: Timing;
  /** From 0 up to 1. */
  readonly random?: () => number;
  /** Milliseconds, monotonic. */
  readonly now?: () => number;
  /** Milliseconds since the epoch. */
  readonly wallClock?: () => number;
  /** Tokens of the copies that are stored, by objectKey: they are good until they have to be renewed. */
  readonly tokens?: ReadonlyMap<string, Token>;
}

/** Answers about absent pods that are remembered; the oldest goes first. */
const ANSWERS = 256;

export function createApiSource(options: ApiSourceOptions): ApiSource {
  const { client, nodeName, log, timing = TIMING, random = Math.random, now = () => performance.now() } = options;
  const stopped = new AbortController();
  setMaxListeners(0, stopped.signal);
  const answers = new Map<string, Absence>();
  const asking = new Map<string, Promise<void>>();
  /** Counts the times that the API server came and went; `ready`: the one for which it is ready. */
  const episode = { now: 0, ready: -1 };
  const isReady = (): boolean => pods.collection().state.state === 'ok' && episode.ready === episode.now;
  /** Object watches wait here for the API server to be back. */
  const gate = createGate(() => !isReady());

  function wake(): void {
    try {
      options.onChange();
    } catch (error) {
      log.error({ err: error }, 'whoever was woken by the API source failed');
    }
  }

  const shared = { client, timing, random, onChange: wake, gate: (signal: AbortSignal) => gate.wait(signal) };
  const objects = createObjectWatches({ ...shared, now, log });
  const claims = createClaims(shared);
  const tokens = createTokens({ ...shared, now, log, wallClock: options.wallClock ?? Date.now, known: options.tokens ?? new Map() });
  const departure = createDepartureWatch(client, stopped.signal, (failure) => pods.interrupt(failure));
  const pods = startReflector<V1Pod>({
    client,
    timing,
    random,
    now,
    log,
    path: '/api/v1/pods',
    fieldSelector: `spec.nodeName=${nodeName}`,
    keep: keepPod,
    onState(state) {
      episode.now++;
      if (state.state === 'ok') {
        log.info({ server: client.server }, 'API server: ok');
        const came = episode.now;
        if (options.ready === undefined) becomeReady(came);
        else
          options
            .ready()
            .then(() => becomeReady(came))
            .catch((error: unknown) => log.error({ err: error }, 'what marked pods name cannot be followed'));
      } else {
        log.warn({ server: client.server, ...state }, `API server: ${state.state}`);
      }
    },
    onChange() {
      const { state, objects: byUid } = pods.collection();
      departure.look(byUid.values(), state.state === 'ok');
      if (state.state === 'ok') {
        // What is known while the API server is away may be old: only what it says itself ends a watch.
        if (isReady()) follow(named());
        for (const uid of answers.keys()) if (byUid.has(uid)) answers.delete(uid);
      } else {
        answers.clear();
      }
      wake();
    },
  });

  let followed: readonly ObjectRef[] = [];

  function becomeReady(came: number): void {
    if (came !== episode.now || stopped.signal.aborted) return;
    episode.ready = came;
    gate.open();
    // The first time it is the change of the collection that follows them.
    if (options.ready === undefined) return;
    follow(named());
    wake();
  }

  function follow(refs: readonly ObjectRef[]): void {
    followed = refs;
    objects.follow(refs.filter((ref) => isWatched(ref)));
    claims.follow(refs.filter((ref) => isClaim(ref)));
    tokens.follow(refs.filter((ref) => isToken(ref)));
  }

  function stateOf(ref: ObjectRef): ObjectState<ApiObject> {
    if (isToken(ref)) return tokens.state(ref) ?? NOT_NAMED;
    return (isWatched(ref) ? objects.state(ref) : claims.state(ref)) ?? NOT_NAMED;
  }

  function named(): ObjectRef[] {
    return [...pods.collection().objects.values()].filter(isMarked).flatMap((pod) => {
      try {
        return options.references(pod);
      } catch (error) {
        log.error({ err: error, namespace: pod.metadata?.namespace, pod: pod.metadata?.name }, 'the references of the pod cannot be read');
        return [];
      }
    });
  }

  function read(): ApiSnapshot {
    const { state, objects: byUid } = pods.collection();
    const states = new Map(followed.map((ref) => [objectKey(ref), stateOf(ref)]));
    return {
      state,
      pods: byUid,
      object: (ref) => (state.state === 'ok' ? (states.get(objectKey(ref)) ?? (isReady() ? NOT_NAMED : NOT_READY)) : notCurrent(state)),
      absences: new Map(answers),
    };
  }

  async function ask(namespace: string, name: string, uid: string): Promise<void> {
    const deadlines = { signal: stopped.signal, headTimeoutMs: timing.headTimeout, bodyTimeoutMs: timing.bodyTimeout };
    const answer = await askForPod(client, nodeName, { namespace, name, uid }, deadlines);
    // An answer from a server that is away by now is no longer its answer.
    if (stopped.signal.aborted || pods.collection().state.state !== 'ok') return;
    answers.delete(uid);
    answers.set(uid, answer);
    for (const oldest of answers.keys()) {
      if (answers.size <= ANSWERS) break;
      answers.delete(oldest);
    }
    wake();
  }

  return {
    snapshot: read,
    confirmAbsence(namespace, name, uid) {
      const running = asking.get(uid) ?? ask(namespace, name, uid).finally(() => asking.delete(uid));
      asking.set(uid, running);
      return running;
    },
    async stop() {
      stopped.abort();
      const ended = Promise.all([pods.stop(), objects.stop(), claims.stop(), tokens.stop(), ...asking.values()]);
      client.close();
      await ended;
    },
  };
}

function isClaim(ref: ObjectRef): ref is ClaimRef {
  return ref.kind === 'PersistentVolumeClaim';
}

function isToken(ref: ObjectRef): ref is TokenRef {
  return ref.kind === 'Token';
}

function isWatched(ref: ObjectRef): ref is WatchedRef {
  return ref.kind !== 'PersistentVolumeClaim' && ref.kind !== 'Token';
}

const NOT_READY: ObjectState<ApiObject> = { state: 'unknown', detail: 'the API server answers and is not ready yet' };
const NOT_NAMED: ObjectState<ApiObject> = { state: 'unknown', detail: 'not watched: no marked pod on this node names it' };

function notCurrent(state: Exclude<ApiState, { state: 'ok' }>): ObjectState<ApiObject> {
  return {
    state: 'unknown',
    detail: state.state === 'unknown' ? 'the API server has not answered yet' : `API server ${state.state}: ${state.detail}`,
  };
}
