/**
 * The pivot as a row of steps, each with a way there and a way back, and where a node stands in it. Pure: what a step does is in execute.ts, what it waits
 * for in health.ts.
 *
 *   share     the static pod gets port sharing (its one restart)         back: the manifest as it was
 *   apply     the DaemonSet is made; no node asks for its pods yet       back: it is deleted, unless another master uses it
 *   assign    this node gets the label that the DaemonSet selects        back: the label goes, and with it the pod
 *   withdraw  the static pod's manifest is taken away                    back: it is put there again, sharing its port
 *
 *  1. At every moment the node runs at least one of static pod and DaemonSet's pod of each component; between `assign` and `withdraw` both.
 *  2. A step is begun only when the one before it was seen healthy. `assign` is healthy only once the copy of the new pod is proven, so from `withdraw` on a
 *     power cut finds a copy.
 *  3. Both ways of a step can be gone again from any state that it may have been interrupted in.
 */
import { COMPONENTS, type Component } from './component.ts';

export type StepKind = 'share' | 'apply' | 'assign' | 'withdraw';

export interface Step {
  readonly kind: StepKind;
  readonly component: Component;
}

const KINDS: readonly StepKind[] = ['share', 'apply', 'assign', 'withdraw'];

/** One component after the other. */
export const STEPS: readonly Step[] = COMPONENTS.flatMap((component) => KINDS.map((kind) => ({ kind, component })));

export type Target = 'self-hosted' | 'static';

/** `healthy`: so many steps are done, and were seen healthy. `between`: this step was begun, in either direction. */
export type Place = { readonly state: 'healthy'; readonly done: number } | { readonly state: 'between'; readonly step: number };

export interface Move {
  readonly step: Step;
  readonly index: number;
  readonly direction: 'there' | 'back';
}

/** What to do next; undefined when the node is where it should be. */
export function nextMove(place: Place, target: Target, steps: readonly Step[] = STEPS): Move | undefined {
  const direction = target === 'self-hosted' ? 'there' : 'back';
  const index = place.state === 'between' ? place.step : direction === 'there' ? place.done : place.done - 1;
  const step = steps[index];
  return step === undefined ? undefined : { step, index, direction };
}

/** While a move is under way. */
export const underWay = ({ index }: Move): Place => ({ state: 'between', step: index });
/** When its health was seen. */
export const arrivedBy = ({ index, direction }: Move): Extract<Place, { state: 'healthy' }> => ({
  state: 'healthy',
  done: direction === 'there' ? index + 1 : index,
});
/** A move that failed, or that somebody stopped, is taken back: to where the node was healthy before. */
export const reversed = (move: Move): Move => ({ ...move, direction: move.direction === 'there' ? 'back' : 'there' });

export const isThere = (place: Place, target: Target, steps: readonly Step[] = STEPS): boolean =>
  nextMove(place, target, steps) === undefined;

const WORDS: Readonly<Record<StepKind, Readonly<Record<Move['direction'], string>>>> = {
  share: { there: 'the static pod gets port sharing', back: 'the static pod as it was' },
  apply: { there: 'the DaemonSet is made', back: 'the DaemonSet is deleted' },
  assign: { there: 'the node asks for its pod', back: "the node's pod leaves" },
  withdraw: { there: 'the static pod leaves', back: 'the static pod comes back' },
};

export function describeMove({ step, direction }: Move): string {
  return `${step.component}: ${WORDS[step.kind][direction]}`;
}
