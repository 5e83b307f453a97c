/** What a rule says about one workload. */
import type { WorkloadMemory } from './memory.ts';
import type { Action, Millis, Observation, Policy, WorkloadObservation } from './model.ts';
import type { StoreFailure } from './store/errors.ts';

/** Why a workload is in the state it is in. CamelCase and stable: operators search for these. */
export type Reason =
  /** Rule 0: the container runtime did not answer; nothing is started or stopped. */
  | 'RuntimeUnknown'
  /** No kubelet holds its lock, or it changes hands: nothing is yielded or retired. */
  | 'KubeletAway'
  /** The API server has not answered yet since the daemon started. */
  | 'ApiUnknown'
  /** The parent runs and a proven copy of what it is lies in the store. */
  | 'Protected'
  /** The parent runs; its copy is stored and not proven yet. */
  | 'Saved'
  /** A pod of this workload has just been seen; its copy is being written. */
  | 'Saving'
  /** The store did not take a change (see store/errors.ts): what it held before is whole, and the change is tried again. */
  | StoreFailure
  /** Secrets or ConfigMaps of the pod have not been read (yet). */
  | 'WaitingForObjects'
  /** The API server denies the checkpointer a Secret, ConfigMap or token of the pod (401, 403). */
  | 'ObjectsDenied'
  /** No copy can be made of the pod. */
  | 'Refused'
  /** The parent is down; the time before its copy is activated runs. */
  | 'ParentDown'
  /** The parent is down and does nothing without an API server, which is brought back first. */
  | 'ApiServerFirst'
  /** The parent is down and there is no copy that could take its place. */
  | 'NothingToActivate'
  | 'Activating'
  /** The copy runs in place of the parent. */
  | 'Active'
  /** Somebody changed the active copy's manifest: its generation is activated anew. */
  | 'ManifestEdited'
  /** The API server has the parent again; the copy stays until the parent has a container, or its turn. */
  | 'YieldPending'
  /** The parent crashes with another spec than the proven one, which takes its place. */
  | 'RolledBack'
  /** The copy runs; the parent's spec is marked failing and gets no other chance until it changes or a person clears the mark. */
  | 'FailingSpec'
  /** The owner wants a pod here and has no Ready one anywhere: the copy bridges that. */
  | 'Orphaned'
  /** The owner wants a pod here; one is waited for. */
  | 'ParentAwaited'
  /** The kubelet made no sandbox for the active copy: it gets another manifest. */
  | 'Reissuing'
  /** The kubelet runs none of the manifests that it got of the copy. */
  | 'CopyRefused'
  /** The active copy has a sandbox and no container. */
  | 'CopyNotStarting'
  /** The active copy's containers crash. */
  | 'CopyCrashing'
  /** The kubelet refuses the parent of the active copy at admission: what was waited for does not come by itself. */
  | 'ParentRejected'
  /** Copy and parent run side by side until the parent has been up long enough. */
  | 'Overlap'
  | 'Yielding'
  /** The copy is gone, the parent has to come up before the deadline. */
  | 'Trial'
  | 'TrialFailed'
  /** The API server has no such pod any more; the grace period runs. */
  | 'ParentAbsent'
  /** The grace period is over and the API server has not confirmed that the pod is gone. */
  | 'AbsenceUnconfirmed'
  /** The parent is gone, but its copy may be the only API server. */
  | 'KeptServingApi'
  | 'Retiring'
  /** The checkpointer's own copy. */
  | 'SelfActive'
  /** A new version of the checkpointer gets the lead, to show that it works. */
  | 'SteppingDown'
  /** The checkpointer's DaemonSet is gone; it leaves when the other workloads have. */
  | 'Leaving';

export interface Verdict {
  readonly reason: Reason;
  /** A sentence for people. */
  readonly message: string;
  readonly actions?: readonly Action[];
  /** Something may change by itself at this time, or at any moment in the runtime. */
  readonly wakeAt?: Millis;
  readonly flux?: boolean;
  readonly memory?: WorkloadMemory;
}

/** What the rules of one workload look at. */
export interface Case {
  readonly observation: Observation;
  readonly policy: Policy;
  readonly workload: WorkloadObservation;
  readonly memory: WorkloadMemory;
  readonly apiUnreachableSince: Millis | undefined;
  /** The workload may give its active copy's place to the parent now; one workload at a time may. */
  readonly mayYield: boolean;
  /** The API server of this node, which comes before what only asks it: none, one, or one whose copy is active. */
  readonly apiServer: 'none' | 'here' | 'copy';
  /** The checkpointer is being removed from the node. */
  readonly leaving: boolean;
}

export const seconds = (ms: Millis): string => `${Math.max(0, Math.round(ms / 100) / 10)} s`;
