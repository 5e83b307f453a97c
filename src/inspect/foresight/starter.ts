/** Who puts the manifests into the kubelet's directory after a power cut, while no API server tells the kubelet to run anything. */
import type { Facts } from '../facts.ts';
import { type Finding, fatal, warning } from '../finding.ts';

export function starterFindings({ units, disk, self }: Pick<Facts, 'units' | 'disk' | 'self'>): Finding[] {
  if (units.boot.state === 'armed' || units.host.state === 'armed') return [];
  if (disk.state === 'ok' && disk.manifests.some(({ workload }) => workload === self)) return [];
  const advice = "Run checkpointer install-host, or mark the checkpointer's own pods and give it --self.";
  if (units.boot.state === 'unknown' && units.host.state === 'unknown')
    return [
      warning(
        'StarterUnknown',
        `no copy of ${self} is active, and whether a unit on the host would activate copies cannot be seen (${units.boot.detail})`,
        advice,
      ),
    ];
  return [
    fatal('NobodyActivates', `nothing would activate the copies: no unit is armed on the host, and no copy of ${self} is active`, advice),
  ];
}
