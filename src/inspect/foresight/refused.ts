/** A pod that no copy can be made of, as the leader last said. What is stored, if anything is, is of an earlier spec. */
import type { WorkloadStatus } from '../../status.ts';
import { type Finding, warning } from '../finding.ts';

export function refusedFindings(status: WorkloadStatus | undefined): Finding[] {
  if (status?.reason !== 'Refused') return [];
  if (/\.(env|envFrom)\[/.test(status.message) && /Secret/.test(status.message))
    return [
      warning(
        'SecretEnvRefused',
        status.message,
        'Mount the Secret as a volume, or run the checkpointer with --secret-env=inline, which puts its values into the manifest.',
      ),
    ];
  return [warning('Refused', status.message, 'Change the pod as the message says.')];
}
