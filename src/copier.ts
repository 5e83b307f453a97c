/** Makes copies of parents, and makes each only once: a copy is made again when its pod or an object that it was made from is another one. */
import type { V1Pod } from '@kubernetes/client-node';
import { makeCopy } from './checkpoint/copy.ts';
import type { CopyPolicy, ObjectRef, ObjectState } from './checkpoint/copy-types.ts';
import type { CopyOutcome } from './checkpoint/model.ts';
import type { Copier } from './sources/observe.ts';
import type { ApiSnapshot } from './sources/snapshots.ts';

interface Made {
  readonly outcome: CopyOutcome;
  readonly from: readonly { readonly ref: ObjectRef; readonly state: ObjectState<unknown> }[];
}

export function createCopier(policy: CopyPolicy): Copier {
  const made = new WeakMap<V1Pod, Made>();
  return (pod, api) => {
    const known = made.get(pod);
    if (known?.from.every(({ ref, state }) => same(state, api.object(ref)))) return known.outcome;
    const from: { ref: ObjectRef; state: ObjectState<unknown> }[] = [];
    const outcome = makeCopy(
      pod,
      (ref) => {
        const state = api.object(ref);
        from.push({ ref, state });
        return state;
      },
      policy,
    );
    made.set(pod, { outcome, from });
    return outcome;
  };
}

function same(one: ObjectState<unknown>, other: ReturnType<ApiSnapshot['object']>): boolean {
  return one.state === 'present' && other.state === 'present' ? one.object === other.object : one.state === other.state;
}
