/**
 * Rule 7, self: the checkpointer's own copy is always active. It runs beside the DaemonSet's pod and waits for the leader lock; after a power cut it is
 * the one that the kubelet can start. When its DaemonSet is gone it leaves last.
 */
import type { Action, GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import type { Case, Verdict } from '../checkpoint/verdict.ts';
import { activateAction, candidate } from './activation.ts';
import { retire } from './retire.ts';
import { deactivateAll } from './yield.ts';

export function self(given: Case, othersActive: boolean): Verdict | undefined {
  const { workload, leaving } = given;
  if (leaving) {
    if (othersActive)
      return { reason: 'Leaving', message: 'the DaemonSet of the checkpointer is gone; it leaves once no other copy is active' };
    // The manifest first: one whose files have been moved away could not start. Its containers are left to the kubelet, this process is one of them.
    return {
      reason: 'Leaving',
      message: 'the DaemonSet of the checkpointer is gone: it leaves the node',
      actions: [...deactivateAll(workload), { kind: 'retire', workload: workload.workload }],
    };
  }
  const retiring = retire(given);
  if (retiring !== undefined && retiring.actions?.every((action) => action.kind === 'confirmAbsence') !== false) return retiring;

  const active = workload.active[0];
  // A generation that is not proven never takes the place of a running copy; without one it is better than nothing.
  const wanted = active === undefined ? candidate(workload.stored) : wantedBeside(active.generation, workload.stored);
  if (wanted === undefined || active?.generation === wanted)
    return active === undefined
      ? undefined
      : { reason: 'SelfActive', message: `generation ${active.generation} waits beside the DaemonSet's pod` };
  const replaced: Action[] = workload.active.map(({ file }) => ({ kind: 'deactivate', workload: workload.workload, file }));
  return {
    reason: 'Activating',
    message: `activating generation ${wanted} of the checkpointer itself`,
    actions: [activateAction(given, wanted), ...replaced],
  };
}

/** A newer token alone is no reason for another pod: the copy waits, and where it works it asks the API server with the node's identity. */
function wantedBeside(active: GenerationNumber, stored: StoredWorkload | undefined): GenerationNumber {
  const proven = stored?.proven;
  const same = proven !== undefined && stored?.generations.get(active)?.digest === stored?.generations.get(proven)?.digest;
  return proven === undefined || same ? active : proven;
}
