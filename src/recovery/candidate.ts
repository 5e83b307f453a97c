/** Which generation an activation takes. */
import type { Action, Digest, GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import type { Case } from '../checkpoint/verdict.ts';

/**
 * What a reboot gets: the proven generation, or the newest one while none is proven. The one that was proven before it, or an earlier one that was not,
 * takes its place where its spec is marked failing, or its copy crashed here; where that goes for all, it is as good as any.
 */
export function candidate(stored: StoredWorkload | undefined, crashed: readonly Digest[] = []): GenerationNumber | undefined {
  if (stored?.proven !== undefined || stored?.newest === undefined) return provenCandidate(stored, crashed);
  const { generations, newest, failing } = stored;
  const others = [...generations.keys()].filter((number) => number !== newest).sort((a, b) => b - a);
  const sound = [newest, ...others].find((number) => {
    const digest = generations.get(number)?.digest;
    return digest !== undefined && !failing.has(digest) && !crashed.includes(digest);
  });
  return sound ?? newest;
}

/** The same, of what was proven once. */
export function provenCandidate(stored: StoredWorkload | undefined, crashed: readonly Digest[] = []): GenerationNumber | undefined {
  if (stored?.proven === undefined) return undefined;
  const both = [stored.proven, stored.previous].filter((number) => number !== undefined);
  const digest = (number: GenerationNumber) => stored.generations.get(number)?.digest;
  const sound = both.filter((number) => !stored.failing.has(digest(number) ?? ('' as Digest)));
  return sound.find((number) => !crashed.includes(digest(number) ?? ('' as Digest))) ?? sound[0] ?? stored.proven;
}

/** What else was proven once and is not marked failing: the one to try where a copy of the other crashes. */
export function otherThan(stored: StoredWorkload | undefined, digest: Digest | undefined): GenerationNumber | undefined {
  return [stored?.proven, stored?.previous].find((number) => {
    const of = number === undefined ? undefined : stored?.generations.get(number)?.digest;
    return of !== undefined && of !== digest && stored?.failing.has(of) !== true;
  });
}

export function activateAction({ workload }: Pick<Case, 'workload'>, generation: GenerationNumber): Action {
  // A new number for each activation, and so a new pod name: the kubelet makes a static pod wait for an older one of the same name to end. The count may
  // have been lost, or could not be written on a full disk; what is there has its numbers.
  const taken = [...workload.active, ...workload.copyPods].map(({ activation }) => activation);
  return {
    kind: 'activate',
    workload: workload.workload,
    generation,
    activation: Math.max(workload.stored?.activations ?? 0, ...taken) + 1,
  };
}
