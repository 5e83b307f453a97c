/** Which workload, which pod and which sandbox belong to what bootkube's pod-checkpointer left. */
import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { CHECKPOINT, CHECKPOINT_OF, CONFIG_SOURCE, WORKLOAD } from '../../src/checkpoint/annotations.ts';
import type { ApiState } from '../../src/checkpoint/model.ts';
import { type WorkloadKey, workloadKey } from '../../src/checkpoint/workload.ts';
import type { FoundCheckpoint, PredecessorSnapshot } from '../../src/predecessor/read.ts';
import { observe } from '../../src/sources/observe.ts';
import type { Sandbox } from '../../src/sources/snapshots.ts';
import { APISERVER, copyOf, generation, SCHEDULER, stored } from '../support/observations.ts';

const TRAITS = { servesApi: true, handBack: 'exclusive' } as const;
const KEY = workloadKey(APISERVER);
const NAME = 'kube-apiserver-d8x5v';
const FILE = `kube-system-${NAME}.json`;

const left = (more: Partial<FoundCheckpoint> = {}): FoundCheckpoint => ({
  namespace: 'kube-system',
  name: NAME,
  uid: 'uid-1',
  key: KEY,
  workload: APISERVER,
  isCheckpointer: false,
  isOfOurs: false,
  active: FILE,
  holdsHostPort: false,
  inactive: true,
  data: true,
  copy: { kind: 'copy', copy: copyOf('theirs', TRAITS) },
  ...more,
});

const sandbox = (of: string, more: Partial<Sandbox> = {}): Sandbox => ({
  id: `sandbox-${of}`,
  name: `${of}-node1`,
  namespace: 'kube-system',
  uid: `static-${of}`,
  attempt: 0,
  ready: true,
  createdAt: 0,
  labels: {},
  annotations: { [CONFIG_SOURCE]: 'file', [CHECKPOINT_OF]: of },
  containers: [],
  ...more,
});

const pod = (owner: string, uid = 'uid-1'): V1Pod => ({
  metadata: {
    name: NAME,
    namespace: 'kube-system',
    uid,
    annotations: { [CHECKPOINT]: 'true' },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: owner, uid: 'ds', controller: true }],
  },
});

interface Given {
  readonly state?: ApiState;
  readonly pods?: readonly V1Pod[];
  readonly sandboxes?: readonly Sandbox[];
  readonly checkpoints?: readonly FoundCheckpoint[];
  readonly found?: PredecessorSnapshot;
  readonly isStored?: boolean;
  readonly self?: WorkloadKey;
}

function look({ state = { state: 'ok' }, pods = [], sandboxes = [], checkpoints = [left()], isStored = true, self, found }: Given) {
  const seen = observe(
    {
      now: 0,
      bootId: 'b',
      api: {
        state,
        pods: new Map(pods.map((one) => [one.metadata?.uid ?? '', one])),
        object: () => ({ state: 'unknown', detail: '' }),
        absences: new Map(),
      },
      runtime: { state: 'ok', sandboxes },
      kubelet: { state: 'unknown', detail: '' },
      self,
      disk: {
        state: 'ok',
        store: {
          settledBootId: 'b',
          workloads: isStored
            ? new Map([[KEY, { workload: APISERVER, stored: stored([generation(1, 'x', TRAITS)], { newest: 1 }) }]])
            : new Map(),
          retired: [],
        },
        manifests: [],
        predecessor: found ?? { state: 'ok', checkpoints, removable: true, empty: [] },
      },
    },
    () => ({ kind: 'waiting', objects: [] }),
  );
  return { seen, apiserver: seen.workloads.get(KEY), theirs: seen.predecessor?.checkpoints };
}

describe('an active manifest of it', () => {
  it('is a copy in place of the parent, of no generation of ours, and its static pod is the pod of that copy', () => {
    const { apiserver } = look({ sandboxes: [sandbox(NAME), sandbox('kube-scheduler-fd55v')] });
    expect(apiserver?.active).toEqual([{ file: FILE, generation: 0, activation: 0 }]);
    expect(apiserver?.copyPods).toMatchObject([{ uid: `static-${NAME}`, generation: 0, activation: 0 }]);
    expect(apiserver?.parentPods).toEqual([]);
  });

  it('is none of the rules while nothing is stored that could take its place', () => {
    const { apiserver, theirs } = look({ isStored: false, pods: [pod('kube-apiserver')], sandboxes: [sandbox(NAME)] });
    expect([apiserver?.active, apiserver?.copyPods]).toEqual([[], []]);
    expect(theirs).toHaveLength(1);
  });

  it('has one static pod, where one of an earlier manifest is still there', () => {
    const old = left({ name: 'kube-apiserver-7dg5w', active: undefined });
    const { apiserver } = look({
      checkpoints: [old, left()],
      sandboxes: [sandbox('kube-apiserver-7dg5w', { ready: false }), sandbox(NAME)],
    });
    expect(apiserver?.copyPods.map(({ uid }) => uid)).toEqual([`static-${NAME}`]);
  });

  it('that is gone leaves a pod that is still seen, so that it can be stopped', () => {
    const { apiserver } = look({ checkpoints: [left({ active: undefined })], sandboxes: [sandbox(NAME)] });
    expect(apiserver?.active).toEqual([]);
    expect(apiserver?.copyPods).toMatchObject([{ uid: `static-${NAME}`, activation: 0 }]);
  });

  it('of which nobody can tell whose it is leaves no pod that could be stopped, nor does one that cannot be read', () => {
    const sandboxes = [sandbox(NAME)];
    const untold = left({ key: undefined, workload: undefined, copy: undefined });
    const state = { state: 'unreachable', detail: '' } as const;
    expect(look({ state, sandboxes, checkpoints: [untold] }).apiserver?.copyPods).toEqual([]);
    expect(look({ state, sandboxes, found: { state: 'unknown', detail: 'EMFILE' } }).apiserver?.copyPods).toEqual([]);
  });

  it("of the checkpointer's own workload is none of the checkpointer's copies", () => {
    const { apiserver } = look({ self: KEY, sandboxes: [sandbox(NAME)] });
    expect([apiserver?.active, apiserver?.copyPods]).toEqual([[], []]);
  });

  it("is told from a copy of ours, and from a parent, by its pod's annotations", () => {
    const annotations = { [CONFIG_SOURCE]: 'file', [CHECKPOINT_OF]: 'kube-apiserver', [WORKLOAD]: KEY };
    const ours = sandbox('kube-apiserver-ds-g1-a1', { annotations });
    const parent = sandbox(NAME, { uid: 'uid-1', annotations: { [CONFIG_SOURCE]: 'api', [CHECKPOINT]: 'true' } });
    const { apiserver } = look({ sandboxes: [ours, parent], pods: [pod('kube-apiserver')] });
    expect(apiserver?.copyPods.map(({ uid }) => uid)).toEqual(['static-kube-apiserver-ds-g1-a1']);
    expect(apiserver?.parentPods.map(({ uid }) => uid)).toEqual(['uid-1']);
  });
});

it("a pod of bootkube's pod-checkpointer is nobody's parent, marked or not", () => {
  const marked = (container: object): V1Pod => ({
    ...pod('pod-checkpointer', 'uid-2'),
    spec: { containers: [{ name: 'c', ...container }] },
  });
  const workloads = (container: object) => [...look({ isStored: false, pods: [marked(container)] }).seen.workloads.keys()];
  expect(workloads({ command: ['/checkpoint', '--kubeconfig=/etc/checkpointer/kubeconfig'] })).toEqual([]);
  expect(workloads({ args: ['run', '--lock-file=/run/lock/pod-checkpointer.lock'] })).toEqual(['kube-system/DaemonSet/pod-checkpointer']);
});

describe('the pod of a checkpoint', () => {
  it('is listed, not listed, or nobody knows', () => {
    const listed = (given: Given) => look(given).theirs?.map((one) => one.listed);
    expect(listed({ pods: [pod('kube-apiserver')] })).toEqual([true]);
    expect(listed({})).toEqual([false]);
    expect(listed({ state: { state: 'unreachable', detail: '' }, pods: [pod('kube-apiserver')] })).toEqual([undefined]);
  });

  it('says whose it is, where its labels misled: then the copy, which is named after the workload, is none', () => {
    const { theirs } = look({ pods: [pod('kube-scheduler')] });
    expect(theirs).toMatchObject([{ workload: SCHEDULER }]);
    expect(theirs?.[0]?.copy).toBeUndefined();
  });
});

it('what cannot be read is unknown, and not empty', () => {
  expect(look({ checkpoints: [] }).seen.predecessor).toEqual({ checkpoints: [], removable: true, empty: [] });
  expect(look({ checkpoints: [] }).seen).not.toHaveProperty('predecessorUnread');
  const unknown = look({ found: { state: 'unknown', detail: 'EMFILE' } }).seen;
  expect(unknown).not.toHaveProperty('predecessor');
  expect(unknown.predecessorUnread).toBe(true);
  expect(look({ found: { state: 'ok', checkpoints: [], removable: false, empty: [], unread: true } }).seen.predecessorUnread).toBe(true);
});
