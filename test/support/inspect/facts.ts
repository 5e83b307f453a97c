/** Facts of a node, built from a few words. Now is 2026-11-21 12:00 UTC; ages are given in seconds. */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { GENERATION, WORKLOAD } from '../../../src/checkpoint/annotations.ts';
import { WARNINGS } from '../../../src/checkpoint/copy/warnings.ts';
import { activated } from '../../../src/checkpoint/materialize.ts';
import type { Digest, Traits } from '../../../src/checkpoint/model.ts';
import type { RetiredWorkload } from '../../../src/checkpoint/store/read.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../../../src/checkpoint/workload.ts';
import type { Facts, GenerationFacts } from '../../../src/inspect/facts.ts';
import { manifestFileName } from '../../../src/recovery/manifests.ts';
import type { DiskManifest } from '../../../src/sources/disk.ts';
import type { Sandbox } from '../../../src/sources/snapshots.ts';
import type { Status } from '../../../src/status.ts';

export const AT = Date.parse('2026-11-21T12:00:00Z');
export const BOOT = '0b0b0b0b-0000-4000-8000-000000000001';
export const ago = (seconds: number): string => new Date(AT - seconds * 1000).toISOString();

export const STORE = '/var/lib/pod-checkpointer';
export const MANIFESTS = '/etc/kubernetes/manifests';
export const SELF: Workload = workloadCalled('pod-checkpointer');

export function workloadCalled(name: string): Workload {
  return { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name };
}

export interface GenerationWords {
  readonly number: number;
  /** Seconds. */
  readonly age?: number;
  readonly digest?: string;
  readonly damage?: string;
  /** Why its spec is marked failing. */
  readonly failing?: string;
  /** As the copy notes them: `<code> <field>`. */
  readonly warnings?: readonly string[];
  readonly container?: Partial<V1Container>;
  readonly spec?: Partial<V1Pod['spec'] & object>;
  readonly traits?: Traits;
  readonly ends?: GenerationFacts['ends'];
}

export interface WorkloadWords {
  readonly workload: Workload;
  readonly generations?: readonly GenerationWords[];
  readonly proven?: number | undefined;
  readonly previous?: number | undefined;
  readonly newest?: number | undefined;
  /** Numbers of a generation and an activation. */
  readonly active?: readonly [generation: number, activation: number];
  readonly edits?: readonly string[];
  readonly status?: Partial<Status['workloads'][string]> & { readonly reason: Status['workloads'][string]['reason'] };
  /** Seconds since its container started. */
  readonly parentUp?: number | undefined;
  readonly copyUp?: number | undefined;
}

const TRAITS: Traits = { servesApi: false, handBack: 'exclusive' };

/** A node on which everything is well: the daemon leads, units are armed, the runtime knows every image. */
export function factsOf(words: readonly WorkloadWords[], more: Partial<Facts> = {}): Facts {
  const images = words.flatMap(({ generations = [] }) => generations.map((one) => imageOf(one)));
  return {
    at: AT,
    bootId: BOOT,
    places: { checkpointDir: STORE, podManifestPath: MANIFESTS },
    leader: {
      state: 'leads',
      recorded: { pid: 4242, where: `a pod of ${workloadKey(SELF)}`, since: ago(7200), bootId: BOOT, version: '1.0.0' },
    },
    kubeletLock: { state: 'unknown', detail: 'no --kubelet-lock-file' },
    api: { state: 'ok' },
    runtime: {
      state: 'ok',
      name: 'containerd 2.1.1',
      sandboxes: words.flatMap(sandboxes),
      images: new Map(images.map((image) => [image, { state: 'present', ref: `sha256:${image}` }])),
    },
    disk: {
      state: 'ok',
      store: {
        settledBootId: BOOT,
        workloads: new Map(words.flatMap((one) => (one.generations === undefined ? [] : [[workloadKey(one.workload), storedOf(one)]]))),
        retired: [],
      },
      manifests: words.flatMap(manifests),
    },
    manifestDirectory: 'there',
    store: {
      state: 'ok',
      bytes: 123_456,
      damaged: words.flatMap(({ generations = [] }) => generations.filter(({ damage }) => damage !== undefined)).length,
      demand: { files: [4096], directories: 2 },
      space: { bsize: 4096, blocks: 10_000_000, bavail: 5_000_000, files: 0, ffree: 0 },
      quarantined: [],
    },
    status: {
      api: 'ok',
      runtime: 'ok',
      disk: 'ok',
      bootId: BOOT,
      workloads: Object.fromEntries(
        words.flatMap(({ workload, status }) => (status === undefined ? [] : [[workloadKey(workload), statusOf(workload, status)]])),
      ),
    },
    units: { boot: { state: 'armed', by: 'kubelet.service' }, host: { state: 'armed', by: 'multi-user.target' } },
    kubelet: {
      staticPodPath: { path: MANIFESTS, from: '/var/lib/kubelet/config.yaml' },
      imagePullVerification: undefined,
      pulled: undefined,
      detail: undefined,
    },
    generations: new Map(
      words.map(({ workload, generations = [] }): [WorkloadKey, Map<number, GenerationFacts>] => [
        workloadKey(workload),
        new Map(generations.map((one) => [one.number, generationOf(workload, one)])),
      ]),
    ),
    hostPaths: new Map(),
    self: workloadKey(SELF),
    ...more,
  };
}

export const RETIRED: RetiredWorkload = {
  workload: workloadCalled('kube-proxy'),
  entry: `kube-system.ds.kube-proxy.${AT - 3_600_000}`,
  age: 3_600_000,
  stored: storedOf({ workload: workloadCalled('kube-proxy'), generations: [{ number: 4 }], proven: 4, newest: 4 }).stored,
};

export function retiring(facts: Facts): Facts {
  return facts.disk.state === 'ok' ? { ...facts, disk: { ...facts.disk, store: { ...facts.disk.store, retired: [RETIRED] } } } : facts;
}

const imageOf = ({ container }: GenerationWords): string => container?.image ?? 'registry.example.org/component:v1';

function digestOf({ number, digest = `digest-${number}` }: GenerationWords): Digest {
  return digest as Digest;
}

function storedOf({ workload, generations = [], proven, previous, newest }: WorkloadWords) {
  return {
    workload,
    stored: {
      generations: new Map(
        generations.map((one) => [
          one.number,
          {
            number: one.number,
            digest: digestOf(one),
            containers: ['main'],
            traits: one.traits ?? TRAITS,
            parent: { name: `${workload.name}-x7k2f`, uid: 'uid' },
          },
        ]),
      ),
      damaged: new Map<number, string>(),
      damagedPointers: [],
      newest: newest ?? generations.at(-1)?.number,
      proven,
      previous,
      activations: 0,
      failing: new Map(
        generations.flatMap((one) =>
          one.failing === undefined ? [] : [[digestOf(one), { since: ago(600), detail: one.failing }] as const],
        ),
      ),
    },
  };
}

function podOf(workload: Workload, one: GenerationWords): V1Pod {
  const { number, container, spec } = one;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${workload.name}-ds-g${number}`,
      namespace: workload.namespace,
      annotations: {
        [WORKLOAD]: workloadKey(workload),
        [GENERATION]: String(number),
        ...(one.warnings && { [WARNINGS]: JSON.stringify(one.warnings) }),
      },
    },
    spec: { containers: [{ name: 'main', imagePullPolicy: 'IfNotPresent', ...container, image: imageOf(one) }], ...spec },
  };
}

function generationOf(workload: Workload, one: GenerationWords): GenerationFacts {
  const damage = one.damage;
  return {
    number: one.number,
    createdAt: damage === undefined ? ago(one.age ?? 86_400) : '',
    files: [
      { path: 'pod.json', size: 900, mode: 0o600, uid: 0, gid: 0, sha256: `${one.number}`.padStart(64, '0') },
      { path: 'files/keys/tls.key', size: 227, mode: 0o400, uid: 0, gid: 0, sha256: '1'.repeat(64) },
    ],
    bytes: 1127,
    directories: 3,
    tokens: [],
    damage,
    pod: damage === undefined ? podOf(workload, one) : undefined,
    ends: one.ends ?? [],
  };
}

function statusOf(workload: Workload, status: NonNullable<WorkloadWords['status']>): Status['workloads'][string] {
  const { namespace, kind, name } = workload;
  return { namespace, kind, name, message: 'as the daemon said', since: ago(3600), parent: `${name}-x7k2f`, ...status };
}

function manifests({ workload, generations = [], active, edits = [] }: WorkloadWords): DiskManifest[] {
  if (active === undefined) return [];
  const [generation, activation] = active;
  const one = generations.find(({ number }) => number === generation) ?? { number: generation };
  const file = manifestFileName(activated(podOf(workload, one), activation));
  return [{ workload: workloadKey(workload), generation, activation, file, edits }];
}

function sandboxes({ workload, active, parentUp, copyUp }: WorkloadWords): Sandbox[] {
  const sandbox = (id: string, up: number, annotations: Record<string, string>): Sandbox => ({
    id: `${workload.name}-${id}`,
    name: id === 'parent' ? `${workload.name}-x7k2f` : `${workload.name}-ds-copy`,
    namespace: workload.namespace,
    uid: `${workload.name}-${id}`,
    attempt: 0,
    ready: true,
    createdAt: AT - up * 1000,
    labels: {},
    annotations,
    containers: [
      {
        id: `${workload.name}-${id}-main`,
        name: 'main',
        attempt: 2,
        state: 'running',
        createdAt: AT - up * 1000,
        startedAt: AT - up * 1000,
        finishedAt: 0,
        exitCode: 0,
        image: 'component',
      },
    ],
  });
  const [generation = 0, activation = 0] = active ?? [];
  return [
    ...(parentUp === undefined
      ? []
      : [sandbox('parent', parentUp, { 'kubernetes.io/config.source': 'api', 'checkpointer.alpha.coreos.com/checkpoint': 'true' })]),
    ...(copyUp === undefined
      ? []
      : [
          sandbox('copy', copyUp, {
            'kubernetes.io/config.source': 'file',
            [WORKLOAD]: workloadKey(workload),
            [GENERATION]: String(generation),
            'pod-checkpointer.io/activation': String(activation),
          }),
        ]),
  ];
}
