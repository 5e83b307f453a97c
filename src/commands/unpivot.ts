/** `checkpointer unpivot`: the static pods of a control plane come back, so that kubeadm can upgrade it. */
import { Command } from 'commander';
import type { Journal } from '../pivot/journal.ts';
import type { Session } from '../pivot/session.ts';
import { confirmed } from './confirm.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags } from './options.ts';
import { adminKubeconfig, type PivotFlags, pivotFlags } from './pivot-options.ts';

export function unpivotCommand(): Command {
  return pivotFlags(addStoreFlags(new Command('unpivot')))
    .description("Bring a self-hosted control plane's static pods back, on this node.")
    .addHelpText(
      'after',
      `
The way of checkpointer pivot backwards, step by step: the static pod starts beside the DaemonSet's pod, then that leaves, then the manifest gets its
old content: byte for byte if the DaemonSet is as it was made, otherwise with everything that was changed since. It also ends a pivot that was
interrupted or that failed. If the API server does not run and does not come back, put the manifests back by hand: they are in
<checkpoint-dir>/pivot/<start>/original.

Exit codes: 0 static pods; 1 it failed, or was stopped, and stands where it was healthy last; 2 bad input.

Examples:
  checkpointer unpivot --yes && kubeadm upgrade apply v1.36.3`,
    )
    .action(async (options: PivotFlags) => {
      process.exitCode = await unpivot(options);
    });
}

async function unpivot(options: PivotFlags): Promise<number> {
  const { checkpointDir } = options;
  const [{ openSession, alone }, { readJournal }, { isThere }] = await Promise.all([
    import('../pivot/session.ts'),
    import('../pivot/journal.ts'),
    import('../pivot/steps.ts'),
  ]);
  const journal = await readJournal(checkpointDir);
  if (journal === undefined)
    throw new InputError(
      `this node was not made self-hosted by checkpointer pivot (${checkpointDir}/pivot holds nothing of one): give --checkpoint-dir as it was then`,
    );
  if (isThere(journal.place, 'static')) {
    process.stdout.write('The control plane of this node consists of static pods already.\n');
    return 0;
  }
  const session = await openSession(await adminKubeconfig(options.kubeconfig));
  try {
    return await alone(checkpointDir, () => goBack(options, session, journal));
  } finally {
    session.close();
  }
}

async function goBack(options: PivotFlags, session: Session, journal: Journal): Promise<number> {
  const { checkpointDir, healthyFor, stepTimeout, yes } = options;
  const [{ resumed }, { travel, remember, untilReady }, { progressOn, screenOf }] = await Promise.all([
    import('../pivot/resume.ts'),
    import('../pivot/session.ts'),
    import('../pivot/progress.ts'),
  ]);
  const progress = progressOn(screenOf(process.stdout));
  await untilReady(session, progress, stepTimeout);
  const { node, wanted, originals } = await resumed(session, checkpointDir, journal);
  if (journal.credentials === 'secrets') await expectSameFiles(session, originals);
  if (yes !== true && !(await confirmed(`Bring the static pods of ${node.name} back?`))) return 1;
  await remember(checkpointDir, `the way back of the pivot of ${journal.start} begins`);
  const timing = { healthyFor, stepTimeout, poll: 500 };
  const { cluster, stop } = session;
  await travel('static', journal, { checkpointDir, cluster, node, timing, wanted, stop, progress });
  process.stdout.write('The control plane of this node consists of static pods again.\n');
  return 0;
}

/** The static pods will use the files again, which know nothing of what was changed in the Secrets. */
async function expectSameFiles(
  { cluster }: Session,
  originals: Awaited<ReturnType<typeof import('../pivot/resume.ts').resumed>>['originals'],
): Promise<void> {
  const [{ credentialFiles, credentialsSecret, rotatedFiles }, { readAll }] = await Promise.all([
    import('../pivot/secrets.ts'),
    import('../pivot/gather.ts'),
  ]);
  for (const { component, pod } of originals) {
    const files = credentialFiles(component, pod);
    const secret = credentialsSecret(component);
    const rotated = rotatedFiles(files, await readAll(files.map(({ path }) => path)), await cluster.secret(secret));
    if (rotated.length > 0)
      throw new Error(
        `Secret kube-system/${secret} was changed since: first write ${rotated.map(({ key, path }) => `its ${key} to ${path}`).join(', ')}`,
      );
  }
}
