/**
 * Taking over from bootkube's pod-checkpointer. Who decides here holds the lock that it works under, so it does not work; what it left is data.
 *
 *  - **Adopt.** Of a workload that nothing is proven of, its checkpoint becomes a generation of ours, proven: it is what the node would have run. Whatever
 *    happens next, a power cut in the midst of the migration too, the other rules then have something to go by. What nobody is known to want is adopted only
 *    where the checkpoint can be removed afterwards: else it would come back each time that its workload was retired.
 *  - **Its active copy is the copy in place** (generation and activation 0, see `observe`): it runs on, and yields to its parent, or to a copy of ours where
 *    it does not run, by the rules that hold for ours. Nothing is started beside it. One whose workload we have no copy of is left alone.
 *  - **Clear.** A checkpoint goes when its parent has run with the very copy that is proven for `--prove-after`, or when its workload was retired.
 *  - **Its copy of itself** goes once the API server has confirmed that its pod is gone (its DaemonSet is deleted) and a copy of ours would lead after the
 *    next boot. Before that it would only be written again.
 *
 * Nothing is removed without an API server that answers, and nothing while this checkpointer leaves the node.
 */
import type { Memory } from '../checkpoint/memory.ts';
import type { Action, Millis, Observation, Policy, Predecessor, PredecessorCheckpoint } from '../checkpoint/model.ts';
import { digestOfParent } from '../checkpoint/parents.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';

export interface TakeOver {
  readonly actions: readonly Action[];
  readonly wakeAt: Millis | undefined;
  /** When the API server was last asked for the pod of the predecessor's copy of itself. */
  readonly askedAt: Millis | undefined;
  /** What of it is still there, and what that waits for. By workload; no times in it. */
  readonly waits: ReadonlyMap<WorkloadKey, string>;
}

const NOTHING: TakeOver = { actions: [], wakeAt: undefined, askedAt: undefined, waits: new Map() };

interface Given {
  readonly observation: Observation;
  readonly predecessor: Predecessor;
  readonly memory: Memory;
  readonly policy: Policy;
}

/** What becomes of one checkpoint now. */
type Fate =
  | { readonly kind: 'act'; readonly action: Action; readonly says: string }
  | { readonly kind: 'wait'; readonly says: string; readonly wakeAt?: Millis };

export function takeOver(observation: Observation, memory: Memory, policy: Policy, leaving: boolean): TakeOver {
  const { predecessor } = observation;
  if (predecessor === undefined) return NOTHING;
  if (leaving) return { ...NOTHING, waits: waitsOf(predecessor.checkpoints.map((one) => [one, LEAVES])) };
  const given: Given = { observation, predecessor, memory, policy };
  const adopted = adoptions(given);
  const fates = predecessor.checkpoints.map((checkpoint): [PredecessorCheckpoint, Fate] => [
    checkpoint,
    adopted.get(checkpoint) ?? fateOf(given, checkpoint),
  ]);
  const actions = fates.flatMap(([, fate]) => (fate.kind === 'act' ? [fate.action] : []));
  const tidying: Action[] =
    predecessor.checkpoints.length === 0 && predecessor.empty.length > 0
      ? [{ kind: 'tidyPredecessor', directories: predecessor.empty }]
      : [];
  const times = fates.flatMap(([, fate]) => (fate.kind === 'wait' && fate.wakeAt !== undefined ? [fate.wakeAt] : []));
  const asks = actions.some(({ kind }) => kind === 'confirmAbsence');
  return {
    actions: [...actions, ...tidying],
    wakeAt: times.length === 0 ? undefined : Math.min(...times),
    askedAt: asks ? observation.now : memory.predecessorAskedAt,
    waits: waitsOf(fates.map(([checkpoint, { says }]) => [checkpoint, says])),
  };
}

const LEAVES = "what bootkube's pod-checkpointer kept of it stays: this checkpointer leaves the node";

function waitsOf(said: readonly (readonly [PredecessorCheckpoint, string])[]): TakeOver['waits'] {
  return new Map(said.flatMap(([{ workload }, says]) => (workload === undefined ? [] : [[workloadKey(workload), says] as const])));
}

function fateOf(given: Given, checkpoint: PredecessorCheckpoint): Fate {
  if (checkpoint.isCheckpointer) return ofItself(given, checkpoint);
  const { workload } = checkpoint;
  return workload !== undefined && workloadKey(workload) === given.observation.self
    ? ofThisOne(given, checkpoint)
    : ofWorkload(given, checkpoint);
}

/** One of each workload: what runs, or else what the API server still knows, goes before what it merely kept. */
function adoptions({ observation, predecessor }: Given): ReadonlyMap<PredecessorCheckpoint, Fate> {
  const { workloads, retired = [], self } = observation;
  const chosen = new Map<WorkloadKey, readonly [PredecessorCheckpoint, Fate]>();
  const rank = ({ active, listed }: PredecessorCheckpoint) => (active === undefined ? 0 : 2) + (listed === true ? 1 : 0);
  for (const checkpoint of predecessor.checkpoints.toSorted((a, b) => rank(b) - rank(a))) {
    const { workload, copy, isCheckpointer } = checkpoint;
    if (workload === undefined || isCheckpointer || copy?.kind !== 'copy') continue;
    const key = workloadKey(workload);
    const known = workloads.get(key);
    if (key === self || chosen.has(key) || known?.stored?.proven !== undefined || known?.stored?.failing.has(copy.copy.digest)) continue;
    if (retired.some((one) => workloadKey(one.workload) === key)) continue;
    if (known?.parent.state !== 'present' && !predecessor.removable) continue;
    const action: Action = { kind: 'adopt', workload, copy: copy.copy, parent: { name: checkpoint.name, uid: checkpoint.uid } };
    chosen.set(key, [checkpoint, { kind: 'act', action, says: `bootkube's checkpoint ${nameOf(checkpoint)} becomes a copy of ours` }]);
  }
  return new Map(chosen.values());
}

function ofWorkload(given: Given, checkpoint: PredecessorCheckpoint): Fate {
  const { observation, predecessor } = given;
  const what = `bootkube's checkpoint ${nameOf(checkpoint)}`;
  if (checkpoint.active !== undefined) {
    const stored = checkpoint.workload && observation.workloads.get(workloadKey(checkpoint.workload))?.stored;
    const next = stored === undefined ? 'it is left alone: there is no copy of ours' : 'it leaves as a copy of ours would';
    return { kind: 'wait', says: `${what} runs (${checkpoint.active}): ${next}` };
  }
  if (observation.api.state !== 'ok') return { kind: 'wait', says: `${what} is kept: the API server does not answer` };
  const settled = settledAt(given, checkpoint);
  if (settled === undefined) return { kind: 'wait', says: `${what} is kept until the copy of its pod is proven and the pod is Ready` };
  if (observation.now < settled) return { kind: 'wait', says: `${what} is kept until its pod has been Ready for a while`, wakeAt: settled };
  if (!predecessor.removable)
    return { kind: 'wait', says: `${what} is not needed any more, and its directory cannot be written to from here: remove it by hand` };
  return { kind: 'act', action: clear(checkpoint, true), says: `${what} is not needed any more: it is removed` };
}

/** Since when nothing needs it; undefined while something may. */
function settledAt({ observation, predecessor, memory, policy }: Given, checkpoint: PredecessorCheckpoint): Millis | undefined {
  const { workloads, retired = [], now } = observation;
  const { workload } = checkpoint;
  // Files without a manifest: of no use to anybody but one that is still there and was not read.
  if (workload === undefined)
    return !checkpoint.inactive && predecessor.checkpoints.every(({ active, inactive }) => active === undefined && !inactive)
      ? now
      : undefined;
  const key = workloadKey(workload);
  const known = workloads.get(key);
  if (known === undefined) return retired.some((one) => workloadKey(one.workload) === key) ? now : undefined;
  const ready = memory.workloads.get(key)?.ready;
  const proven = known.stored?.proven === undefined ? undefined : known.stored.generations.get(known.stored.proven);
  if (proven === undefined || known.active.length > 0 || digestOfParent(known) !== proven.digest || ready?.digest !== proven.digest)
    return undefined;
  return ready.since + policy.proveAfter;
}

/** While this checkpointer waited beside it, that one made a copy of its pod, too. This one has better. */
function ofThisOne({ observation, predecessor }: Given, checkpoint: PredecessorCheckpoint): Fate {
  const what = `bootkube's checkpoint ${nameOf(checkpoint)} of this checkpointer`;
  if (observation.api.state !== 'ok' || !wouldLead(observation)) return { kind: 'wait', says: `${what} stays until its own copy runs` };
  if (checkpoint.active === undefined && !predecessor.removable)
    return { kind: 'wait', says: `${what} is not needed any more, and its directory cannot be written to from here: remove it by hand` };
  return { kind: 'act', action: clear(checkpoint, predecessor.removable), says: `${what} is not needed any more: it is removed` };
}

/** Its pods wait for the lock that is held here. What matters is that it does not come first after the next boot. */
function ofItself(given: Given, checkpoint: PredecessorCheckpoint): Fate {
  const { observation, predecessor, memory, policy } = given;
  const { api, now, absences, kubelet } = observation;
  const what = `bootkube's pod-checkpointer (${nameOf(checkpoint)})`;
  if (api.state !== 'ok') return { kind: 'wait', says: `${what} stays: the API server does not answer` };
  if (checkpoint.listed === true) return { kind: 'wait', says: `${what} is still wanted on this node: delete its DaemonSet` };
  if (!wouldLead(observation)) return { kind: 'wait', says: `${what} stays until the checkpointer's own copy runs` };
  if (kubelet.state === 'free') return { kind: 'wait', says: `${what} stays: no kubelet holds its lock` };
  if (checkpoint.uid === '' || absences.get(checkpoint.uid) === 'gone') {
    if (checkpoint.uid === '' && checkpoint.active !== undefined)
      return { kind: 'wait', says: `${what} does not say which pod it is of: remove ${checkpoint.active} by hand` };
    if (checkpoint.active !== undefined || predecessor.removable)
      return { kind: 'act', action: clear(checkpoint, predecessor.removable), says: `${what} is gone from the API: its files are removed` };
    return { kind: 'wait', says: `${what} is gone, and its directory cannot be written to from here: remove it by hand` };
  }
  const askAt = memory.predecessorAskedAt === undefined ? now : memory.predecessorAskedAt + policy.checkpointGracePeriod;
  const says = `${what}: asking the API server whether its pod is really gone`;
  if (now < askAt) return { kind: 'wait', says, wakeAt: askAt };
  const { name, uid } = checkpoint;
  return { kind: 'act', action: { kind: 'confirmAbsence', workload: subjectOf(checkpoint), pod: { name, uid } }, says };
}

/**
 * After the next boot, in the place of bootkube's: a unit on the host, or the checkpointer's own copy, which is active and runs, be it that it waits, or is
 * proven. After a power cut it is the copy that leads, and then nothing proves it: the DaemonSet's pod waits.
 */
function wouldLead({ self, workloads }: Observation): boolean {
  if (self === undefined) return true;
  const own = workloads.get(self);
  if (own === undefined || own.active.length === 0) return false;
  return (
    own.stored?.proven !== undefined ||
    own.copyPods.some(({ up, activation }) => up && own.active.some((one) => one.activation === activation))
  );
}

function clear(checkpoint: PredecessorCheckpoint, whole: boolean): Action {
  const { namespace, name, active } = checkpoint;
  return { kind: 'clearPredecessor', workload: subjectOf(checkpoint), pod: { namespace, name }, active, whole };
}

/** Whose it is, or a name for the pod itself. */
const subjectOf = ({ workload, namespace, name }: PredecessorCheckpoint): Workload =>
  workload ?? { namespace, group: '', kind: 'Pod', name };

const nameOf = ({ namespace, name }: PredecessorCheckpoint): string => `${namespace}/${name}`;
