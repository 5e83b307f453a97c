/**
 * What each source last read, as plain data. `observe` puts the snapshots together into one Observation.
 * Every source guarantees:
 *  1. it says `unknown` (or unreachable, denied) when it did not get an answer, and never an empty answer instead;
 *  2. a snapshot never changes after it was handed out;
 *  3. a wake-up means "look again", nothing more: the truth is in the next snapshot.
 */
import type { V1Pod } from '@kubernetes/client-node';
import type { ApiObject, ObjectRef, ObjectState } from '../checkpoint/copy-types.ts';
import type { Absence, ApiState } from '../checkpoint/model.ts';
import type { OwnerState } from '../checkpoint/owner-wants.ts';
import type { Workload, WorkloadKey } from '../checkpoint/workload.ts';

export interface ApiSnapshot {
  readonly state: ApiState;
  /** All pods bound to this node by uid, as last read: current only while `state` is ok. */
  readonly pods: ReadonlyMap<string, V1Pod>;
  /** An object named by a marked pod. `unknown` for one that is not watched, not yet read, denied, or no longer current. */
  object(ref: ObjectRef): ObjectState<ApiObject>;
  /** Answers of confirmAbsence by pod uid; one is dropped when a pod of that uid is seen again or the API server stops answering. */
  readonly absences: ReadonlyMap<string, Absence>;
}

export interface ApiSource {
  snapshot(): ApiSnapshot;
  /** Ask for one pod by name; the answer is in a later snapshot, under the uid. */
  confirmAbsence(namespace: string, name: string, uid: string): Promise<void>;
  stop(): Promise<void>;
}

export interface OwnersSnapshot {
  /** Every workload that is tracked, and no other. */
  readonly owners: ReadonlyMap<WorkloadKey, OwnerState>;
}

/** A workload whose owner is to be known. `ask`: about its pods on all nodes, too, which costs a watch of them. */
export interface OwnerQuestion {
  readonly workload: Workload;
  readonly ask: boolean;
}

export interface OwnersSource {
  /** Follows these owners from now on, and no others. */
  track(questions: ReadonlyMap<WorkloadKey, OwnerQuestion>): void;
  snapshot(): OwnersSnapshot;
  stop(): Promise<void>;
}

export type ContainerState = 'created' | 'running' | 'exited' | 'unknown';

export interface Container {
  readonly id: string;
  readonly name: string;
  readonly attempt: number;
  readonly state: ContainerState;
  /** Nanoseconds since the epoch as CRI reports them, in milliseconds; 0 where not reached. */
  readonly createdAt: number;
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  /** Image reference as the kubelet gave it. */
  readonly image: string;
}

export interface Sandbox {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
  readonly ready: boolean;
  readonly createdAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Every attempt of every container, newest attempt first for each name. */
  readonly containers: readonly Container[];
}

export type RuntimeSnapshot =
  | { readonly state: 'ok'; readonly sandboxes: readonly Sandbox[] }
  | { readonly state: 'unknown'; readonly detail: string };

export interface RuntimeSource {
  /** Lists now, within the request deadline; a failure is an answer (`unknown`), not an exception. */
  list(): Promise<RuntimeSnapshot>;
  /** Stops a container; 0 s means kill. Stopping one that is gone or stopped already succeeds. */
  stopContainer(id: string, timeoutSeconds: number): Promise<void>;
  /** Stops a sandbox and what runs in it. Stopping one that is gone or stopped already succeeds. */
  stopSandbox(id: string): Promise<void>;
  /** Whether the runtime has the image, by the reference in a pod's spec. */
  hasImage(reference: string): Promise<boolean>;
  /** Removes a container that has ended. Removing one that is gone already succeeds. */
  removeContainer(id: string): Promise<void>;
  /** Whether the runtime sends container events; where it does not, the caller has to look more often. */
  readonly sendsEvents: boolean;
  stop(): Promise<void>;
}
