/** `checkpointer pivot` and `unpivot` as processes of a real node, and what users of the API server saw at each of their steps. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { PROGRAM_PATH } from '../../support/packages.ts';
import { buildImage, install } from './checkpointer.ts';
import { eventually } from './eventually.ts';
import { makeStaticPods, withoutStaticPods } from './kubeadm.ts';
import { NODE_NAME } from './layout.ts';
import type { Machine } from './machine.ts';
import type { RealNode } from './node.ts';
import { type Seen, seenBetween } from './outages.ts';
import { dsPods, isReadyPod } from './settled.ts';
import { nodeIn } from './states.ts';

const CLI = join(import.meta.dirname, '../../../src/cli.ts');

/** Of each step; the default is made for people, and a dozen steps. */
const HEALTHY_FOR = '3s';

export interface PivotNode {
  readonly node: RealNode;
  /** Who made the static pods: `kubeadm v1.36.2`, or the harness. */
  readonly manifestsBy: string;
}

/** On, with a control plane of static pods and the checkpointer beside it: what a pivot begins with. */
export async function nodeOfStaticPods(machine: Machine, name: string): Promise<PivotNode> {
  const node = await nodeIn('static', machine, name);
  if (machine.kubeadm !== undefined) await withoutStaticPods(node);
  const archives = join(machine.directory, 'image', name);
  await rm(archives, { recursive: true, force: true });
  const image = await buildImage(archives);
  await node.powerOn();
  await eventually(() => node.inside(['ctr', 'version']).then(() => true), 30_000);
  await node.inside(['ctr', '--namespace=k8s.io', 'images', 'import', image]);
  const manifestsBy = machine.kubeadm === undefined ? 'the harness' : `kubeadm ${await makeStaticPods(node, machine.kubeadm)}`;
  await eventually(() => node.isReady, 120_000);
  await eventually(() => install(node, { overlay: 'node-identity' }).then(() => true), 60_000);
  await eventually(async () => (await dsPods(node, 'pod-checkpointer')).some(isReadyPod), 120_000);
  return { node, manifestsBy };
}

/** The static pods of the control plane, by the name of their file. */
export async function manifestsOf({ files }: RealNode): Promise<Record<string, string>> {
  const names = (await readdir(files.manifests)).filter((name) => /^kube-[a-z-]+\.(yaml|json)$/.test(name));
  return Object.fromEntries(
    await Promise.all(names.map(async (name) => [name, await readFile(join(files.manifests, name), 'utf8')] as const)),
  );
}

export type Way = 'pivot' | 'unpivot';

export interface Line {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
}

export interface Ran {
  readonly code: number | NodeJS.Signals;
  readonly lines: readonly Line[];
}

export interface Running {
  readonly ended: Promise<Ran>;
  kill(): void;
}

/** As root on the host. `from`: the static pods, where they are not kubeadm's. */
export function begin({ node }: PivotNode, way: Way, from: readonly string[], onLine: (text: string) => void = () => undefined): Running {
  const flags = [
    '--yes',
    `--healthy-for=${HEALTHY_FOR}`,
    `--node-name=${NODE_NAME}`,
    ...(way === 'pivot' && from.length > 0 ? ['--from', ...from] : []),
  ];
  const command = node.commandInside(['setpriv', '--pdeathsig=KILL', process.execPath, CLI, way, ...flags]);
  const [program = '', ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, PATH: PROGRAM_PATH } });
  const lines: Line[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on('line', (text) => {
      lines.push({ at: Date.now(), text });
      onLine(text);
    });
  return { ended: endOf(child).then((code) => ({ code, lines })), kill: () => child.kill('SIGKILL') };
}

async function endOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  return code ?? signal ?? -1;
}

/** Of a line that says that a step is begun: `[ 3/12] …`; from 1. */
export function stepOf(text: string): number | undefined {
  const found = /^\[ ?([0-9]+)\//.exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

export interface SeenAtStep extends Seen {
  readonly step: string;
  /** Of each outage. */
  readonly why: readonly string[];
}

/** What was seen while each step was under way: until the next one was begun, the last one until `to`. */
export function seenAtSteps(node: RealNode, lines: readonly Line[], to: number): SeenAtStep[] {
  const steps = lines.filter(({ text }) => stepOf(text) !== undefined);
  return steps.map(({ at, text }, i) => {
    const end = steps[i + 1]?.at ?? to;
    return { step: text, ...seenBetween(node.changes, at, end), why: whyBetween(node, at, end) };
  });
}

export function whyBetween({ changes }: RealNode, from: number, to: number): string[] {
  return changes.filter((change) => change.at >= from && change.at < to).flatMap(({ why }) => (why === undefined ? [] : [why]));
}
