/**
 * What is known of a node at one moment, for people: plain data. `gather.ts` reads it, without changing anything; everything that is said of it (verdict,
 * foresight, report) is a pure function over it. What could not be read is `unknown`, never empty.
 */
import type { V1Pod } from '@kubernetes/client-node';
import type { CopyToken } from '../checkpoint/copy-types.ts';
import type { ApiState, GenerationNumber, KubeletState } from '../checkpoint/model.ts';
import type { IndexedFile } from '../checkpoint/store/format.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import type { DiskSnapshot } from '../sources/disk.ts';
import type { RuntimeSnapshot } from '../sources/snapshots.ts';
import type { Leader, Status } from '../status.ts';
import type { Expiry } from './expiry.ts';

export interface Facts {
  /** Wall clock, milliseconds since the epoch. */
  readonly at: number;
  readonly bootId: string | undefined;
  readonly places: Places;
  readonly leader: LeaderFacts;
  readonly kubeletLock: KubeletState;
  readonly api: ApiState;
  readonly runtime: RuntimeFacts;
  readonly disk: DiskSnapshot;
  /** Of the kubelet's static pod directory; where it is missing, `disk` has no manifests. */
  readonly manifestDirectory: 'there' | 'missing';
  readonly store: StoreFacts;
  readonly status: Status | undefined;
  readonly units: { readonly boot: UnitState; readonly host: UnitState };
  readonly kubelet: KubeletFacts;
  readonly generations: ReadonlyMap<WorkloadKey, ReadonlyMap<GenerationNumber, GenerationFacts>>;
  /** By path on the host: what lies there. */
  readonly hostPaths: ReadonlyMap<string, HostPathState>;
  /** The checkpointer's own workload, whose copy is always active where it runs as a pod. */
  readonly self: WorkloadKey;
}

export interface Places {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
}

export type LeaderFacts =
  /** Somebody holds the leader lock; `recorded` says who, if it was written down. */
  | { readonly state: 'leads'; readonly recorded: Leader | undefined }
  | { readonly state: 'nobody'; readonly recorded: Leader | undefined }
  | { readonly state: 'unknown'; readonly detail: string; readonly recorded: Leader | undefined };

export type RuntimeFacts = RuntimeSnapshot & {
  /** As the runtime names itself: `containerd 2.1.1`. */
  readonly name?: string;
  /** By the name in the pod. Absent where nobody could be asked. */
  readonly images?: ReadonlyMap<string, ImageState>;
};

export type ImageState =
  | { readonly state: 'present'; readonly ref: string }
  | { readonly state: 'missing' }
  | { readonly state: 'unknown'; readonly detail: string };

export type StoreFacts =
  | {
      readonly state: 'ok';
      /** Bytes of all files of all generations, retired ones too. */
      readonly bytes: number;
      /** Generations that do not verify, retired ones too. */
      readonly damaged: number;
      /** Bytes of one more save of every workload's newest generation, as the store counts its demand. */
      readonly demand: { readonly files: readonly number[]; readonly directories: number };
      readonly space: {
        readonly bsize: number;
        readonly blocks: number;
        readonly bavail: number;
        readonly files: number;
        readonly ffree: number;
      };
      readonly quarantined: readonly string[];
    }
  | { readonly state: 'missing' }
  | { readonly state: 'unknown'; readonly detail: string };

/** A systemd unit of ours on the host. */
export type UnitState =
  /** It starts at the next boot. */
  | { readonly state: 'armed'; readonly by: string }
  | { readonly state: 'not armed'; readonly detail: string }
  | { readonly state: 'unknown'; readonly detail: string };

export interface KubeletFacts {
  /** What it reads static pods from, and who says so. `isOurs`: it is the directory that copies are put into, by another name (a link). */
  readonly staticPodPath: { readonly path: string; readonly from: string; readonly isOurs?: true } | undefined;
  /** `imagePullCredentialsVerificationPolicy` of its configuration. */
  readonly imagePullVerification: string | undefined;
  /** Its records of the images that it pulled, by image reference; undefined where it keeps none, or they cannot be read. */
  readonly pulled: ReadonlyMap<string, PulledRecord> | undefined;
  /** Its `--lock-file`, where it is seen to run with one: as its path is from here. */
  readonly lockFile?: string;
  /** What could not be read, and why. */
  readonly detail: string | undefined;
}

/** By image name without tag and digest: whether every pod may use it, or only those with the pull secret that it was pulled with. */
export type PulledRecord = ReadonlyMap<string, { readonly everyPod: boolean }>;

export interface GenerationFacts {
  readonly number: GenerationNumber;
  /** RFC 3339. */
  readonly createdAt: string;
  readonly files: readonly IndexedFile[];
  readonly bytes: number;
  readonly directories: number;
  readonly tokens: readonly CopyToken[];
  /** What is wrong with it; undefined: every byte is what was written. */
  readonly damage: string | undefined;
  readonly pod: V1Pod | undefined;
  /** What ends inside it, as far as it was looked at: of the generations that would run. */
  readonly ends: readonly Expiry[];
}

export type HostPathState = 'directory' | 'file' | 'socket' | 'character device' | 'block device' | 'other' | 'missing' | 'unknown';
