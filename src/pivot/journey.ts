/** What `pivot` and `unpivot` do from their first look to their last word: begin, go on, go back. Everything decided is elsewhere in this directory. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Check } from '../inspect/doctor/checks.ts';
import { isReady, nodeFacts, pivotChecks } from './checks.ts';
import type { NodeFacts } from './daemonset.ts';
import { deploy, deployables } from './deploy.ts';
import type { Pivot, Progress, Timing } from './execute.ts';
import { gatherForPivot, isCheckpointerReady, readAll } from './gather.ts';
import { remember } from './history.ts';
import { type Credentials, type Journal, readJournal, snapshotDir, writeJournal, writeSnapshot } from './journal.ts';
import { takeLease } from './lease.ts';
import { preview } from './preview.ts';
import { type Resumed, resumed } from './resume.ts';
import { credentialFiles, credentialsSecret, rotatedFiles } from './secrets.ts';
import { alone, type Session, travel, untilReady } from './session.ts';
import { describeMove, isThere, nextMove, STEPS } from './steps.ts';

const POLL = 500;

export interface JourneyOptions {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly nodeName: string;
  readonly healthyFor: number;
  readonly stepTimeout: number;
}

export interface PivotOptions extends JourneyOptions {
  readonly from: readonly string[];
  readonly credentials: Credentials;
  /** The checkpointer's manifest, where it may have to be deployed. */
  readonly deploy?: string;
}

/** How the person is told, and asked. */
export interface Voice {
  say(text: string): void;
  /** What the checks found, before anything else. */
  checked(checks: readonly Check[]): void;
  /** False: it is not wanted. */
  ask(question: string): Promise<boolean>;
  readonly progress: Progress;
}

/** `notReady`: a check failed and nothing was changed. `unwanted`: neither. */
export type Outcome =
  | { readonly kind: 'arrived'; readonly credentials: Credentials }
  | { readonly kind: 'already' | 'notReady' | 'unwanted' };

/** Throws PivotError and what else keeps it from arriving. */
export async function pivot(options: PivotOptions, session: Session, voice: Voice): Promise<Outcome> {
  const { checkpointDir } = options;
  const before = await readJournal(checkpointDir);
  if (before !== undefined && isThere(before.place, 'self-hosted')) return { kind: 'already' };
  if (before !== undefined && !isThere(before.place, 'static')) return alone(checkpointDir, () => goOn(options, session, before, voice));
  return begin(options, session, voice);
}

/** The checks, the snapshot, the way. */
async function begin(options: PivotOptions, session: Session, voice: Voice): Promise<Outcome> {
  const { checkpointDir, credentials } = options;
  const gathered = await gather(options, session);
  const checks = pivotChecks(gathered.facts);
  voice.checked(checks);
  const node = gathered.node === undefined ? undefined : nodeFacts(gathered.node);
  if (!isReady(checks) || node === undefined) return { kind: 'notReady' };
  if (!(await voice.ask(`Make the control plane of ${node.name} self-hosted?`))) return { kind: 'unwanted' };
  return alone(checkpointDir, async () => {
    await takeLease(session.cluster, node.name, new Date());
    if (gathered.facts.checkpointer === 'to be deployed') await deployCheckpointer(options, session, voice);
    const start = new Date().toISOString().replaceAll(/[:.]/g, '-');
    const originals = new Map(gathered.manifests.map(({ component, bytes }) => [component, bytes] as const));
    await writeSnapshot(checkpointDir, start, originals, { node: gathered.node, daemonSets: gathered.daemonSets });
    const journal: Journal = {
      node: node.name,
      start,
      target: 'self-hosted',
      place: { state: 'healthy', done: 0 },
      manifests: gathered.manifests.map(({ component, file, mode }) => ({ component, file, mode })),
      credentials,
    };
    await writeJournal(checkpointDir, journal);
    await remember(checkpointDir, `a pivot begins; everything as it was is in ${snapshotDir(checkpointDir, start)}`);
    await travel('self-hosted', journal, traveller(options, session, node, gathered.wanted, voice));
    return { kind: 'arrived', credentials };
  });
}

/** One that was interrupted, or that failed and stands between its ends. */
async function goOn(options: PivotOptions, session: Session, journal: Journal, voice: Voice): Promise<Outcome> {
  voice.say(`A pivot of ${journal.start} goes on.\n`);
  await untilReady(session, voice.progress, options.stepTimeout);
  const { node, wanted, refusals } = await resumed(session, options.checkpointDir, journal);
  const [refusal] = refusals;
  if (refusal !== undefined)
    throw new Error(`${refusal.component}: ${refusal.what}: ${refusal.message}; go back with checkpointer unpivot`);
  await travel('self-hosted', journal, traveller(options, session, node, wanted, voice));
  return { kind: 'arrived', credentials: journal.credentials };
}

/** `unknown`: this node never began a pivot. */
export async function unpivot(
  options: JourneyOptions,
  session: Session,
  voice: Voice,
): Promise<'arrived' | 'already' | 'unknown' | 'unwanted'> {
  const { checkpointDir, stepTimeout } = options;
  const journal = await readJournal(checkpointDir);
  if (journal === undefined) return 'unknown';
  if (isThere(journal.place, 'static')) return 'already';
  return alone(checkpointDir, async () => {
    await untilReady(session, voice.progress, stepTimeout);
    const { node, wanted, manifests } = await resumed(session, checkpointDir, journal);
    if (journal.credentials === 'secrets') await expectSameFiles(session, manifests);
    if (!(await voice.ask(`Bring the static pods of ${node.name} back?`))) return 'unwanted';
    await remember(checkpointDir, `the way back of the pivot of ${journal.start} begins`);
    await travel('static', journal, traveller(options, session, node, wanted, voice));
    return 'arrived';
  });
}

/** What a pivot would do, and what is in its way. */
export async function show(
  options: PivotOptions,
  session: Session,
  as: 'table' | 'yaml' | 'diff',
): Promise<{ readonly text: string; readonly ready: boolean }> {
  const journal = await readJournal(options.checkpointDir);
  if (journal === undefined || isThere(journal.place, 'static')) return preview(await gather(options, session), as);
  const move = nextMove(journal.place, 'self-hosted');
  if (move === undefined) return { text: 'This node is self-hosted already.\n', ready: true };
  const left = STEPS.flatMap((step, index) =>
    index < move.index ? [] : [`${String(index + 1).padStart(2)}. ${describeMove({ ...move, step, index })}\n`],
  );
  return { text: `A pivot of ${journal.start} would go on:\n${left.join('')}`, ready: true };
}

function gather(options: PivotOptions, { cluster, kubeconfig }: Session) {
  return gatherForPivot(cluster, kubeconfig, { ...options, deploys: options.deploy !== undefined });
}

function traveller(
  { checkpointDir, healthyFor, stepTimeout }: JourneyOptions,
  { cluster, stop }: Session,
  node: NodeFacts,
  wanted: Pivot['wanted'],
  { progress }: Voice,
): Pivot {
  const timing: Timing = { healthyFor, stepTimeout, poll: POLL };
  return { checkpointDir, cluster, node, timing, wanted, stop, progress };
}

async function deployCheckpointer(
  { deploy: file, nodeName, stepTimeout }: PivotOptions,
  { client, cluster, stop }: Session,
  voice: Voice,
): Promise<void> {
  if (file === undefined) return;
  const made = await deploy(client, deployables(await readFile(file, 'utf8'), file), stop);
  voice.say(`deployed: ${made.join(', ') || 'nothing was missing'}\n`);
  for (const started = performance.now(); !isCheckpointerReady(await cluster.pods(nodeName)); ) {
    const waited = performance.now() - started;
    if (waited > stepTimeout) throw new Error('the checkpointer that was deployed is not Ready: see kubectl -n kube-system get pods');
    voice.progress.waiting('the checkpointer to be Ready', waited);
    await sleep(POLL, undefined, { signal: stop });
  }
}

/** The static pods will use the files again, which know nothing of what was changed in the Secrets. */
async function expectSameFiles({ cluster }: Session, manifests: Resumed['manifests']): Promise<void> {
  for (const { component, pod } of manifests) {
    const files = credentialFiles(component, pod);
    const secret = credentialsSecret(component);
    const rotated = rotatedFiles(files, await readAll(files.map(({ path }) => path)), await cluster.secret(secret));
    if (rotated.length > 0)
      throw new Error(
        `Secret kube-system/${secret} was changed since: first write ${rotated.map(({ key, path }) => `its ${key} to ${path}`).join(', ')}`,
      );
  }
}
