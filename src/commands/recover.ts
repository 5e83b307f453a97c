/** `checkpointer recover`: brings the control plane back without the daemon, before the kubelet starts or by hand. */
import { readdir, stat } from 'node:fs/promises';
import { Command, Option } from 'commander';
import type { ApiState } from '../checkpoint/model.ts';
import { workloadsPath } from '../checkpoint/store/paths.ts';
import { isErrno, readRegular } from '../platform/durable.ts';
import type { PredecessorSnapshot } from '../predecessor/read.ts';
import type { Recovered, RecoveryAction, RecoveryPlan, Seen } from '../recovery/boot.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';
import { confirmed } from './confirm.ts';
import { bootIdFileFlag, DEFAULT_KUBECONFIG, DEFAULT_RUNTIME_ENDPOINT, lockFileFlag } from './host-options.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags, durationFlag, flag } from './options.ts';
import { table } from './table.ts';

interface RecoverOptions {
  readonly boot?: true;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly kubeconfig: string;
  readonly probeTimeout: number;
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly lockFile: string;
  readonly containerRuntimeEndpoint: string;
  readonly runtimeRequestTimeout: number;
  readonly bootIdFile: string;
}

export function recoverCommand(): Command {
  return addStoreFlags(new Command('recover'))
    .description('Hand the stored copies of everything that is down to the kubelet, without the daemon.')
    .addOption(
      new Option('--boot', 'before the kubelet: nothing runs yet, so nothing is asked of the runtime, and nobody is asked to confirm'),
    )
    .addOption(new Option('--dry-run', 'only show what would be done'))
    .addOption(new Option('--yes', 'do not ask'))
    .addOption(flag('--kubeconfig <file>', 'whose API server is asked whether a control plane answers already').default(DEFAULT_KUBECONFIG))
    .addOption(durationFlag('--probe-timeout <duration>', 'how long it is asked at the most; 0 does not ask', '1s'))
    .addOption(lockFileFlag())
    .addOption(
      flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime (not with --boot)').default(
        DEFAULT_RUNTIME_ENDPOINT,
      ),
    )
    .addOption(durationFlag('--runtime-request-timeout <duration>', 'deadline of a request to the container runtime', '10s'))
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
Nothing is done while a checkpointer leads on this node, or where an API server answers.

Exit codes: 0 done, or nothing to do; 1 something could not be recovered; 2 bad input. With --boot a missing kubeconfig and a
checkpointer that leads already are no errors, because the kubelet is to start all the same.

Examples:
  checkpointer recover --dry-run
  checkpointer recover --boot --probe-timeout=500ms`,
    )
    .action(async (options: RecoverOptions) => {
      process.exitCode = options.boot === true ? await atBoot(options) : await byHand(options);
    });
}

async function atBoot(options: RecoverOptions): Promise<number> {
  if ((await missingStore(options)) && !(await hasCheckpoints(options))) {
    say(`${options.checkpointDir}: no store, nothing to recover`);
    return 0;
  }
  const [{ askControlPlane }, { NOTHING_RUNS, planRecovery, recover }, place, bootId] = await load(options);
  const [api, disk, lock] = await Promise.all([
    askControlPlane(options.kubeconfig, options.probeTimeout),
    place.disk.read(),
    lockWithout(options.lockFile),
  ]);
  try {
    if (disk.state === 'unknown') throw new Error(disk.detail);
    if (lock === 'held') {
      say(`a checkpointer leads on this node already (${options.lockFile}): it recovers by itself`);
      return 0;
    }
    const bootkube = startsItself(disk.predecessor);
    if (bootkube !== undefined) {
      say(`bootkube's pod-checkpointer starts with the kubelet (${bootkube}): whoever takes the lock first recovers, it or the daemon`);
      return 0;
    }
    if (disk.store.settledBootId === bootId) {
      say('this boot has been settled by the daemon: nothing to do');
      return 0;
    }
    if (api.state === 'ok' || api.state === 'denied') {
      say(`an API server answers (${options.kubeconfig}): nothing is activated, the kubelet gets its pods from it`);
      return 0;
    }
    say(`no control plane answers (${detailOf(api)})`);
    const seen: Seen = { bootId, api, runtime: NOTHING_RUNS, disk, byHand: false };
    if (options.dryRun === true) {
      process.stdout.write(asTable(planRecovery(seen)));
      return 0;
    }
    await makeStore(options, planRecovery(seen));
    return report(await recover(seen, place));
  } finally {
    if (typeof lock === 'object') lock.release();
  }
}

/**
 * Where its copy of itself is in the kubelet's directory it may lead in a moment, and would activate its own copies beside ours. Both daemons wait for one
 * lock; this command does not live long enough to keep it out.
 */
function startsItself(predecessor: PredecessorSnapshot | undefined): string | undefined {
  if (predecessor?.state !== 'ok') return undefined;
  return predecessor.checkpoints.find(({ isCheckpointer, active }) => isCheckpointer && active !== undefined)?.active;
}

async function byHand(options: RecoverOptions): Promise<number> {
  if ((await missingStore(options)) && !(await hasCheckpoints(options)))
    throw new InputError(`--checkpoint-dir ${options.checkpointDir}: there is no store; give the one that the daemon uses`);
  const [{ askControlPlane }, { planRecovery, recover }, place, bootId] = await load(options);
  const { tryLeaderLock } = await import('../lock/leader.ts');
  const dryRun = options.dryRun === true;
  let agreed: string | undefined;
  for (;;) {
    // A dry run changes nothing and may look while another one works.
    const lock = dryRun ? undefined : await tryLeaderLock(options.lockFile);
    if (lock === undefined && !dryRun)
      throw new Error(`a checkpointer leads on this node (${options.lockFile}) and recovers by itself; see checkpointer inspect`);
    let shown: string;
    try {
      const [api, disk, runtime] = await Promise.all([
        askControlPlane(options.kubeconfig, options.probeTimeout),
        place.disk.read(),
        listRuntime(options),
      ]);
      if (disk.state === 'unknown') throw new Error(disk.detail);
      if (runtime.state === 'unknown')
        throw new Error(
          `the container runtime does not answer (${runtime.detail}): what runs is not known, so nothing is started; start it, or see --container-runtime-endpoint`,
        );
      if (api.state === 'ok' || api.state === 'denied') {
        say(`an API server answers (${options.kubeconfig}): nothing to recover`);
        return 0;
      }
      const seen: Seen = { bootId, api, runtime, disk, byHand: true };
      const plan = planRecovery(seen);
      shown = asTable(plan);
      if (shown === agreed) {
        await makeStore(options, plan);
        return report(await recover(seen, place));
      }
      say(agreed === undefined ? `no control plane answers (${detailOf(api)})\n` : '\nit is not what it was when you were asked:\n');
      process.stdout.write(shown);
      if (plan.actions.length === 0) {
        say('nothing to do');
        return 0;
      }
      if (dryRun) return 0;
      if (options.yes === true) {
        await makeStore(options, plan);
        return report(await recover(seen, place));
      }
    } finally {
      lock?.release();
    }
    // Without the lock: it may take hours, and a checkpointer that comes meanwhile is to lead. So it is looked at again afterwards.
    if (!(await confirmed())) {
      say('nothing was done');
      return 1;
    }
    agreed = shown;
  }
}

/** Loaded here and not at the top: before the kubelet every file that is read is read from a cold disk. */
async function load({ checkpointDir, podManifestPath, bootIdFile }: RecoverOptions) {
  const [probe, boot, { createDiskSource }, { readBootId }] = await Promise.all([
    import('../recovery/probe.ts'),
    import('../recovery/boot.ts'),
    import('../sources/disk.ts'),
    import('../sources/boot.ts'),
  ]);
  const place = { checkpointDir, podManifestPath, disk: createDiskSource(checkpointDir, podManifestPath), wallClock: Date.now };
  return [probe, boot, place, await readBootId(bootIdFile)] as const;
}

/**
 * Only for what is to be stored, where there is none, or the directory that the kubelet made for a checkpointer that has never led: any other store is used
 * as it is. What keeps one from being made keeps every copy from being stored, and is said then.
 */
async function makeStore({ checkpointDir }: RecoverOptions, { actions }: RecoveryPlan): Promise<void> {
  if (!actions.some(({ kind }) => kind === 'adopt') || (await isDirectory(workloadsPath(checkpointDir)))) return;
  const { prepareStore } = await import('../checkpoint/store/layout.ts');
  await prepareStore(checkpointDir).catch(() => undefined);
}

/** Before the kubelet a lock that cannot be had at all (no flock(1), a read-only /run) is no reason to stay down: nobody can lead by it. */
async function lockWithout(path: string) {
  const { tryLeaderLock } = await import('../lock/leader.ts');
  try {
    return (await tryLeaderLock(path)) ?? 'held';
  } catch (error) {
    process.stderr.write(`warning: recovering without the leader lock: ${error instanceof Error ? error.message : String(error)}\n`);
    return undefined;
  }
}

async function listRuntime({ containerRuntimeEndpoint, runtimeRequestTimeout }: RecoverOptions): Promise<RuntimeSnapshot> {
  const { createRuntimeSource } = await import('../sources/cri/source.ts');
  const { createLog } = await import('../platform/log.ts');
  const source = createRuntimeSource({
    endpoint: containerRuntimeEndpoint,
    requestTimeoutMs: runtimeRequestTimeout,
    onEvent: () => undefined,
    log: createLog(0),
  });
  try {
    return await source.list();
  } finally {
    await source.stop();
  }
}

/** What bootkube's pod-checkpointer kept can be recovered from where nothing of ours has ever been. */
async function hasCheckpoints({ podManifestPath }: RecoverOptions): Promise<boolean> {
  const { hasTraces } = await import('../predecessor/traces.ts');
  if (!(await isDirectory(podManifestPath)) || !(await hasTraces(podManifestPath, await readdir(podManifestPath)))) return false;
  const { readPredecessor } = await import('../predecessor/read.ts');
  const found = await readPredecessor({ podManifestPath, read: readRegular, copies: new Map(), wanted: () => false });
  return found.state === 'ok' && found.checkpoints.some(({ active, inactive }) => active !== undefined || inactive);
}

async function missingStore({ checkpointDir, podManifestPath }: RecoverOptions): Promise<boolean> {
  if (!(await isDirectory(checkpointDir))) return true;
  if (!(await isDirectory(podManifestPath)))
    throw new InputError(`--pod-manifest-path ${podManifestPath}: there is no such directory; give the kubelet's staticPodPath`);
  return false;
}

/** What cannot be looked at, on a disk that fails, say, is not what is not there. */
async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false;
    throw error;
  }
}

function asTable({ actions, reports }: RecoveryPlan): string {
  const planned = Map.groupBy(actions, ({ workload: { namespace, kind, name } }) => `${namespace}/${kind}/${name}`);
  const revived = [...planned.keys()].filter((key) => ![...reports.keys()].some((known) => known === key));
  const rows = [
    ...[...reports].map(([key, { reason, message }]) => [key, planned.get(key)?.map(words).join(', ') ?? '-', reason, message]),
    ...revived.map((key) => [
      key,
      planned.get(key)?.map(words).join(', ') ?? '-',
      ...(planned.get(key)?.some(({ kind }) => kind === 'adopt')
        ? ['NothingStored', "bootkube's pod-checkpointer has kept it"]
        : ['Retired', 'it, or what serves the API, was retired last']),
    ]),
  ];
  return table(['WORKLOAD', 'DO', 'REASON', 'MESSAGE'], rows);
}

function words(action: RecoveryAction): string {
  switch (action.kind) {
    case 'activate':
      return `activate g${action.generation}-a${action.activation}`;
    case 'quarantine':
      return `quarantine g${action.generation}`;
    case 'deactivate':
      return `remove ${action.file}`;
    case 'adopt':
      return `take over bootkube's checkpoint ${action.parent.name}`;
    case 'revive':
      return `bring ${action.entry} back into use`;
  }
}

function report({ done, left, failed, warnings }: Recovered): number {
  for (const action of done) {
    const { namespace, kind, name } = action.workload;
    say(`${namespace}/${kind}/${name}: ${words(action)}${action.kind === 'quarantine' ? ` (${action.detail})` : ''}`);
  }
  for (const key of left) say(`${key}: the API server comes first; left to the daemon`);
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  for (const [key, message] of failed) process.stderr.write(`error: ${key}: ${message}\n`);
  if (done.length === 0 && left.length === 0 && failed.size === 0) say('everything that is stored is active already, or runs');
  return failed.size === 0 ? 0 : 1;
}

function detailOf(api: ApiState): string {
  return api.state === 'unreachable' || api.state === 'denied' ? api.detail : api.state;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
