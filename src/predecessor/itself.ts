/** A pod of bootkube's pod-checkpointer itself. Pure. */
import type { V1Pod } from '@kubernetes/client-node';

/** By its program, or by the lock that it takes: ours has a command in front of its flags. */
export function runsPredecessor({ spec }: V1Pod): boolean {
  return (spec?.containers ?? []).some((container) => {
    const words = [...(container?.command ?? []), ...(container?.args ?? [])].map(String);
    const [program = ''] = words;
    if (program === 'checkpoint' || program.endsWith('/checkpoint')) return true;
    return !words.includes('run') && words.some((word) => /^--?lock-file=.*\/pod-checkpointer\.lock$/.test(word));
  });
}
