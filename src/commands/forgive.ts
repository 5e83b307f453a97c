/** `checkpointer forgive`: clears the marks of specs that failed (design rules 3 and 4), so that they are tried again. */
import { Command, Option } from 'commander';
import type { Digest } from '../checkpoint/model.ts';
import { bootIdFileFlag } from './host-options.ts';
import { InputError } from './input-error.ts';
import { checkpointDirFlag, namedWorkload, openStore, WORKLOAD_ARGUMENT } from './stored.ts';

interface ForgiveOptions {
  readonly checkpointDir: string;
  readonly bootIdFile: string;
  readonly digest?: string;
}

export function forgiveCommand(): Command {
  return new Command('forgive')
    .argument('<workload>', WORKLOAD_ARGUMENT)
    .description('Clear the mark of a spec that failed, so that it is tried again.')
    .addOption(new Option('--digest <digest>', 'only the spec whose digest this is, or begins so; by default all of the workload'))
    .addOption(checkpointDirFlag())
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
A spec is marked when its pod crashed where the copy of another one runs, or did not come up in its trial. It gets no other chance until it
changes or its mark is cleared. The daemon sees that within 20 s; it need not be restarted.

Exit codes: 0 cleared, or nothing was marked; 1 it failed; 2 bad input, such as a workload that is not stored.

Examples:
  checkpointer forgive kube-apiserver
  checkpointer forgive kube-system/DaemonSet/kube-scheduler --digest=3f2a91`,
    )
    .action(forgive);
}

async function forgive(given: string, { checkpointDir, bootIdFile, digest }: ForgiveOptions): Promise<void> {
  const { key, workload } = await namedWorkload(await openStore(checkpointDir), given);
  const [store, { withTransaction }, { workloadPath }, { readBootId }] = await Promise.all([
    import('../checkpoint/store/failing.ts'),
    import('../lock/transaction.ts'),
    import('../checkpoint/store/paths.ts'),
    import('../sources/boot.ts'),
  ]);
  const change = async () => {
    const marks = await store.readFailing(workloadPath(checkpointDir, workload));
    const chosen = digest === undefined ? undefined : onlyOne([...marks.keys()], digest);
    if (digest !== undefined && chosen === undefined) return [];
    const cleared = await store.forgive(checkpointDir, workload, chosen);
    return cleared.map((one) => ({ digest: one, mark: marks.get(one) }));
  };
  const cleared = await withTransaction(checkpointDir, change, { bootId: await readBootId(bootIdFile) });
  for (const { digest: one, mark } of cleared)
    process.stdout.write(`${key}: cleared ${one}${mark === undefined ? '' : `, marked ${mark.since}: ${mark.detail}`}\n`);
  if (cleared.length === 0)
    process.stdout.write(
      `${key}: ${digest === undefined ? 'no spec is' : `no spec whose digest begins with ${digest} is`} marked failing\n`,
    );
}

/** Undefined where none begins so. Throws InputError where more than one does. */
function onlyOne(digests: readonly Digest[], begin: string): Digest | undefined {
  const found = digests.filter((one) => one === begin || (begin !== '' && one.startsWith(begin)));
  if (found.length > 1) throw new InputError(`--digest ${begin}: more than one begins so: ${found.join(', ')}`);
  return found[0];
}
