/**
 * API servers that could be handed back without an outage. Copy and parent run side by side only where both share their port (`--permit-port-sharing`): if one
 * asks for it and the other does not, the second to start fails to bind.
 */
import type { StoredGeneration } from '../../checkpoint/model.ts';
import { type Finding, warning } from '../finding.ts';

/**
 * @param chosen the generation that would run, or runs.
 * @param parent how the parent would hand back: as the API server has it, or as its newest copy says.
 */
export function portSharingFindings(chosen: StoredGeneration, parent: StoredGeneration['traits']): Finding[] {
  if (!chosen.traits.servesApi || !parent.servesApi) return [];
  const [copy, own] = [chosen.traits.handBack, parent.handBack];
  if (copy === own) return [];
  const [asks, not] = copy === 'overlap' ? ['the copy', 'its parent'] : ['the parent', 'its copy'];
  return [
    warning(
      'PortSharingOneSided',
      `${asks} of this API server shares its port (--permit-port-sharing) and ${not} does not: they cannot run side by side`,
      'Give --permit-port-sharing to the API server and wait until the new copy is proven.',
    ),
  ];
}

/** Not a warning: the copy makes room for its parent, and that takes a restart of the API server. Undefined where there is nothing to gain. */
export function portSharingHint(chosen: StoredGeneration, parent: StoredGeneration['traits']): string | undefined {
  if (!chosen.traits.servesApi || !parent.servesApi || chosen.traits.handBack === 'overlap' || parent.handBack === 'overlap')
    return undefined;
  return 'With --permit-port-sharing=true in its command line this API server would be handed back to its parent without an outage.';
}
