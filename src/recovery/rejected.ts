/**
 * A parent that the kubelet refuses at admission: it has the pod Failed, with a reason (OutOfcpu, OutOfmemory, OutOfpods, NodePorts, NodeAffinity …), before it
 * makes a sandbox of it. Beside an active copy that can last for ever: what the two request together may be more than the node has. The owner deletes such a
 * pod and makes another, later each time (a DaemonSet waits for up to 15 minutes), so what was refused last is remembered. Nothing is done about it here; it
 * is said, in the place of what is waited for.
 */
import type { WorkloadMemory } from '../checkpoint/memory.ts';
import type { Rejection, WorkloadObservation } from '../checkpoint/model.ts';
import type { Case, Reason, Verdict } from '../checkpoint/verdict.ts';

/** Until the kubelet takes a pod of the workload, which then has a sandbox, or no copy is active any more. */
export function rememberRejection(
  { rejection }: WorkloadMemory,
  { active, parentPods, rejected }: WorkloadObservation,
): Rejection | undefined {
  if (active.length === 0 || parentPods.some(({ sandboxReady }) => sandboxReady)) return undefined;
  return rejected ?? rejection;
}

/** What is said while a parent is waited for. */
const WAITING: ReadonlySet<Reason> = new Set(['YieldPending', 'Orphaned', 'ParentAbsent', 'AbsenceUnconfirmed', 'KeptServingApi'] as const);

/** The same verdict, with the reason why the parent does not come. */
export function explainRejection(verdict: Verdict | undefined, { memory: { rejection } }: Case): Verdict | undefined {
  if (verdict === undefined || rejection === undefined || !WAITING.has(verdict.reason)) return verdict;
  const { reason, message } = rejection;
  const kubelet = message === '' ? reason : `${reason}: ${message}`;
  return {
    ...verdict,
    reason: 'ParentRejected',
    message: `the kubelet refuses the parent (${kubelet}): ${remedyFor(reason)}; the copy stays (${verdict.message})`,
  };
}

/** The reasons that name something of the node are those of lifecycle.PredicateAdmitHandler in the kubelet's source. */
function remedyFor(reason: string): string {
  if (reason.startsWith('OutOf'))
    return 'what it and its copy request together is more than the node has: lower its requests, or make room';
  if (reason === 'NodePorts') return 'another pod of the node holds a host port of it';
  return 'change the pod or the node';
}
