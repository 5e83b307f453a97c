/** `checkpointer prune`: deletes what retention does not keep, now and by hand. What is proven, the newest, and what is active is never deleted. */
import { Command, Option } from 'commander';
import { WORKLOAD } from '../checkpoint/annotations.ts';
import type { GenerationNumber, WorkloadObservation } from '../checkpoint/model.ts';
import { type Workload, workloadKey } from '../checkpoint/workload.ts';
import type { DiskSnapshot } from '../sources/disk.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';
import { confirmed } from './confirm.ts';
import { bootIdFileFlag, DEFAULT_RUNTIME_ENDPOINT } from './host-options.ts';
import { addStoreFlags, durationFlag, flag } from './options.ts';
import { openStore } from './stored.ts';

interface PruneOptions {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly containerRuntimeEndpoint: string;
  readonly runtimeRequestTimeout: number;
  readonly bootIdFile: string;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly retired?: true;
  readonly retain: number;
  readonly quarantine?: true;
}

export function pruneCommand(): Command {
  return addStoreFlags(new Command('prune'))
    .description('Delete what the store does not need any more.')
    .addOption(new Option('--dry-run', 'only show what would be deleted'))
    .addOption(new Option('--yes', 'do not ask'))
    .addOption(new Option('--retired', 'also workloads that were retired, --retain ago or earlier'))
    .addOption(durationFlag('--retain <duration>', 'with --retired: these are kept; 0 keeps none', '24h'))
    .addOption(new Option('--quarantine', 'also everything in quarantine: nothing is left to look at'))
    .addOption(flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime').default(DEFAULT_RUNTIME_ENDPOINT))
    .addOption(durationFlag('--runtime-request-timeout <duration>', 'how long the runtime is asked at the most', '2s'))
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
The daemon deletes superfluous generations by itself; this does it while no daemon runs, or at once. Never deleted: the proven generation of a
workload, the one proven before it, the newest, and those that are active or run. While the runtime does not answer, or a pointer is damaged,
eight more are kept. Where an API server was retired and no other is in use, everything that is retired stays: it would bring the node back.

Exit codes: 0 done, or nothing to do; 1 it failed, or was not wanted; 2 bad input.

Examples:
  checkpointer prune --dry-run
  checkpointer prune --retired --retain=1h --quarantine --yes`,
    )
    .action(async (options: PruneOptions) => {
      process.exitCode = await prune(options);
    });
}

type Doomed =
  | { readonly kind: 'generation'; readonly workload: Workload; readonly generation: GenerationNumber }
  | { readonly kind: 'retired'; readonly workload: Workload; readonly entry: string }
  | { readonly kind: 'quarantined'; readonly entry: string };

const words = (one: Doomed): string => {
  switch (one.kind) {
    case 'generation':
      return `${one.workload.namespace}/${one.workload.kind}/${one.workload.name}: generation ${one.generation}`;
    case 'retired':
      return `retired/${one.entry}`;
    case 'quarantined':
      return `quarantine/${one.entry}`;
  }
};

async function prune(options: PruneOptions): Promise<number> {
  const { checkpointDir, podManifestPath, bootIdFile } = options;
  await openStore(checkpointDir);
  const [{ createDiskSource }, { withTransaction }, { readBootId }] = await Promise.all([
    import('../sources/disk.ts'),
    import('../lock/transaction.ts'),
    import('../sources/boot.ts'),
  ]);
  const disk = createDiskSource(checkpointDir, podManifestPath);
  const look = async () => {
    const { readRuntime } = await import('../inspect/read-runtime.ts');
    const runtime = await readRuntime(options.containerRuntimeEndpoint, options.runtimeRequestTimeout, Promise.resolve([]));
    return { runtime, doomed: await doomed(await disk.read(), runtime, options) };
  };
  const { runtime, doomed: planned } = await look();
  if (runtime.state === 'unknown')
    process.stderr.write(`warning: the container runtime does not answer (${runtime.detail}): what it may run is kept\n`);
  for (const one of planned) process.stdout.write(`${options.dryRun === true ? 'would delete' : 'delete'} ${words(one)}\n`);
  if (planned.length === 0) process.stdout.write('Nothing to delete.\n');
  if (planned.length === 0 || options.dryRun === true) return 0;
  if (options.yes !== true && !(await confirmed('Delete this?'))) {
    process.stdout.write('nothing was deleted\n');
    return 1;
  }
  const deleted = await withTransaction(
    checkpointDir,
    async ({ check }) => {
      // What the daemon did meanwhile counts: nothing goes that is needed by now, and nothing that was not shown.
      const shown = new Set(planned.map(words));
      const still = (await look()).doomed.filter((one) => shown.has(words(one)));
      for (const one of still) await remove(checkpointDir, one, check);
      return still.length;
    },
    { bootId: await readBootId(bootIdFile) },
  );
  process.stdout.write(
    `${deleted} of ${planned.length} deleted${deleted < planned.length ? ': the others are gone, or needed by now' : ''}\n`,
  );
  return 0;
}

async function remove(root: string, one: Doomed, check: () => Promise<void>): Promise<void> {
  const { discardQuarantined, discardRetired } = await import('../checkpoint/store/retention.ts');
  const { pruneGenerations } = await import('../checkpoint/store/write.ts');
  switch (one.kind) {
    case 'generation':
      return pruneGenerations(root, one.workload, [one.generation], check);
    case 'retired':
      await check();
      return discardRetired(root, one.workload, one.entry);
    case 'quarantined':
      await check();
      return discardQuarantined(root, one.entry);
  }
}

/** By the rules that the daemon has (checkpoint/save.ts). */
async function doomed(disk: DiskSnapshot, runtime: RuntimeSnapshot, options: PruneOptions): Promise<Doomed[]> {
  if (disk.state === 'unknown') throw new Error(disk.detail);
  const [{ prune: superfluous }, { observe }, { quarantinedEntries }] = await Promise.all([
    import('../checkpoint/save.ts'),
    import('../sources/observe.ts'),
    import('../checkpoint/store/retention.ts'),
  ]);
  const unknown = { state: 'unknown', detail: 'not asked' } as const;
  const api = { state: { state: 'unknown' }, pods: new Map(), object: () => unknown, absences: new Map() } as const;
  const { workloads, retired = [] } = observe({ now: 0, bootId: '', api, runtime, disk, kubelet: unknown, self: undefined }, () => ({
    kind: 'waiting',
    objects: [],
  }));
  const generations = [...workloads.values()]
    .flatMap((workload) => superfluous(workload, runtime.state === 'ok'))
    .flatMap(({ workload, generations }) => generations.map((generation): Doomed => ({ kind: 'generation', workload, generation })));
  const serves = ({ stored }: WorkloadObservation) => [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi);
  // With nothing in the place of a retired API server it would come back, and all that was retired with it (recovery/retired.ts).
  const needed = retired.some(({ servesApi }) => servesApi) && ![...workloads.values()].some(serves);
  // Its manifest is taken away before a workload is retired; a kubelet that has not synced yet runs it all the same.
  const used = new Set<string | undefined>([
    ...disk.manifests.map(({ workload }) => workload),
    ...(runtime.state === 'ok' ? runtime.sandboxes.map(({ annotations }) => annotations[WORKLOAD]) : []),
  ]);
  const old = retired
    .filter(({ workload, age }) => options.retired === true && age >= options.retain && !needed && !used.has(workloadKey(workload)))
    .map(({ workload, entry }): Doomed => ({ kind: 'retired', workload, entry }));
  const quarantined = options.quarantine === true ? await quarantinedEntries(options.checkpointDir) : [];
  return [...generations, ...old, ...quarantined.map((entry): Doomed => ({ kind: 'quarantined', entry }))];
}
