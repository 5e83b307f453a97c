/**
 * decide(memory, observation, policy): what to do about every workload, and why. A pure function: no clock, no I/O, no randomness; time is a field of
 * the observation. It only arranges the rules; each rule has a module of its own:
 *
 *     0  runtime unknown: start nothing, stop nothing          here
 *        no kubelet, or another one: take nothing away         recovery/kubelet.ts
 *     1  save, prove                                           checkpoint/save.ts, checkpoint/prove.ts
 *     2  activate, for an orphaned owner                       recovery/activation.ts, recovery/orphan.ts
 *        an edited or damaged copy is replaced                 recovery/edits.ts, recovery/damaged.ts
 *     3  roll back; a copy that crashes                        recovery/rollback.ts, recovery/copies.ts
 *     4  yield, trial                                          recovery/yield.ts, recovery/trial.ts
 *        a parent that the kubelet refuses                   recovery/rejected.ts
 *     5  re-issue a copy that the kubelet refused              recovery/copies.ts
 *     6  retire                                                recovery/retire.ts, what follows from it recovery/retired.ts
 *     7  self                                                  recovery/self.ts
 *        take over from bootkube's pod-checkpointer            recovery/predecessor.ts
 */
import { activate, apiServerOf } from '../recovery/activation.ts';
import { candidate } from '../recovery/candidate.ts';
import { asksWhy, fallBack, latestActive, reissue, stopLeftovers } from '../recovery/copies.ts';
import { replaceDamaged } from '../recovery/damaged.ts';
import { restore } from '../recovery/edits.ts';
import { type Away, kubeletAway, unlessAway } from '../recovery/kubelet.ts';
import { isWantedHere, ownerOf } from '../recovery/orphan.ts';
import { takeOver } from '../recovery/predecessor.ts';
import { explainRejection } from '../recovery/rejected.ts';
import { isConfirmedGone, retire } from '../recovery/retire.ts';
import { retirements } from '../recovery/retired.ts';
import { marks, rollBack } from '../recovery/rollback.ts';
import { type Others, self } from '../recovery/self.ts';
import { copiesToAsk, forgetExits, nextToYield, yieldToParent } from '../recovery/yield.ts';
import { type Memory, remember, type WorkloadMemory } from './memory.ts';
import {
  type Action,
  type ActionKind,
  type Millis,
  NO_QUESTIONS,
  type Observation,
  OF_PREDECESSOR,
  type Policy,
  type Questions,
} from './model.ts';
import { probesToAsk } from './prove.ts';
import { save } from './save.ts';
import type { Case, Reason, Verdict } from './verdict.ts';
import type { WorkloadKey } from './workload.ts';

export interface Report {
  readonly reason: Reason;
  readonly message: string;
}

export interface Decision {
  readonly memory: Memory;
  /** In the order in which they are to be done. */
  readonly actions: readonly Action[];
  readonly reports: ReadonlyMap<WorkloadKey, Report>;
  /** The next moment at which time alone changes something. */
  readonly wakeAt: Millis | undefined;
  /** Something is going on in the runtime that must be seen soon, events or not. */
  readonly flux: boolean;
  /** What the next observation is to say besides. */
  readonly questions: Questions;
  /** What of bootkube's pod-checkpointer is still there, and what it waits for. */
  readonly predecessor?: ReadonlyMap<WorkloadKey, string>;
}

export function decide(before: Memory, observation: Observation, policy: Policy): Decision {
  const memory = remember(before, observation);
  if (observation.disk.state === 'unknown')
    return { memory, actions: [], reports: new Map(), wakeAt: undefined, flux: true, questions: NO_QUESTIONS };

  const cases = new Map<WorkloadKey, Case>();
  const leaving = isLeaving(before, memory, observation, policy);
  const apiServer = apiServerOf(observation.workloads.values());
  for (const [key, workload] of observation.workloads) {
    cases.set(key, {
      observation,
      policy,
      workload,
      memory: memory.workloads.get(key) ?? {},
      apiUnreachableSince: memory.apiUnreachableSince,
      mayYield: false,
      apiServer,
      leaving,
    });
  }
  const yielding = observation.runtime.state === 'ok' ? nextToYield(cases) : undefined;

  const away = kubeletAway(observation, memory.kubelet);

  const verdicts = [...cases].map(([key, given]) => [key, rules({ ...given, mayYield: key === yielding }, key, cases, away)] as const);
  const kept = retirements(observation, policy, memory.apiUnreachableSince);
  const inherited = takeOver(observation, memory, policy, leaving);
  const actions = [...verdicts.flatMap(([, verdict]) => verdict.actions ?? []), ...kept.actions, ...inherited.actions];
  return {
    memory: {
      ...memory,
      ...(inherited.askedAt === undefined ? {} : { predecessorAskedAt: inherited.askedAt }),
      ...(leaving || (before.leaving === true && observation.self !== undefined && !observation.workloads.has(observation.self))
        ? { leaving: true }
        : {}),
      workloads: new Map([
        ...kept.revived.map((key): [WorkloadKey, WorkloadMemory] => [key, { retiredOnce: true }]),
        ...verdicts.map(([key, verdict]): [WorkloadKey, WorkloadMemory] => [key, verdict.memory ?? cases.get(key)?.memory ?? {}]),
      ]),
    },
    actions: inOrder([...actions, ...settle(observation, actions)]),
    reports: new Map(verdicts.map(([key, { reason, message }]) => [key, { reason, message }])),
    wakeAt: earliest([
      ...verdicts.map(([, verdict]) => verdict.wakeAt),
      kept.wakeAt,
      inherited.wakeAt,
      observation.api.state === 'ok' && observation.runtime.state === 'ok' ? undefined : observation.now + LOOK_WHILE_AWAY,
    ]),
    flux:
      observation.runtime.state === 'ok' && (observation.api.state === 'unknown' || verdicts.some(([, verdict]) => verdict.flux === true)),
    questions: questionsOf(cases),
    ...(inherited.waits.size > 0 && { predecessor: inherited.waits }),
  };
}

/** What costs something to find out is found out while it matters, and only then. */
function questionsOf(cases: ReadonlyMap<WorkloadKey, Case>): Questions {
  const all = [...cases];
  return {
    probes: all.flatMap(([key, given]) =>
      given.observation.self === key ? [] : [...probesToAsk(given.workload, given.memory, given.observation), ...copiesToAsk(given)],
    ),
    owners: all.filter(([, { workload }]) => workload.parent.state === 'absent' && workload.stored !== undefined).map(([key]) => key),
    refusals: all.flatMap(([, given]) => {
      const active = latestActive(given.workload);
      if (active === undefined || active.generation === OF_PREDECESSOR || !asksWhy(given)) return [];
      return [{ workload: given.workload.workload, generation: active.generation, file: active.file }];
    }),
  };
}

/** Saving goes on whatever the others say; of them the first that applies decides. */
function rules(given: Case, key: WorkloadKey, cases: ReadonlyMap<WorkloadKey, Case>, away: Away | undefined): Verdict {
  const saving = save(given);
  const running = explainRejection(unlessAway(runningRule(given, key, cases), away), given);
  const besides = [
    ...(given.observation.self === key ? [] : [...forgetExits(given, cases.values()), ...(stopLeftovers(given) ?? [])]),
    ...marks({ workload: given.workload, memory: running?.memory ?? given.memory }),
    ...(saving.actions ?? []),
  ];
  if (running === undefined) return { ...saving, actions: besides };
  return { ...running, actions: [...(running.actions ?? []), ...besides], ...wake(running, saving) };
}

function runningRule(given: Case, key: WorkloadKey, cases: ReadonlyMap<WorkloadKey, Case>): Verdict | undefined {
  const { observation, workload, leaving } = given;
  if (observation.runtime.state === 'unknown') {
    return {
      reason: 'RuntimeUnknown',
      message: `the container runtime does not answer (${observation.runtime.detail}): nothing is started or stopped`,
    };
  }
  const isSelf = observation.self === key;
  const extra = replaceDamaged(given, candidate(workload.stored, given.memory.crashedCopies), isSelf) ?? surplus(given);
  if (extra !== undefined) return extra;
  const verdict = isSelf
    ? self(given, othersOf(key, cases))
    : (retire(given) ?? yieldToParent(given) ?? leave(given) ?? rollBack(given) ?? activate(given));
  // What takes the copy away anyway goes first.
  const mending =
    verdict?.actions?.length || leaving ? undefined : (restore(given, isSelf) ?? reissue(given, isSelf) ?? fallBack(given, isSelf));
  if (mending !== undefined) return mending;
  if (isSelf || verdict !== undefined || workload.active.length === 0) return verdict;
  return {
    reason: 'Active',
    message: leaving ? 'the copy runs in place of its parent and leaves when that is back' : 'the copy runs in place of its parent',
    flux: true,
  };
}

function othersOf(key: WorkloadKey, cases: ReadonlyMap<WorkloadKey, Case>): Others {
  const others = [...cases].filter(([other]) => other !== key).map(([, { workload }]) => workload);
  if (others.some(({ active }) => active.length > 0)) return 'active';
  return others.some(({ stored }) => stored !== undefined) ? 'stored' : 'none';
}

/** An activation that a power cut interrupted after its new manifest and before the removal of the old one: the latest stays. */
function surplus({ workload }: Case): Verdict | undefined {
  const [latest, ...older] = workload.active.toSorted((a, b) => b.activation - a.activation);
  if (latest === undefined || older.length === 0) return undefined;
  return {
    reason: 'Active',
    message: 'more than one manifest is active: the latest activation stays',
    actions: older.map(({ file }) => ({ kind: 'deactivate', workload: workload.workload, file })),
    flux: true,
  };
}

function leave({ workload, leaving }: Case): Verdict | undefined {
  if (!leaving || workload.active.length > 0 || workload.stored === undefined) return undefined;
  return {
    reason: 'Leaving',
    message: 'the checkpointer is being removed: the generations are moved out of use',
    actions: [{ kind: 'retire', workload: workload.workload, replaced: false }],
  };
}

/**
 * The checkpointer takes everything away when it leaves, so its pod must be gone for many times the grace period of others: a pod that waits for its
 * scheduler is missing from this node, too, and the node's identity may not ask for the DaemonSet.
 */
const LEAVE_FACTOR = 10;

/** Rule 7: the checkpointer's own pod is confirmed gone. Once its generations are out of use there is nothing left to tell by, and it goes on leaving. */
function isLeaving(before: Memory, memory: Memory, observation: Observation, policy: Policy): boolean {
  const own = observation.self;
  const workload = own === undefined ? undefined : observation.workloads.get(own);
  const remembered = own === undefined ? undefined : memory.workloads.get(own);
  if (observation.api.state !== 'ok') return false;
  if (workload === undefined) return before.leaving === true;
  if (remembered?.absentSince === undefined) return false;
  const owner = ownerOf(observation, workload);
  if (isWantedHere(owner)) return false;
  const known = owner.state === 'gone' || owner.state === 'present';
  const long = observation.now >= remembered.absentSince + (known ? 1 : LEAVE_FACTOR) * policy.checkpointGracePeriod;
  return long && isConfirmedGone({ observation, workload, memory: remembered });
}

/** Cold-boot activation is over when both sources have answered and nothing is left that it would activate at once. */
function settle({ bootId, settledBootId, api, runtime }: Observation, actions: readonly Action[]): Action[] {
  if (settledBootId === bootId || api.state === 'unknown' || runtime.state === 'unknown') return [];
  // What is taken over is activated at once only where the API server is away: one that cannot be taken over must not make every later outage a cold boot.
  const isLeft = ({ kind }: Action): boolean => kind === 'activate' || kind === 'revive' || (kind === 'adopt' && api.state !== 'ok');
  return actions.some(isLeft) ? [] : [{ kind: 'settleBoot', bootId }];
}

/**
 * Without the API server a parent may end at any moment and nobody but the runtime tells: it is looked at this often, in milliseconds. No oftener while the
 * runtime does not answer: nothing is started or stopped before it does (rule 0), and its connection wakes the loop.
 */
const LOOK_WHILE_AWAY: Millis = 500;

/** What ends an outage comes first, what takes time or can wait comes last. */
const ORDER: Readonly<Record<ActionKind, number>> = {
  quarantine: 0,
  // What is brought back is activated by the next decision.
  revive: 0,
  adopt: 0,
  activate: 1,
  // After the activation that replaces it.
  deactivate: 2,
  makeRoom: 2,
  forgetExits: 3,
  stopLeftover: 3,
  // Before a generation of that spec can be proven.
  markFailing: 4,
  demote: 4,
  save: 4,
  repoint: 4,
  prove: 4,
  renew: 4,
  confirmAbsence: 5,
  retire: 6,
  leave: 6,
  discard: 7,
  prune: 7,
  clearPredecessor: 7,
  tidyPredecessor: 7,
  settleBoot: 8,
  // Nothing is decided after it.
  stepDown: 9,
};

function inOrder(actions: readonly Action[]): Action[] {
  return actions.toSorted((a, b) => ORDER[a.kind] - ORDER[b.kind]);
}

function wake(one: Verdict, other: Verdict): { wakeAt?: Millis; flux?: boolean } {
  const wakeAt = earliest([one.wakeAt, other.wakeAt]);
  return { ...(wakeAt === undefined ? {} : { wakeAt }), flux: one.flux === true || other.flux === true };
}

function earliest(times: readonly (Millis | undefined)[]): Millis | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
