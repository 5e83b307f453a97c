/** Whether the kubelet takes the manifest: the rules by which a copy is checked when it is made, asked again, because a later version may know more of them. */
import type { V1Pod } from '@kubernetes/client-node';
import { violations } from '../../checkpoint/static-pod-rules.ts';
import { type Finding, fatal } from '../finding.ts';

export function manifestFindings(pod: V1Pod): Finding[] {
  return violations(pod).map(({ field, message }) =>
    fatal('KubeletWouldRefuse', `the kubelet would refuse the copy: ${field}: ${message}`, 'Change the pod, so that another copy is made.'),
  );
}
