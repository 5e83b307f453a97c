/** Room for one more save of everything: without it the next change of any workload is not kept. */
import { shortage } from '../../checkpoint/store/space.ts';
import type { StoreFacts } from '../facts.ts';
import { type Finding, warning } from '../finding.ts';

export function spaceFindings(store: StoreFacts, checkpointDir: string): Finding[] {
  if (store.state !== 'ok') return [];
  const missing = shortage(store.demand, store.space);
  if (missing === undefined) return [];
  return [
    warning(
      'DiskNearlyFull',
      `the file system of ${checkpointDir} has no room for one more save of every workload: ${missing}`,
      'Free space on it.',
    ),
  ];
}
