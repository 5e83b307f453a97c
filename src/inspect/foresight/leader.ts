/** Without a leader nothing is kept current, renewed or handed back, and what is said of the workloads is old. */
import type { LeaderFacts } from '../facts.ts';
import { type Finding, warning } from '../finding.ts';

export function leaderFindings({ state }: LeaderFacts): Finding[] {
  if (state !== 'nobody') return [];
  return [
    warning(
      'NoLeader',
      'no checkpointer leads on this node: copies are not kept current, and what is said of the workloads is old',
      "Look at the checkpointer's pod, or at pod-checkpointer.service on the host.",
    ),
  ];
}
