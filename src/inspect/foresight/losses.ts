/** What a copy is made without although its parent has it, as the copy itself says. */
import type { V1Pod } from '@kubernetes/client-node';
import { warningsOf } from '../../checkpoint/copy/warnings.ts';
import type { KubeletFacts } from '../facts.ts';
import { type Finding, warning } from '../finding.ts';

/** Where the kubelet's records of its images can be read they say more of pull secrets than the copy can (foresight/images.ts). */
export function lossFindings(pod: V1Pod, { pulled }: KubeletFacts): Finding[] {
  return warningsOf(pod)
    .filter(({ code }) => !(code === 'ImagePullSecrets' && pulled !== undefined))
    .map(({ code, field, message }) => {
      const [what = '', ...advice] = message.split(/(?<=\.) /);
      return warning(code, `${field}: ${what}`, advice.join(' ') || 'See docs/copy.md.');
    });
}
