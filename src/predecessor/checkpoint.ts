/**
 * What bootkube's pod-checkpointer leaves on a node, as data. Its places and names (bootkube v0.14, pkg/checkpoint), below the directory that holds the
 * kubelet's static pod directory, /etc/kubernetes for it:
 *
 *     manifests/<namespace>-<pod>.json                         a checkpoint that runs; its own is here all the time
 *     inactive-manifests/<namespace>-<pod>.json                every checkpoint
 *     checkpoint-secrets/<namespace>/<pod>/<Secret>/<key>      what their hostPaths name
 *     checkpoint-configmaps/<namespace>/<pod>/<ConfigMap>/<key>
 *
 * A manifest of it is the pod under the pod's own name, with one annotation, `checkpoint-of`, which repeats the name; labels are kept, the owner is the pod.
 * The workload is read from the labels that Kubernetes' controllers put on their pods. Pure.
 */
import type { V1OwnerReference, V1Pod, V1Volume } from '@kubernetes/client-node';
import { CHECKPOINT_OF, WORKLOAD } from '../checkpoint/annotations.ts';
import { own } from '../checkpoint/copy/own.ts';
import { makeCopy } from '../checkpoint/copy.ts';
import type { CopyPolicy } from '../checkpoint/copy-types.ts';
import type { CopyOutcome } from '../checkpoint/model.ts';
import { ownsPodName, type Workload, type WorkloadKey, workloadOf } from '../checkpoint/workload.ts';
import { runsPredecessor } from './itself.ts';

export const INACTIVE = 'inactive-manifests';
export const SECRETS = 'checkpoint-secrets';
export const CONFIG_MAPS = 'checkpoint-configmaps';

export interface PredecessorManifest {
  readonly namespace: string;
  readonly name: string;
  /** Of the pod that it is a copy of; empty where it does not say. */
  readonly uid: string;
  /** Undefined where the pod's labels and name do not say whose it is, and where it is a copy of ours. */
  readonly workload: Workload | undefined;
  /** A copy of ours, of this workload, that it took for one of its own. */
  readonly ours: WorkloadKey | undefined;
  /** A copy of the pod-checkpointer itself, which it keeps active. */
  readonly isCheckpointer: boolean;
  /** It declares ports of the host: neither scheduler nor kubelet take a second pod with one, so while it runs its parent cannot. */
  readonly holdsHostPort: boolean;
  readonly pod: V1Pod;
}

/** Undefined for a file that is not one of its: of another name than it would have given, without its annotation, or no pod. */
export function parsePredecessorManifest(file: string, bytes: Uint8Array): PredecessorManifest | undefined {
  const pod = parsePod(bytes);
  const { name, namespace, annotations, ownerReferences } = pod?.metadata ?? {};
  if (pod === undefined || typeof name !== 'string' || typeof namespace !== 'string') return undefined;
  if (file !== `${namespace}-${name}.json` || typeof annotations !== 'object' || annotations === null) return undefined;
  const ours = own(annotations, WORKLOAD);
  if (ours === undefined && own(annotations, CHECKPOINT_OF) !== name) return undefined;
  const uid = Array.isArray(ownerReferences) ? ownerReferences.find((ref) => ref?.kind === 'Pod')?.uid : undefined;
  return {
    namespace,
    name,
    uid: typeof uid === 'string' ? uid : '',
    workload: ours === undefined ? ownerOf(pod) : undefined,
    ours: ours as WorkloadKey | undefined,
    isCheckpointer: runsPredecessor(pod),
    holdsHostPort: holdsHostPort(pod),
    pod,
  };
}

function parsePod(bytes: Uint8Array): V1Pod | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const pod = value as V1Pod;
  const { metadata, spec } = pod;
  if (pod.kind !== 'Pod' || pod.apiVersion !== 'v1' || typeof metadata !== 'object' || metadata === null) return undefined;
  return typeof spec === 'object' && spec !== null && Array.isArray(spec.containers) ? pod : undefined;
}

/** On the host's network every declared port is one of the host. */
function holdsHostPort({ spec }: V1Pod): boolean {
  const ports = (spec?.containers ?? []).flatMap((container) => container?.ports ?? []);
  return ports.some((port) => (port?.hostPort ?? 0) > 0 || spec?.hostNetwork === true);
}

/** What the API server and the controllers name pods by: five of these characters behind the owner's name, which is cut at 57 of them. */
const SUFFIX = /^(.+)-[bcdfghjklmnpqrstvwxz2456789]{5}$/;
const UNCUT = 56;

function ownerOf(pod: V1Pod): Workload | undefined {
  const reference = ownerReferenceOf(pod);
  if (reference === undefined) return undefined;
  const workload = workloadOf({ ...pod, metadata: { ...pod.metadata, ownerReferences: reference } });
  return ownsPodName(workload, pod.metadata?.name ?? '') ? workload : undefined;
}

/** The reference that the pod had to its controller; none for a pod that was made by hand, undefined where it cannot be told. */
function ownerReferenceOf({ metadata }: V1Pod): V1OwnerReference[] | undefined {
  const { name = '', labels = {} } = metadata ?? {};
  const to = (kind: string, owner: string | undefined): V1OwnerReference[] | undefined =>
    owner === undefined || owner.length > UNCUT ? undefined : [{ apiVersion: 'apps/v1', kind, name: owner, uid: '', controller: true }];
  if (own(labels, 'statefulset.kubernetes.io/pod-name') !== undefined) return to('StatefulSet', /^(.+)-[0-9]+$/.exec(name)?.[1]);
  if (own(labels, 'pod-template-hash') !== undefined) return to('ReplicaSet', SUFFIX.exec(name)?.[1]);
  if (own(labels, 'controller-revision-hash') !== undefined) return to('DaemonSet', SUFFIX.exec(name)?.[1]);
  return [];
}

/** Files of one Secret or ConfigMap that it stored, by key. */
export type StoredObject = ReadonlyMap<string, Uint8Array>;

export interface StoredObjects {
  /** By the object's name. */
  readonly secrets: ReadonlyMap<string, StoredObject>;
  readonly configMaps: ReadonlyMap<string, StoredObject>;
}

/**
 * Our copy of what one of its manifests runs: the pod as it was, with its Secrets and ConfigMaps as volumes again, goes the way of every parent. What it left
 * in the pod although only the API server can give it (a token, a variable from a Secret) cannot be had here, and then there is no copy.
 * @param base the directory that its directories lie in
 */
export function copyOfCheckpoint(manifest: PredecessorManifest, objects: StoredObjects, base: string): CopyOutcome {
  const owners = ownerReferenceOf(manifest.pod) ?? [];
  const parent = restoredParent(manifest, base, owners);
  // Its copies were told nothing of Services, and ran.
  const policy: CopyPolicy = { secretEnv: 'refuse', kubernetesService: 'untold' };
  return makeCopy(
    parent,
    (ref) => {
      const found =
        ref.kind === 'Secret' ? objects.secrets.get(ref.name) : ref.kind === 'ConfigMap' ? objects.configMaps.get(ref.name) : undefined;
      if (found === undefined) return { state: 'unknown', detail: 'it was not stored with the checkpoint' };
      const data = Object.fromEntries([...found].map(([key, bytes]) => [key, Buffer.from(bytes).toString('base64')]));
      const metadata = { name: ref.name, namespace: ref.namespace };
      return { state: 'present', object: ref.kind === 'Secret' ? { metadata, data } : { metadata, binaryData: data } };
    },
    policy,
  );
}

/** Field by field: whatever else stands in the file is not taken over. */
function restoredParent({ pod, namespace, name, uid }: PredecessorManifest, base: string, ownerReferences: V1OwnerReference[]): V1Pod {
  const { labels } = pod.metadata ?? {};
  const [secrets, configMaps] = [SECRETS, CONFIG_MAPS].map((directory) => `${base}/${directory}/${namespace}/${name}/`);
  const restored = (volume: V1Volume): V1Volume => {
    const path = volume.hostPath?.path ?? '';
    const below = (directory: string | undefined) =>
      directory !== undefined && path.startsWith(directory) && !path.slice(directory.length).includes('/')
        ? path.slice(directory.length)
        : undefined;
    const secretName = below(secrets);
    const configMap = below(configMaps);
    if (secretName !== undefined) return { name: volume.name, secret: { secretName } };
    return configMap === undefined ? volume : { name: volume.name, configMap: { name: configMap } };
  };
  const { volumes, ...spec } = pod.spec ?? { containers: [] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid, ...(labels && { labels }), ownerReferences },
    spec: { ...spec, ...(volumes && { volumes: volumes.map(restored) }) },
  };
}
