/**
 * The data that `decide` works on: what was observed, what it remembers, what is to be done. Everything here is immutable and plain.
 * A source that did not answer is `unknown`, never empty.
 */
import type { Copy, Instance, Refusal } from './copy-types.ts';
import type { OwnerState } from './owner-wants.ts';
import type { Workload, WorkloadKey } from './workload.ts';

/** Milliseconds on the monotonic clock of this process; only differences mean anything. */
export type Millis = number;
export type Digest = string & { readonly __brand: 'Digest' };
/** Generations of a workload are numbered from 1, never reused. */
export type GenerationNumber = number;

export type ApiState =
  | { readonly state: 'ok' }
  /** No answer yet since this process started. */
  | { readonly state: 'unknown' }
  /** Refused, timed out, reset, 5xx or 429. */
  | { readonly state: 'unreachable'; readonly detail: string }
  /** 401 or 403. */
  | { readonly state: 'denied'; readonly detail: string };

/** What could be made of a parent with what is known of the objects it names. */
export type CopyOutcome =
  | { readonly kind: 'copy'; readonly copy: Copy }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] }
  /** Objects that are named and not yet (or at the moment not) readable; `denied`: those of them that the API server refuses to the checkpointer. */
  | { readonly kind: 'waiting'; readonly objects: readonly string[]; readonly denied?: readonly string[] };

/** A marked pod of the workload, bound to this node, as the API server has it. */
export interface Parent {
  readonly name: string;
  readonly uid: string;
  readonly terminating: boolean;
  /** Condition Ready is True. */
  readonly ready: boolean;
  /** Sum of the restart counts of all containers. */
  readonly restarts: number;
  readonly copy: CopyOutcome;
}

export type ParentState =
  | { readonly state: 'present'; readonly pod: Parent }
  /** The API server answered, and no marked pod of the workload is bound to this node. `unmarked`: one is, and has lost its mark. */
  | { readonly state: 'absent'; readonly unmarked: boolean }
  | { readonly state: 'unknown' };

/** What the API server said when asked for an absent parent by name. Only `gone` allows anything to be retired. */
export type Absence = 'gone' | 'present' | 'unanswered';

/** A pod's latest sandbox and the newest attempt of each of its containers, as the container runtime has them. */
export interface RuntimePod {
  readonly uid: string;
  readonly name: string;
  readonly sandboxId: string;
  readonly sandboxReady: boolean;
  /** Containers that exist, in any state. A READY sandbox alone may still be waiting for a Secret. */
  readonly created: number;
  readonly running: number;
  /** Containers that were created or run: they have not ended. */
  readonly alive: number;
  /** At least one container exists and the newest attempt of each one runs or has ended with exit code 0 beside a running one. */
  readonly up: boolean;
  /** Sum of the attempts of all containers. */
  readonly attempts: number;
  readonly runningContainerIds: readonly string[];
  /** Every ended attempt, of earlier sandboxes of the pod, too. */
  readonly endedContainerIds: readonly string[];
  /** Of these, those that ended with another exit code than 0. */
  readonly crashedContainerIds: readonly string[];
}

export interface CopyPod extends RuntimePod {
  readonly generation: GenerationNumber;
  readonly activation: number;
}

/** Stands for a generation, and an activation, where bootkube's pod-checkpointer made the copy: ours are numbered from 1. */
export const OF_PREDECESSOR: GenerationNumber = 0;

/** A copy's manifest in the kubelet's static pod directory. */
export interface ActiveManifest {
  readonly file: string;
  /** 0 (OF_PREDECESSOR) for a manifest of bootkube's pod-checkpointer: no generation of the store is what it runs. */
  readonly generation: GenerationNumber;
  /** 0 as well for such a one: below every activation of ours. */
  readonly activation: number;
  /** Fields that somebody changed since it was written. */
  readonly edits?: readonly string[];
  /** It declares ports of the host, as none of ours does: its parent can neither be scheduled nor admitted beside it. */
  readonly holdsHostPort?: true;
}

export interface StoredGeneration {
  readonly number: GenerationNumber;
  readonly digest: Digest;
  /** What of it belongs to its parent pod alone: as in the copy. */
  readonly instance?: Instance;
  /** Names of the containers of the pod, without init containers. */
  readonly containers: readonly string[];
  readonly traits: Traits;
  readonly parent: { readonly name: string; readonly uid: string };
}

/** A spec that was seen to fail. It is not yielded to, proven or activated until it changes or a person clears the mark (design rules 3, 4). */
export interface Failing {
  /** RFC 3339. */
  readonly since: string;
  readonly detail: string;
}

export interface StoredWorkload {
  /** Generations whose index is whole; their files are verified when they are loaded. */
  readonly generations: ReadonlyMap<GenerationNumber, StoredGeneration>;
  /** Generations that do not verify, with the reason. */
  readonly damaged: ReadonlyMap<GenerationNumber, string>;
  /** Pointers that cannot be read, or that point at nothing: which generations they protected is not known. */
  readonly damagedPointers: readonly string[];
  readonly newest: GenerationNumber | undefined;
  readonly proven: GenerationNumber | undefined;
  /** The generation that was proven before the proven one. */
  readonly previous: GenerationNumber | undefined;
  /** Specs marked failing, by digest. */
  readonly failing: ReadonlyMap<Digest, Failing>;
  /** Activations so far; the next one takes the next number, and with it a new pod name. */
  readonly activations: number;
}

export interface Traits {
  /** The pod is, or serves as, a kube-apiserver. */
  readonly servesApi: boolean;
  /** The pod does nothing without an API server: a kube-controller-manager or kube-scheduler, and nothing beside it. */
  readonly asksApi?: true;
  /** Whether copy and parent can run side by side (design rule 4). */
  readonly handBack: 'overlap' | 'exclusive';
}

export interface WorkloadObservation {
  readonly workload: Workload;
  readonly parent: ParentState;
  /** Pods of the workload that the kubelet has from the API server; empty when the runtime is unknown. */
  readonly parentPods: readonly RuntimePod[];
  /** Pods of the workload's copies. */
  readonly copyPods: readonly CopyPod[];
  /** Undefined when nothing is stored. */
  readonly stored: StoredWorkload | undefined;
  readonly active: readonly ActiveManifest[];
  /** Of the pods that `decide` asked about: whether their own readiness probes were answered on this node just now. By pod uid. */
  readonly answering?: ReadonlyMap<string, boolean>;
  /** Why the kubelet does not run the active copy, as far as it can be known; one sentence each. Only where `decide` asked. */
  readonly refusal?: readonly string[];
  /** Of the newest pod of the workload that the kubelet refused at admission, while the API server has it. */
  readonly rejected?: Rejection;
}

/** Reason and message of the status of a pod that the kubelet refused at admission: `OutOfcpu`, and how much of it there is. */
export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

/** All that bootkube's pod-checkpointer left of one pod. */
export interface PredecessorCheckpoint {
  readonly namespace: string;
  /** The pod's, and that of the checkpoint. */
  readonly name: string;
  /** Of the pod; empty where only its files are left. */
  readonly uid: string;
  /** Undefined where it cannot be told. */
  readonly workload: Workload | undefined;
  /** Its copy of itself. */
  readonly isCheckpointer: boolean;
  /** Its manifest in the kubelet's static pod directory. */
  readonly active: string | undefined;
  /** That declares ports of the host. */
  readonly holdsHostPort: boolean;
  readonly inactive: boolean;
  /** Files of Secrets or ConfigMaps. */
  readonly data: boolean;
  /** Whether the API server lists the pod on this node; undefined while it does not answer. */
  readonly listed: boolean | undefined;
  /** Our copy of it, where the store has nothing proven of its workload. */
  readonly copy: CopyOutcome | undefined;
}

export interface Predecessor {
  readonly checkpoints: readonly PredecessorCheckpoint[];
  /** Whether its directories can be written to from here. */
  readonly removable: boolean;
  /** Those of its directories that are empty, the inner ones first. */
  readonly empty: readonly string[];
}

/** Who holds the kubelet's own lock file. `unknown`: it has none, or its holder cannot be seen from here; then nothing depends on it. */
export type KubeletState =
  | { readonly state: 'held'; readonly pid: number; readonly waiting: readonly number[] }
  | { readonly state: 'free' }
  | { readonly state: 'unknown'; readonly detail: string };

export interface Observation {
  readonly now: Millis;
  readonly bootId: string;
  /** The boot in which cold-boot activation was last completed; undefined on a node without a store. */
  readonly settledBootId: string | undefined;
  readonly api: ApiState;
  readonly runtime: { readonly state: 'ok' } | { readonly state: 'unknown'; readonly detail: string };
  readonly kubelet: KubeletState;
  /** The store or the static pod directory could not be read: nothing is decided about any workload. */
  readonly disk: { readonly state: 'ok' } | { readonly state: 'unknown'; readonly detail: string };
  /** The checkpointer's own workload, where it runs as a pod. */
  readonly self: WorkloadKey | undefined;
  /** Where this process runs: in the pod of this uid, or, without one, on the host. Absent where that cannot be told. */
  readonly runsIn?: { readonly pod: string | undefined };
  /** Leaderships that this process gave up for a spec of the checkpointer that is still not proven. */
  readonly steppedDown?: { readonly digest: Digest; readonly count: number; readonly at: Millis };
  /** What is known of the workloads' owners; a workload that is not in it is unknown. */
  readonly owners?: ReadonlyMap<WorkloadKey, OwnerState>;
  /** Answers to confirmAbsence, by pod uid. */
  readonly absences: ReadonlyMap<string, Absence>;
  readonly workloads: ReadonlyMap<WorkloadKey, WorkloadObservation>;
  /** Workloads that were moved out of use and are still kept; absent where there are none. */
  readonly retired?: readonly Retired[];
  /** A static pod of somebody else's that runs an API server: its file. Only looked for where a workload that served the API is retired. */
  readonly staticApiServer?: string;
  /** What bootkube's pod-checkpointer left; absent where nothing of it is there, or it cannot be read. */
  readonly predecessor?: Predecessor;
  /** It cannot be read, or not all of it: what is not in `predecessor` may be there all the same. */
  readonly predecessorUnread?: true;
}

export interface Retired {
  readonly workload: Workload;
  /** Its name among the retired ones: a workload can be retired more than once. */
  readonly entry: string;
  /** Since it was retired, by the wall clock. */
  readonly age: Millis;
  readonly servesApi: boolean;
  /** Another one had its place when it was retired, by the word of its owner. */
  readonly replaced?: boolean;
}

/** Durations that an operator sets, in milliseconds. */
export interface Policy {
  readonly activateAfter: Millis;
  /** How long what only asks the API server waits for this node's own to come back, from when it was first found unreachable. */
  readonly apiServerFirst: Millis;
  readonly downFor: Millis;
  readonly proveAfter: Millis;
  readonly stableFor: Millis;
  readonly checkpointGracePeriod: Millis;
  readonly trialDeadline: Millis;
  /** How long an owner may have no pod here and no Ready pod anywhere before its copy bridges that. */
  readonly orphanAfter: Millis;
  /** How long a retired workload is kept; undefined: for ever. */
  readonly retain?: Millis;
}

export type Action =
  | {
      readonly kind: 'save';
      readonly workload: Workload;
      readonly copy: Copy;
      readonly parent: { readonly name: string; readonly uid: string };
    }
  /** Make a stored generation the newest again: the parent went back to what it was. */
  | { readonly kind: 'repoint'; readonly workload: Workload; readonly generation: GenerationNumber }
  | { readonly kind: 'prove'; readonly workload: Workload; readonly generation: GenerationNumber }
  /** Take the place of the proven generation: the same copy, and so as proven, for the pod that the parent is now, or with its newer tokens. */
  | { readonly kind: 'renew'; readonly workload: Workload; readonly generation: GenerationNumber }
  /** The spec failed where another one runs: remember it, whatever happens to this process. */
  | { readonly kind: 'markFailing'; readonly workload: Workload; readonly digest: Digest; readonly detail: string }
  /** The proven generation's spec is marked failing: the one proven before it is the proven one again. */
  | { readonly kind: 'demote'; readonly workload: Workload; readonly generation: GenerationNumber }
  | { readonly kind: 'quarantine'; readonly workload: Workload; readonly generation: GenerationNumber; readonly detail: string }
  | { readonly kind: 'prune'; readonly workload: Workload; readonly generations: readonly GenerationNumber[] }
  | { readonly kind: 'activate'; readonly workload: Workload; readonly generation: GenerationNumber; readonly activation: number }
  | { readonly kind: 'deactivate'; readonly workload: Workload; readonly file: string }
  /** Deactivate, and stop the copy's containers in the same moment instead of leaving that to the kubelet. */
  | {
      readonly kind: 'makeRoom';
      readonly workload: Workload;
      readonly files: readonly string[];
      readonly containerIds: readonly string[];
      readonly graceful: boolean;
    }
  /** Remove ended containers of a parent, so that the kubelet does not hold its crashes against it. */
  | { readonly kind: 'forgetExits'; readonly workload: Workload; readonly containerIds: readonly string[] }
  /** Stop what is left of copies that the kubelet does not know any more. */
  | {
      readonly kind: 'stopLeftover';
      readonly workload: Workload;
      readonly containerIds: readonly string[];
      readonly sandboxIds: readonly string[];
    }
  /** Give up the leader lock, so that the DaemonSet's pod, which waits for it, leads; wait for it again at once. */
  | { readonly kind: 'stepDown'; readonly digest: Digest }
  | { readonly kind: 'confirmAbsence'; readonly workload: Workload; readonly pod: { readonly name: string; readonly uid: string } }
  /** `replaced`: its owner wants no pod here, and has a Ready one elsewhere. It never comes back by itself. */
  | { readonly kind: 'retire'; readonly workload: Workload; readonly replaced: boolean }
  /**
   * The checkpointer's own: take its manifests away, and move its generations out of use. One action, because the kubelet ends this process as soon as the
   * first manifest is gone: what has been begun is finished, what has not been begun never is. In this order: a manifest without its files cannot start.
   */
  | { readonly kind: 'leave'; readonly workload: Workload; readonly files: readonly string[] }
  /** Bring a retired workload back into use. */
  | { readonly kind: 'revive'; readonly workload: Workload; readonly entry: string }
  /** Delete a retired workload for good. */
  | { readonly kind: 'discard'; readonly workload: Workload; readonly entry: string }
  | { readonly kind: 'settleBoot'; readonly bootId: string }
  /** Take a checkpoint of bootkube's pod-checkpointer into the store, as a proven generation. */
  | {
      readonly kind: 'adopt';
      readonly workload: Workload;
      readonly copy: Copy;
      readonly parent: { readonly name: string; readonly uid: string };
    }
  /** Remove all that it left of one pod: the `active` manifest where there is one, the inactive one, then their files. Not `whole`: only the active one. */
  | {
      readonly kind: 'clearPredecessor';
      readonly workload: Workload;
      readonly pod: { readonly namespace: string; readonly name: string };
      readonly active: string | undefined;
      readonly whole: boolean;
    }
  /** Remove directories of its that are empty. */
  | { readonly kind: 'tidyPredecessor'; readonly directories: readonly string[] };

export type ActionKind = Action['kind'];

/** What the next observation should say besides: it costs something to find out, so it is only found out while it matters. */
export interface Questions {
  /** Running pods of whose readiness only the node can tell, and the generation that says how to ask. */
  readonly probes: readonly { readonly workload: Workload; readonly uid: string; readonly generation: GenerationNumber }[];
  /** Workloads whose owners' pods on all nodes matter. */
  readonly owners: readonly WorkloadKey[];
  /** Active copies that do not run. */
  readonly refusals: readonly { readonly workload: Workload; readonly generation: GenerationNumber; readonly file: string }[];
}

export const NO_QUESTIONS: Questions = { probes: [], owners: [], refusals: [] };
