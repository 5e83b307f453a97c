/** What bootkube's pod-checkpointer left, joined with what the API server and the container runtime say. Pure. */
import type { V1Pod } from '@kubernetes/client-node';
import { CHECKPOINT_OF, CONFIG_SOURCE, WORKLOAD } from '../checkpoint/annotations.ts';
import { type ActiveManifest, OF_PREDECESSOR, type Predecessor, type PredecessorCheckpoint } from '../checkpoint/model.ts';
import { ownsPodName, type Workload, type WorkloadKey, workloadKey, workloadOf } from '../checkpoint/workload.ts';
import type { ApiSnapshot, Sandbox } from '../sources/snapshots.ts';
import type { FoundCheckpoint, PredecessorSnapshot } from './read.ts';

export function joinPredecessor(
  found: PredecessorSnapshot | undefined,
  api: Pick<ApiSnapshot, 'state' | 'pods'>,
  known: ReadonlyMap<WorkloadKey, Workload>,
): Predecessor | undefined {
  if (found?.state !== 'ok') return undefined;
  const { checkpoints, removable, empty } = found;
  return { removable, empty, checkpoints: checkpoints.map((one) => joined(one, api, known)) };
}

function joined(
  found: FoundCheckpoint,
  api: Pick<ApiSnapshot, 'state' | 'pods'>,
  known: ReadonlyMap<WorkloadKey, Workload>,
): PredecessorCheckpoint {
  const { key, isOfOurs: _isOfOurs, ...rest } = found;
  const answers = api.state.state === 'ok';
  const pod = answers && rest.uid !== '' ? api.pods.get(rest.uid) : undefined;
  const workload = rest.workload ?? (key === undefined ? undefined : known.get(key));
  const real = pod === undefined ? workload : ownerIn(pod, workload);
  return {
    ...rest,
    workload: real,
    // A copy has the name of its workload: where the labels misled, it is not the right one.
    copy: key !== undefined && real !== undefined && workloadKey(real) === key ? rest.copy : undefined,
    listed: answers ? pod !== undefined : undefined,
  };
}

/** The API server knows whose pod it is. */
function ownerIn(pod: V1Pod, guessed: Workload | undefined): Workload {
  const workload = workloadOf(pod);
  return guessed !== undefined && workloadKey(guessed) === workloadKey(workload) ? guessed : workload;
}

/** Those of a workload. The checkpointer's own is not among them: ours and its have one name, and nothing else in common. */
export function checkpointsOf(
  predecessor: Predecessor | undefined,
  key: WorkloadKey,
  self: WorkloadKey | undefined,
): PredecessorCheckpoint[] {
  if (predecessor === undefined || key === self) return [];
  return predecessor.checkpoints.filter(({ workload, isCheckpointer }) => !isCheckpointer && workload && workloadKey(workload) === key);
}

/** Its manifests in the kubelet's directory are copies in place of the parent, as ours are. */
export function activeOf(checkpoints: readonly PredecessorCheckpoint[]): ActiveManifest[] {
  return checkpoints.flatMap(({ active, holdsHostPort }) =>
    active === undefined
      ? []
      : [{ file: active, generation: OF_PREDECESSOR, activation: OF_PREDECESSOR, ...(holdsHostPort && { holdsHostPort: true as const }) }],
  );
}

/** A static pod of its, of this workload. While a manifest is active, of that one; else also what still runs without one. */
export function isItsCopy(
  { namespace, annotations }: Sandbox,
  workload: Workload,
  checkpoints: readonly PredecessorCheckpoint[],
  { checkpoints: all }: Predecessor,
): boolean {
  const of = annotations[CHECKPOINT_OF];
  if (of === undefined || annotations[WORKLOAD] !== undefined || annotations[CONFIG_SOURCE] === 'api') return false;
  if (namespace !== workload.namespace) return false;
  const active = checkpoints.filter((one) => one.active !== undefined);
  if (active.length > 0) return active.some(({ name }) => name === of);
  // The kubelet runs it for a manifest of which it cannot be told whose it is: it is not left over, and is left alone.
  if (all.some((one) => one.active !== undefined && one.namespace === namespace && one.name === of)) return false;
  return checkpoints.some(({ name }) => name === of) || ownsPodName(workload, of);
}
