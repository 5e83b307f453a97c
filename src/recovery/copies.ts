/**
 * The active copy itself. Its manifest may be refused by the kubelet (design rule 5, reissue), its spec may crash (rule 3: the generation proven before it
 * takes its place), and what is left of one whose manifest is gone has to be stopped here while the kubelet does not act on removals.
 */
import type { CopyMemory, WorkloadMemory } from '../checkpoint/memory.ts';
import {
  type ActiveManifest,
  type CopyPod,
  type Digest,
  type GenerationNumber,
  type Millis,
  type Observation,
  OF_PREDECESSOR,
  type WorkloadObservation,
} from '../checkpoint/model.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { activateAction, candidate, otherThan } from './candidate.ts';
import { CRASHES, countCrashes } from './crashes.ts';
import { mayActivateAt, postponed } from './trial.ts';
import { activeTraits, deactivateAll, makeRoom } from './yield.ts';

/** The kubelet reads its directory again every 20 s, whatever its watch has missed. */
const NO_SANDBOX: Millis = 20_000;
/** Manifests in a row before it is said that the kubelet refuses the copy, and how long until another one is tried. */
const MANIFESTS = 3;
const REISSUE_AGAIN: Millis = 10 * 60_000;
/** A kubelet that watches its directory has forgotten a pod that long after its manifest went. */
const FORGOTTEN: Millis = 5_000;
const ACTIVATIONS_KEPT = 4;

export function latestActive({ active }: WorkloadObservation): ActiveManifest | undefined {
  return active.toSorted((a, b) => b.activation - a.activation)[0];
}

type Remembered = Pick<
  { [K in keyof WorkloadMemory]: WorkloadMemory[K] | undefined },
  'copy' | 'crashedCopies' | 'activations' | 'reissues'
>;

export function rememberCopy(memory: WorkloadMemory, workload: WorkloadObservation, { now, runtime }: Observation): Remembered {
  const latest = latestActive(workload);
  const { crashedCopies, activations } = memory;
  if (latest === undefined) return { copy: undefined, crashedCopies, activations, reissues: undefined };
  const before = memory.copy?.activation === latest.activation ? memory.copy : undefined;
  const known: CopyMemory = before ?? { activation: latest.activation, generation: latest.generation };
  const times = before === undefined ? [...(activations ?? []), now].slice(-ACTIVATIONS_KEPT) : activations;
  if (runtime.state !== 'ok') return { copy: known, crashedCopies, activations: times, reissues: memory.reissues };
  const pod = workload.copyPods.find(({ activation }) => activation === latest.activation);
  const copy = rememberPod(known, pod, workload, now);
  const digest = workload.stored?.generations.get(latest.generation)?.digest;
  return {
    copy,
    crashedCopies: withCrashed(crashedCopies, digest, copy, now),
    activations: times,
    reissues: pod === undefined ? memory.reissues : undefined,
  };
}

function rememberPod(before: CopyMemory, pod: CopyPod | undefined, { parentPods }: WorkloadObservation, now: Millis): CopyMemory {
  const { activation, generation } = before;
  if (pod === undefined) return { activation, generation, missingSince: before.missingSince ?? now };
  const upSince = pod.up ? (before.upSince ?? now) : undefined;
  // A copy that was activated by this daemon was seen without a pod first: what crashed since then counts.
  const seenBefore = before.crashes ?? (before.missingSince === undefined ? undefined : { uid: pod.uid, count: 0, seen: [] });
  const crashes = countCrashes(
    seenBefore,
    pod,
    now,
    parentPods.some(({ running }) => running > 0),
    upSince,
  );
  return {
    activation,
    generation,
    crashes,
    ...(pod.created === 0 ? { emptySince: before.emptySince ?? now } : {}),
    ...(upSince === undefined ? {} : { upSince }),
  };
}

const FIRM: Millis = 10_000;

function withCrashed(
  crashed: readonly Digest[] | undefined,
  digest: Digest | undefined,
  { crashes, upSince }: CopyMemory,
  now: Millis,
): readonly Digest[] | undefined {
  if (digest === undefined) return crashed;
  if (upSince !== undefined && now - upSince >= FIRM) return crashed?.filter((other) => other !== digest);
  if ((crashes?.count ?? 0) < CRASHES || crashed?.includes(digest) === true) return crashed;
  return [...(crashed ?? []), digest];
}

/**
 * Rule 3, second half: what the copy that crashes is a copy of may itself be at fault, a Secret that was rotated to garbage for example. Where the copies
 * of both crash, something else may be, and it may be over: they take turns, as often as activations may be.
 */
export function fallBack(given: Case, isSelf: boolean): Verdict | undefined {
  const { workload, memory, observation } = given;
  const { stored } = workload;
  const { now } = observation;
  const active = latestActive(workload);
  if (active === undefined || (memory.copy?.crashes?.count ?? 0) < CRASHES || memory.copy?.upSince !== undefined) return undefined;
  const digestOf = (number: GenerationNumber | undefined) => (number === undefined ? undefined : stored?.generations.get(number)?.digest);
  const best = candidate(stored, memory.crashedCopies);
  const generation = digestOf(best) === digestOf(active.generation) ? otherThan(stored, digestOf(active.generation)) : best;
  const what = `the copy crashes (${active.generation === OF_PREDECESSOR ? active.file : `generation ${active.generation}`})`;
  if (generation === undefined)
    return { reason: 'CopyCrashing', message: `${what}, and no other generation is better: see its containers' logs`, flux: true };
  const of = digestOf(generation);
  const due = of !== undefined && memory.crashedCopies?.includes(of) === true ? mayActivateAt(memory, now) : now;
  if (now < due)
    return {
      reason: 'CopyCrashing',
      message: `${what}, and so did generation ${generation}, which is tried again in ${seconds(due - now)}: see their containers' logs`,
      wakeAt: due,
      flux: true,
    };
  return {
    reason: 'CopyCrashing',
    message: `${what}: generation ${generation} takes its place`,
    actions: [activateAction(given, generation), ...(isSelf ? deactivateAll(workload) : makeRoom(workload))],
    memory: postponed(memory, now),
    flux: true,
  };
}

/** Rule 5. The kubelet does not try a static pod again that it has refused; one of another name is another pod. */
export function reissue(given: Case, isSelf: boolean): Verdict | undefined {
  const { observation, workload, memory } = given;
  const { now } = observation;
  const active = latestActive(workload);
  const copy = memory.copy;
  if (active === undefined || copy === undefined) return undefined;
  if (active.generation === OF_PREDECESSOR) return replacePredecessors(given, active, copy);
  const why = workload.refusal === undefined || workload.refusal.length === 0 ? '' : `: ${workload.refusal.join('; ')}`;
  if (copy.emptySince !== undefined && now - copy.emptySince >= NO_SANDBOX)
    return {
      reason: 'CopyNotStarting',
      message: `the copy has had a sandbox and no container for ${seconds(now - copy.emptySince)}${why}`,
      flux: true,
    };
  if (copy.missingSince === undefined) return undefined;
  const due = copy.missingSince + NO_SANDBOX;
  if (now < due) return undefined;
  const before = memory.reissues;
  // Its successor was decided on and is not there: it could not be written, or is being written. The kubelet did not refuse that one.
  const unwritten = before?.of === active.activation;
  const tried = (before?.count ?? 0) + (unwritten ? 0 : 1);
  const next = Math.max(unwritten || tried < MANIFESTS ? due : (before?.at ?? due) + REISSUE_AGAIN, mayActivateAt(memory, now));
  if (now < next)
    return { reason: 'CopyRefused', message: `the kubelet runs none of the last ${tried} manifests of the copy${why}`, wakeAt: next };
  return {
    reason: 'Reissuing',
    message: `the kubelet has made no sandbox for ${active.file} in ${seconds(now - copy.missingSince)}${why}: it gets a manifest of another name`,
    actions: [activateAction(given, active.generation), ...(isSelf ? deactivateAll(workload) : makeRoom(workload))],
    memory: postponed({ ...memory, reissues: { count: Math.min(tried, MANIFESTS), at: now, of: active.activation } }, now),
    flux: true,
  };
}

/**
 * What bootkube's pod-checkpointer activated gives way to what we have where it is of no use: the kubelet does not bring it up (its manifest names a Secret,
 * say), or it keeps its parent away. Its manifests declare the host ports of their pod, ours do not: no scheduler binds a second pod with one to the node, and
 * the kubelet admits none.
 */
function replacePredecessors(given: Case, { file, holdsHostPort }: ActiveManifest, copy: CopyMemory): Verdict | undefined {
  const { workload, memory, observation, policy } = given;
  const { now, api } = observation;
  const generation = candidate(workload.stored, memory.crashedCopies);
  if (generation === undefined) return undefined;
  const since = copy.missingSince ?? copy.emptySince;
  const takes = `generation ${generation} takes its place`;
  const replaced = (why: string): Verdict => ({
    reason: 'Reissuing',
    message: `${why}: ${takes}`,
    actions: [activateAction(given, generation), ...makeRoom(workload)],
    memory: postponed(memory, now),
    flux: true,
  });
  if (since !== undefined) return now < since + NO_SANDBOX ? undefined : replaced(`nothing of ${file} has run for ${seconds(now - since)}`);
  const isRefused = memory.rejection?.reason === 'NodePorts';
  if (copy.upSince === undefined || api.state !== 'ok' || !(isRefused || holdsHostPort === true)) return undefined;
  const why = `${file} holds a host port of its parent`;
  // A parent that was bound before may still come, and those of others need the API server to start: they have their time first.
  const due = isRefused && activeTraits(workload)?.servesApi !== true ? now : copy.upSince + policy.stableFor;
  if (now < due) return { reason: 'YieldPending', message: `${why}: ${takes} in ${seconds(due - now)}`, wakeAt: due, flux: true };
  return replaced(why);
}

/** Where the reason for a refusal is looked for: it costs requests to the runtime and the API server. */
export function asksWhy({ memory, observation: { now } }: Pick<Case, 'memory' | 'observation'>): boolean {
  const since = memory.copy?.missingSince ?? memory.copy?.emptySince;
  return since !== undefined && now - since >= NO_SANDBOX / 2;
}

/** Pods of copies without a manifest. */
function leftovers({ copyPods, active }: WorkloadObservation): CopyPod[] {
  const known = new Set(active.map(({ activation }) => activation));
  return copyPods.filter((pod) => !known.has(pod.activation) && (pod.sandboxReady || pod.running > 0));
}

export function rememberLeftover(
  memory: WorkloadMemory,
  workload: WorkloadObservation,
  { now, runtime, api }: Observation,
): Millis | undefined {
  if (runtime.state !== 'ok') return memory.leftoverSince;
  // With the API server there the kubelet ends them itself, and gives them the time that they may take.
  return api.state !== 'ok' && leftovers(workload).length > 0 ? (memory.leftoverSince ?? now) : undefined;
}

/**
 * The removal of a manifest does nothing until the kubelet has once synced with the API server: the kubelet forgets the pod, and its containers run on,
 * with the ports and files that their successor needs.
 */
export function stopLeftovers({ workload, memory, observation: { now } }: Case): Verdict['actions'] {
  if (memory.leftoverSince === undefined || now - memory.leftoverSince < FORGOTTEN) return [];
  const pods = leftovers(workload);
  return [
    {
      kind: 'stopLeftover',
      workload: workload.workload,
      containerIds: pods.flatMap(({ runningContainerIds }) => runningContainerIds),
      sandboxIds: pods.map(({ sandboxId }) => sandboxId),
    },
  ];
}
