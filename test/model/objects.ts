/** What there is on the model's node and in its cluster. */
import type { Digest, Failing, GenerationNumber, Millis, StoredGeneration } from '../../src/checkpoint/model.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../../src/checkpoint/workload.ts';
import { APISERVER, CONTROLLERS, SCHEDULER } from '../support/observations.ts';

export type Name = 'api' | 'controllers' | 'scheduler';
export const NAMES: readonly Name[] = ['api', 'controllers', 'scheduler'];
export const WORKLOADS: Readonly<Record<Name, Workload>> = { api: APISERVER, controllers: CONTROLLERS, scheduler: SCHEDULER };
export const KEYS: Readonly<Record<Name, WorkloadKey>> = {
  api: workloadKey(APISERVER),
  controllers: workloadKey(CONTROLLERS),
  scheduler: workloadKey(SCHEDULER),
};

/** What a spec and the Secret that it mounts come to. `good`: a container of it works. */
export interface Content {
  readonly spec: string;
  readonly good: boolean;
}

export interface Owner {
  exists: boolean;
  selects: boolean;
  content: Content;
}

export interface ApiPod {
  readonly uid: string;
  readonly name: Name;
  readonly spec: string;
  bound: boolean;
  terminatingSince: Millis | undefined;
  ready: boolean;
}

export interface Container {
  readonly id: string;
  state: 'created' | 'running' | 'exited';
  crashed: boolean;
  /** What it read when it started was good. */
  good: boolean;
  startedAt: Millis;
  endedAt: Millis;
}

export interface RuntimePodState {
  readonly uid: string;
  readonly name: Name;
  readonly source: 'api' | 'file';
  readonly generation: GenerationNumber;
  readonly activation: number;
  sandboxReady: boolean;
  /** One container a pod; the newest attempt last. Ended ones stay until somebody removes them. */
  containers: Container[];
  attempts: number;
  backoff: { delay: Millis; updatedAt: Millis } | undefined;
  /** The kubelet has told it to end. */
  ending: Millis | undefined;
}

export interface StoredState {
  generations: Map<GenerationNumber, StoredGeneration>;
  newest: GenerationNumber | undefined;
  proven: GenerationNumber | undefined;
  previous: GenerationNumber | undefined;
  failing: Map<Digest, Failing>;
  activations: number;
  highest: number;
}

export interface Manifest {
  readonly file: string;
  readonly name: Name;
  readonly generation: GenerationNumber;
  readonly activation: number;
  /** The kubelet does not accept it. */
  readonly refused: boolean;
}

export interface Faults {
  etcdDown: boolean;
  denied: boolean;
  runtimeUnknown: boolean;
  diskFull: boolean;
  refusing: boolean;
  kubeletStopped: boolean;
  ownersDenied: boolean;
  /** Not a fault: another master has its control plane, which answers this node, binds and creates. */
  others: boolean;
}
