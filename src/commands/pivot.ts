/** `checkpointer pivot`: the static pods of a control plane become DaemonSets. What is decided is in src/pivot. */
import { Command, Option } from 'commander';
import type { Gathered } from '../pivot/gather.ts';
import type { Credentials, Journal } from '../pivot/journal.ts';
import type { Session } from '../pivot/session.ts';
import { confirmed } from './confirm.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags, flag } from './options.ts';
import { adminKubeconfig, type PivotFlags, pivotFlags } from './pivot-options.ts';
import { table } from './table.ts';

interface PivotOptions extends PivotFlags {
  readonly from: readonly string[];
  readonly credentials: Credentials;
  readonly deploy?: string;
  readonly dryRun?: true;
  readonly diff?: true;
  readonly output: 'table' | 'yaml';
}

/** A check failed, and nothing was changed. */
const EXIT_NOT_READY = 3;

export function pivotCommand(): Command {
  return pivotFlags(addStoreFlags(new Command('pivot')))
    .description('Make a control plane of static pods (kubeadm) self-hosted, on this node.')
    .addOption(flag('--from <file...>', "the static pods, where they are not kubeadm's in --pod-manifest-path").default([]))
    .addOption(
      flag('--credentials <kind>', 'certificates, keys and kubeconfigs: files of the host, as kubeadm has them, or Secrets')
        .choices(['files', 'secrets'])
        .default('files'),
    )
    .addOption(flag('--deploy <file>', 'deploy the checkpointer from this manifest where it is missing'))
    .addOption(new Option('--dry-run', 'change nothing; with -o yaml print what would be applied'))
    .addOption(new Option('--diff', 'change nothing; show what differs from what is there'))
    .addOption(new Option('-o, --output <format>', 'with --dry-run').choices(['table', 'yaml']).default('table'))
    .addHelpText(
      'after',
      `
One component after the other, API server first: its static pod gets port sharing (one restart), a DaemonSet is made, its pod starts beside the
static pod, its copy is kept and proven, and only then the static pod leaves. Each step waits for health and is taken back where it does not come.
Interrupted, even by a power cut, it is run again: it goes on, or back with checkpointer unpivot. Ctrl-C takes back the step that is under way.
etcd is not touched. Several masters: one after the other, on each of them.

Exit codes: 0 self-hosted; 1 it failed, or was stopped, and stands where it was healthy last; 2 bad input; 3 a check failed, nothing was changed.

Examples:
  checkpointer pivot --dry-run -o yaml
  checkpointer pivot --yes
  checkpointer history pivot`,
    )
    .action(async (options: PivotOptions) => {
      process.exitCode = await pivot(options);
    });
}

async function pivot(options: PivotOptions): Promise<number> {
  const { checkpointDir } = options;
  const [{ openSession, alone }, { readJournal }, { isThere }] = await Promise.all([
    import('../pivot/session.ts'),
    import('../pivot/journal.ts'),
    import('../pivot/steps.ts'),
  ]);
  const session = await openSession(await adminKubeconfig(options.kubeconfig));
  try {
    if (options.dryRun === true || options.diff === true) return await show(options, session);
    const before = await readJournal(checkpointDir);
    if (before !== undefined && isThere(before.place, 'self-hosted')) {
      process.stdout.write('This node is self-hosted already.\n');
      return 0;
    }
    if (before !== undefined && !isThere(before.place, 'static')) return await alone(checkpointDir, () => goOn(options, session, before));
    return await begin(options, session);
  } finally {
    session.close();
  }
}

/** From the beginning: the checks, the snapshot, the way. */
async function begin(options: PivotOptions, session: Session): Promise<number> {
  const { checkpointDir } = options;
  const gathered = await gather(options, session);
  const { pivotChecks, isReady, nodeFacts } = await import('../pivot/checks.ts');
  const checks = pivotChecks(gathered.facts);
  process.stdout.write(
    table(
      ['STATE', 'CHECK', 'SEEN'],
      checks.map(({ state, check, seen }) => [state, check, seen]),
    ),
  );
  for (const { check, advice } of checks) if (advice !== undefined) process.stdout.write(`  ${check}: ${advice}\n`);
  const node = gathered.node === undefined ? undefined : nodeFacts(gathered.node);
  if (!isReady(checks) || node === undefined) return EXIT_NOT_READY;
  if (options.yes !== true && !(await confirmed(`Make the control plane of ${node.name} self-hosted?`))) return 1;
  const [{ alone, travel, remember }, { writeSnapshot, writeJournal, snapshotDir }, { takeLease }] = await Promise.all([
    import('../pivot/session.ts'),
    import('../pivot/journal.ts'),
    import('../pivot/lease.ts'),
  ]);
  return alone(checkpointDir, async () => {
    await takeLease(session.cluster, node.name, new Date());
    if (gathered.facts.checkpointer === 'to be deployed') await deployCheckpointer(options, session);
    const start = new Date().toISOString().replaceAll(/[:.]/g, '-');
    const originals = new Map(gathered.manifests.map(({ component, bytes }) => [component, bytes] as const));
    await writeSnapshot(checkpointDir, start, originals, { node: gathered.node, daemonSets: gathered.daemonSets });
    const journal: Journal = {
      node: node.name,
      start,
      target: 'self-hosted',
      place: { state: 'healthy', done: 0 },
      manifests: gathered.manifests.map(({ component, file, mode }) => ({ component, file, mode })),
      credentials: options.credentials,
    };
    await writeJournal(checkpointDir, journal);
    await remember(checkpointDir, `a pivot begins; everything as it was is in ${snapshotDir(checkpointDir, start)}`);
    await travel('self-hosted', journal, await pivotOf(options, session, node, gathered.wanted));
    await told(options);
    return 0;
  });
}

/** One that was interrupted, or that failed and stands between its ends. */
async function goOn(options: PivotOptions, session: Session, journal: Journal): Promise<number> {
  const { travel, untilReady } = await import('../pivot/session.ts');
  const { progressOn, screenOf } = await import('../pivot/progress.ts');
  const { resumed } = await import('../pivot/resume.ts');
  process.stdout.write(`A pivot of ${journal.start} goes on.\n`);
  await untilReady(session, progressOn(screenOf(process.stdout)), options.stepTimeout);
  const { node, wanted, refusals } = await resumed(session, options.checkpointDir, journal);
  const [refusal] = refusals;
  if (refusal !== undefined)
    throw new Error(`${refusal.component}: ${refusal.what}: ${refusal.message}; go back with checkpointer unpivot`);
  await travel('self-hosted', journal, await pivotOf(options, session, node, wanted));
  await told({ ...options, credentials: journal.credentials });
  return 0;
}

async function told({ credentials }: Pick<PivotOptions, 'credentials'>): Promise<void> {
  process.stdout.write('This node is self-hosted. Before kubeadm upgrades it: checkpointer unpivot.\n');
  if (credentials === 'files') return;
  const [{ rbacAdvice }, { COMPONENTS }] = await Promise.all([import('../pivot/secrets.ts'), import('../pivot/component.ts')]);
  process.stdout.write(`\n${rbacAdvice(COMPONENTS)}`);
}

async function gather(options: PivotOptions, session: Session): Promise<Gathered> {
  const { gatherForPivot } = await import('../pivot/gather.ts');
  return gatherForPivot(session.cluster, session.kubeconfig, { ...options, deploys: options.deploy !== undefined });
}

async function pivotOf(
  options: PivotOptions,
  { cluster, stop }: Session,
  node: Parameters<typeof import('../pivot/gather.ts').wantedOf>[1],
  wanted: Gathered['wanted'],
): Promise<import('../pivot/execute.ts').Pivot> {
  const { progressOn, screenOf } = await import('../pivot/progress.ts');
  const timing = { healthyFor: options.healthyFor, stepTimeout: options.stepTimeout, poll: 500 };
  return { checkpointDir: options.checkpointDir, cluster, node, timing, wanted, stop, progress: progressOn(screenOf(process.stdout)) };
}

async function show(options: PivotOptions, session: Session): Promise<number> {
  const [gathered, { preview }] = await Promise.all([gather(options, session), import('../pivot/preview.ts')]);
  const { text, ready } = preview(gathered, options.diff === true ? 'diff' : options.output);
  process.stdout.write(text);
  return ready ? 0 : EXIT_NOT_READY;
}

async function deployCheckpointer(
  { deploy: file, nodeName, stepTimeout }: PivotOptions,
  { client, cluster, stop }: Session,
): Promise<void> {
  if (file === undefined) return;
  const [{ readFile }, { setTimeout: sleep }, { deploy, deployables }, { isCheckpointerReady }] = await Promise.all([
    import('node:fs/promises'),
    import('node:timers/promises'),
    import('../pivot/deploy.ts'),
    import('../pivot/gather.ts'),
  ]);
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new InputError(`--deploy ${file}: ${error instanceof Error ? error.message : String(error)}`);
  });
  const made = await deploy(client, deployables(text, file), stop);
  process.stdout.write(`deployed: ${made.join(', ') || 'nothing was missing'}\n`);
  for (const deadline = performance.now() + stepTimeout; !isCheckpointerReady(await cluster.pods(nodeName)); ) {
    if (performance.now() > deadline)
      throw new Error('the checkpointer that was deployed is not Ready: see kubectl -n kube-system get pods');
    await sleep(500, undefined, { signal: stop });
  }
}
