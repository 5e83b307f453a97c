/** What a pivot leaves in the node's history: `checkpointer history pivot`. */
import { appendHistory } from '../report/history.ts';

/** Stands where others name their workload. */
export const PIVOT_HISTORY = 'kube-system/ControlPlane/pivot';

/** A history that cannot be written keeps nothing from being done. */
export async function remember(checkpointDir: string, message: string): Promise<void> {
  const entry = {
    at: new Date().toISOString(),
    workload: PIVOT_HISTORY,
    namespace: 'kube-system',
    // No generation of it is stored.
    state: 'unsaved',
    milestones: [],
    message,
  } as const;
  await appendHistory(checkpointDir, [entry]).catch(() => undefined);
}
