/** Carries a pivot's moves out: does what a move says, waits until it is healthy, writes down where the node stands. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { dump } from 'js-yaml';
import { readStore } from '../checkpoint/store/read.ts';
import { type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { readRegular, removeDurable, replaceDurable } from '../platform/durable.ts';
import { type Cluster, ClusterError } from './cluster.ts';
import { COMPONENTS, type Component, NAMESPACE, parseStaticPod } from './component.ts';
import { type NodeFacts, SELF_HOSTED, selfHostedLabel } from './daemonset.ts';
import { describeDifference, templateDifferences } from './differences.ts';
import { type Health, healthAfter, type View } from './health.ts';
import { type Journal, type ManifestFile, readApplied, readBase, readOriginal, writeApplied, writeBase, writeJournal } from './journal.ts';
import { fromSecrets, type Wanted } from './secrets.ts';
import { sharedFile, sharedStaticPod, toStaticPod } from './static-pod.ts';
import { arrivedBy, type Move, nextMove, reversed, type Target, underWay } from './steps.ts';

const MANIFEST_LIMIT = 1024 * 1024;

export interface Timing {
  /** How long a move's pods have to stay healthy, in milliseconds. */
  readonly healthyFor: number;
  /** How long a move may take, in milliseconds. */
  readonly stepTimeout: number;
  readonly poll: number;
}

/** For people: what is done and what is waited for. */
export interface Progress {
  moving(move: Move, takenBack: boolean): void;
  waiting(what: string, sinceMs: number): void;
  done(move: Move, tookMs: number): void;
  failed(move: Move, why: string): void;
}

export interface Pivot {
  readonly checkpointDir: string;
  readonly cluster: Cluster;
  readonly node: NodeFacts;
  readonly timing: Timing;
  readonly progress: Progress;
  /** What the API server is to have of each component. */
  readonly wanted: ReadonlyMap<Component, Wanted>;
  /** Somebody wants it to stop: the move that is under way is taken back. */
  readonly stop: AbortSignal;
}

/** It did not get where it should, and stands where it was healthy last. */
export class PivotError extends Error {
  override readonly name = 'PivotError';
}

const GO_ON = 'The node is healthy as it was before this step; run it again to go on, or the other way to go back';

/** Moves the node to where it should be. Throws PivotError; then the node stands at a healthy place, or the message says that it does not. */
export async function moveTo(target: Target, begun: Journal, pivot: Pivot): Promise<void> {
  let journal: Journal = { ...begun, target };
  for (let move = nextMove(journal.place, target); move !== undefined; move = nextMove(journal.place, target)) {
    if (pivot.stop.aborted && journal.place.state === 'healthy') throw new PivotError(`stopped. ${GO_ON}`);
    try {
      journal = await carryOut(move, journal, pivot, pivot.stop, false);
    } catch (error) {
      const why = pivot.stop.aborted ? 'stopped' : asError(error).message;
      pivot.progress.failed(move, why);
      try {
        journal = await carryOut(reversed(move), journal, pivot, undefined, true);
      } catch (second) {
        throw new PivotError(
          `${why}; and what was begun could not be taken back: ${asError(second).message}. The next run goes on from here, in either direction`,
        );
      }
      throw new PivotError(`${why}. ${GO_ON}`);
    }
  }
}

async function carryOut(move: Move, journal: Journal, pivot: Pivot, stop: AbortSignal | undefined, takenBack: boolean): Promise<Journal> {
  const started = performance.now();
  const { progress, checkpointDir, timing } = pivot;
  const moving: Journal = { ...journal, place: underWay(move) };
  await writeJournal(checkpointDir, moving);
  progress.moving(move, takenBack);
  const deadline = started + timing.stepTimeout;
  await untilAnswered(() => perform(move, moving, pivot), deadline, timing.poll, stop);
  await untilHealthy(move, moving, pivot, deadline, stop);
  const done: Journal = { ...journal, place: arrivedBy(move) };
  await writeJournal(checkpointDir, done);
  progress.done(move, performance.now() - started);
  return done;
}

/** An API server that is being restarted does not answer for a moment. Doing a thing twice does no harm. */
async function untilAnswered(act: () => Promise<void>, deadline: number, poll: number, stop: AbortSignal | undefined): Promise<void> {
  for (;;) {
    stop?.throwIfAborted();
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof ClusterError) || performance.now() > deadline) throw error;
      await pause(poll, stop);
    }
  }
}

async function untilHealthy(move: Move, journal: Journal, pivot: Pivot, deadline: number, stop: AbortSignal | undefined): Promise<void> {
  const started = performance.now();
  let same: { readonly of: string; readonly since: number } | undefined;
  for (;;) {
    stop?.throwIfAborted();
    const health = await look(move, journal, pivot);
    const now = performance.now();
    if (health.state === 'waiting') same = undefined;
    else if (same?.of !== health.of) same = { of: health.of, since: now };
    if (same !== undefined && now - same.since >= pivot.timing.healthyFor) return;
    const what = health.state === 'waiting' ? health.for : `it to stay healthy for ${Math.round(pivot.timing.healthyFor / 1000)} s`;
    if (now > deadline) throw new Error(`not within ${Math.round(pivot.timing.stepTimeout / 1000)} s (--step-timeout): ${what}`);
    pivot.progress.waiting(what, now - started);
    await pause(pivot.timing.poll, stop);
  }
}

async function pause(ms: number, stop: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, stop === undefined ? {} : { signal: stop });
}

async function look(move: Move, journal: Journal, pivot: Pivot): Promise<Health> {
  const { cluster, node, checkpointDir } = pivot;
  const { component } = move.step;
  try {
    const [, pods, object, daemonSet, assigned, store, original] = await Promise.all([
      cluster.ready(),
      cluster.pods(node.name),
      cluster.node(node.name),
      cluster.daemonSet(component),
      cluster.assigned(component),
      readStore(checkpointDir),
      readOriginal(checkpointDir, journal.start, component),
    ]);
    const view: View = {
      node: node.name,
      apiTrouble: undefined,
      pods,
      nodeLabels: object?.metadata?.labels ?? {},
      daemonSet: daemonSet !== undefined,
      assigned,
      stored: store.workloads.get(workloadOf(component))?.stored,
      keptCopies: COMPONENTS.filter((one) => store.workloads.has(workloadOf(one))),
      staticName: parseStaticPod(original.toString('utf8'), component).metadata?.name ?? component,
    };
    return healthAfter(move, view);
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    return { state: 'waiting', for: `the API server (${error.message})` };
  }
}

export function workloadOf(component: Component): WorkloadKey {
  return workloadKey({ namespace: NAMESPACE, group: 'apps', kind: 'DaemonSet', name: component });
}

/** Each of these can be done again from wherever it was interrupted. */
async function perform({ step: { kind, component }, direction }: Move, journal: Journal, pivot: Pivot): Promise<void> {
  const { cluster, node } = pivot;
  const label = selfHostedLabel(component);
  switch (direction === 'there' ? kind : (`back from ${kind}` as const)) {
    case 'share':
      await putManifest(sharedManifestOf(component, journal), await sharedText(component, journal, pivot));
      return removeManifest(manifestOf(component, journal));
    case 'back from share':
      await putManifest(manifestOf(component, journal), await readBase(pivot.checkpointDir, journal.start, component));
      return removeManifest(sharedManifestOf(component, journal));
    case 'apply':
      return apply(component, journal, pivot);
    case 'back from apply':
      return takeAway(component, pivot);
    case 'assign':
      return cluster.label(node.name, label, SELF_HOSTED);
    case 'back from assign':
      return cluster.label(node.name, label, null);
    case 'withdraw':
      return removeManifest(sharedManifestOf(component, journal));
    case 'back from withdraw':
      await rememberChanges(component, journal, pivot);
      return putManifest(sharedManifestOf(component, journal), await sharedText(component, journal, pivot));
  }
}

function manifestOf(component: Component, { manifests }: Journal): ManifestFile {
  const found = manifests.find((one) => one.component === component);
  if (found === undefined) throw new Error(`the journal has no manifest of ${component}`);
  return found;
}

/**
 * A file of its own: of one that gets a pod of another name the kubelet starts that at once, and ends the old one, whose port it needs, only when it reads
 * the whole directory again (every 20 s). The new file comes first, so that a power cut between the two finds at least one.
 */
function sharedManifestOf(component: Component, journal: Journal): ManifestFile {
  const manifest = manifestOf(component, journal);
  return { ...manifest, file: sharedFile(manifest.file) };
}

/** Not written where it is what it should be: any write of it is an event for the kubelet. */
async function putManifest({ file, mode }: ManifestFile, bytes: Buffer): Promise<void> {
  const there = await readRegular(file, MANIFEST_LIMIT).catch(() => undefined);
  if (there?.equals(bytes) !== true) await replaceDurable(file, bytes, { mode, lane: 'urgent' });
}

const removeManifest = ({ file }: ManifestFile): Promise<void> => removeDurable(file, 'urgent');

async function basePod(component: Component, { start }: Journal, { checkpointDir }: Pivot): Promise<V1Pod> {
  return parseStaticPod(
    (await readBase(checkpointDir, start, component)).toString('utf8'),
    `the manifest of ${component} in ${checkpointDir}`,
  );
}

async function sharedText(component: Component, journal: Journal, pivot: Pivot): Promise<Buffer> {
  return Buffer.from(dump(sharedStaticPod(component, await basePod(component, journal, pivot)), { noRefs: true }));
}

async function apply(component: Component, journal: Journal, pivot: Pivot): Promise<void> {
  const { cluster, checkpointDir, wanted } = pivot;
  const want = wanted.get(component);
  if (want === undefined) throw new PivotError(`${component}: what to apply is not known`);
  for (const secret of want.secrets)
    if ((await cluster.secret(secret.metadata?.name ?? '')) === undefined) await cluster.createSecret(secret);
  const there = await cluster.daemonSet(component);
  if (there === undefined) return writeApplied(checkpointDir, journal.start, component, await cluster.createDaemonSet(want.daemonSet));
  const differences = templateDifferences(want.daemonSet, there);
  if (differences.length > 0)
    throw new PivotError(`DaemonSet ${component} is there already and is another one: ${differences.map(describeDifference).join('; ')}`);
  await writeApplied(checkpointDir, journal.start, component, there);
}

/** Another master's pods are made of the same DaemonSet. */
async function takeAway(component: Component, { cluster, wanted }: Pivot): Promise<void> {
  if ((await cluster.assigned(component)).length > 0) return;
  await cluster.deleteDaemonSet(component);
  for (const secret of wanted.get(component)?.secrets ?? []) await cluster.deleteSecret(secret.metadata?.name ?? '');
}

/**
 * What to put back: the original byte for byte, unless the DaemonSet is another one than it was made. Without an answer (it is put back because the API server
 * does not run, say) what was to be put back last.
 */
async function rememberChanges(component: Component, { start }: Journal, { checkpointDir, cluster, node }: Pivot): Promise<void> {
  const [now, applied] = [await cluster.daemonSet(component).catch(() => undefined), await readApplied(checkpointDir, start, component)];
  if (now === undefined) return;
  const original = await readOriginal(checkpointDir, start, component);
  if (applied !== undefined && isSame(applied as V1DaemonSet, now)) return writeBase(checkpointDir, start, component, original);
  const pod = parseStaticPod(original.toString('utf8'), component);
  const back = toStaticPod(component, pod, fromSecrets(component, pod, now), node);
  await writeBase(checkpointDir, start, component, Buffer.from(dump(back, { noRefs: true })));
}

function isSame(one: V1DaemonSet, other: V1DaemonSet): boolean {
  return templateDifferences(one, other).length === 0 && templateDifferences(other, one).length === 0;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
