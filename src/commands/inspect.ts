/** `checkpointer inspect`: what is protected on this node, and what a power cut now would leave. Reads only; needs neither API server nor daemon. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import type { WorkloadDetail } from '../inspect/detail.ts';
import { WARN_BEFORE, type WarnBefore } from '../inspect/foresight/expiry.ts';
import type { GatherOptions } from '../inspect/gather.ts';
import type { Inspection } from '../inspect/report.ts';
import { bootIdFileFlag, DEFAULT_KUBECONFIG, DEFAULT_RUNTIME_ENDPOINT, kubeletLockFileFlag, lockFileFlag } from './host-options.ts';
import { addStoreFlags, durationFlag, flag, parsedBy, parseKubernetesService } from './options.ts';

/** A verdict is not `recovers`. */
const EXIT_NOT_RECOVERED = 3;
/** Between two looks of --watch, in milliseconds. */
const WATCH_EVERY = 2_000;

interface InspectOptions extends GatherOptions {
  readonly output: 'table' | 'wide' | 'json' | 'yaml';
  readonly watch?: true;
  readonly warnBefore: WarnBefore;
  readonly secretEnv: 'refuse' | 'inline';
  readonly kubernetesService?: string;
}

export function inspectCommand(): Command {
  return addStoreFlags(new Command('inspect'))
    .argument('[workload]', 'only this one, from close by: namespace/Kind/name, Kind/name or name')
    .description('Show what is protected on this node, how, and what would come back after a power cut now.')
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['table', 'wide', 'json', 'yaml']).default('table'))
    .addOption(new Option('-w, --watch', 'look again every 2 s and print what changed, in place on a terminal'))
    .addOption(
      flag('--warn-before <duration,percent>', 'warn of what ends within this time and share of its life')
        .argParser(parsedBy(parseWarnBefore))
        .default(WARN_BEFORE, '30d,20%'),
    )
    .addOption(flag('--kubeconfig <file>', 'whose API server is asked whether it answers').default(DEFAULT_KUBECONFIG))
    .addOption(durationFlag('--probe-timeout <duration>', 'how long it is asked at the most; 0 does not ask', '1s'))
    .addOption(lockFileFlag())
    .addOption(kubeletLockFileFlag())
    .addOption(flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime').default(DEFAULT_RUNTIME_ENDPOINT))
    .addOption(durationFlag('--runtime-request-timeout <duration>', 'how long the runtime is asked at the most', '1s'))
    .addOption(flag('--kubelet-config <file>', "the kubelet's configuration; by default what its command line names"))
    .addOption(flag('--host-root <dir>', "where the host's file system is; by default it is found where it can be seen"))
    .addOption(flag('--self <namespace/kind/name>', "the daemon's own workload, where it runs as one"))
    .addOption(flag('--secret-env <policy>', 'as for run').choices(['refuse', 'inline']).default('refuse').hideHelp())
    .addOption(flag('--kubernetes-service <host:port>', 'as for run').hideHelp())
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
Nothing is changed, and no lock file is opened: it may be run at any time, as root on the node or in the container.

Exit codes: 0 everything recovers; 3 something does not, or there is a warning; 1 it failed; 2 bad input.

Examples:
  checkpointer inspect
  checkpointer inspect kube-apiserver
  checkpointer inspect -o json | jq '.workloads[] | select(.powerCut.verdict != "recovers")'`,
    )
    .action(inspect);
}

async function inspect(workload: string | undefined, options: InspectOptions): Promise<void> {
  if (options.watch === true) return watch(workload, options);
  const { text, report } = await look(workload, options);
  process.stdout.write(text);
  if (report.verdict !== 'recovers') process.exitCode = EXIT_NOT_RECOVERED;
}

interface Look {
  readonly report: Inspection;
  readonly text: string;
}

async function look(given: string | undefined, options: InspectOptions): Promise<Look> {
  const [{ gather }, { inspection }, { keysOf }, { resolveWorkload }] = await Promise.all([
    import('../inspect/gather.ts'),
    import('../inspect/report.ts'),
    import('../inspect/power-cut.ts'),
    import('../inspect/detail.ts'),
  ]);
  const facts = await gather(options, (key) => given !== undefined && key.endsWith(given.slice(given.lastIndexOf('/') + 1)));
  const report = inspection(facts, options.warnBefore);
  if (given === undefined) return { report, text: await print(report, undefined, options) };
  const key = resolveWorkload(keysOf(facts), given);
  const own = report.workloads.filter(({ workload }) => workload === key);
  const { readDetail } = await import('../inspect/read-detail.ts');
  const detail = await readDetail(facts, key, own[0]?.parent.name, { ...options, kubernetesService: service(options) });
  // What the verdict is about is the one that was asked for.
  const one = { ...report, verdict: own[0]?.powerCut.verdict ?? report.verdict, workloads: own, retired: [] };
  return { report: one, text: await print(one, detail, options) };
}

function service({ kubernetesService }: InspectOptions) {
  return kubernetesService === undefined ? undefined : parseKubernetesService(kubernetesService);
}

async function print(report: Inspection, detail: WorkloadDetail | undefined, { output }: InspectOptions): Promise<string> {
  const document = detail === undefined ? report : { ...report, detail };
  if (output === 'json') return `${JSON.stringify(document, undefined, 2)}\n`;
  if (output === 'yaml') return (await import('js-yaml')).dump(JSON.parse(JSON.stringify(document)), { lineWidth: -1, noRefs: true });
  const { ANSI, PLAIN, renderInspection, wantsColour } = await import('../inspect/render.ts');
  const colour = wantsColour(process.stdout.isTTY === true, process.env) ? ANSI : PLAIN;
  const [own] = report.workloads;
  if (detail === undefined || own === undefined) return renderInspection(report, output === 'wide', colour);
  const { renderDetail } = await import('../inspect/render-detail.ts');
  return renderDetail(own, detail, Date.parse(report.at), colour);
}

/** Until SIGINT or SIGTERM. On a terminal in place, and ages count on; elsewhere once for each change. */
async function watch(workload: string | undefined, options: InspectOptions): Promise<void> {
  const ended = new AbortController();
  // Not once(): signal-exit (of proper-lockfile) ends the process by the signal as soon as it finds its own listener alone.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => ended.abort());
  const terminal = process.stdout.isTTY === true;
  let before: string | undefined;
  while (!ended.signal.aborted) {
    const { report, text } = await look(workload, options);
    // What is free on the disk is another number at each look.
    const store = { ...report.node.store, freeBytes: undefined };
    const now = JSON.stringify({ ...report, at: undefined, node: { ...report.node, store } });
    // CSI H, CSI 2J: to the first line, and nothing below it.
    if (terminal) process.stdout.write(`\x1b[H\x1b[2J${text}`);
    else if (now !== before) process.stdout.write(before === undefined ? text : `\n${text}`);
    before = now;
    process.exitCode = report.verdict === 'recovers' ? 0 : EXIT_NOT_RECOVERED;
    await sleep(WATCH_EVERY, undefined, { signal: ended.signal }).catch(() => undefined);
  }
}

/** `30d,20%`: the shorter of the two counts. Days are what certificates are counted in. */
export function parseWarnBefore(text: string): WarnBefore {
  const match = /^([0-9]{1,4})(d|h)(?:,([0-9]{1,2}|100)%)?$/.exec(text.trim());
  if (match === null) throw new InvalidArgumentError(`"${text}" is not a time and a share, such as 30d,20%.`);
  const time = Number(match[1]) * (match[2] === 'd' ? 86_400_000 : 3_600_000);
  return { time, share: match[3] === undefined ? WARN_BEFORE.share : Number(match[3]) / 100 };
}
