/** Where a pivot stands, what it does next, and what it waits for. */
import type { V1Pod } from '@kubernetes/client-node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredWorkload } from '../../src/checkpoint/model.ts';
import { selfHostedLabel } from '../../src/pivot/daemonset.ts';
import { healthAfter, type View } from '../../src/pivot/health.ts';
import {
  arrivedBy,
  isThere,
  type Move,
  nextMove,
  type Place,
  reversed,
  STEPS,
  type StepKind,
  type Target,
  underWay,
} from '../../src/pivot/steps.ts';
import { SEED } from '../support/seed.ts';

const places = fc.oneof(
  fc.integer({ min: 0, max: STEPS.length }).map((done): Place => ({ state: 'healthy', done })),
  fc.integer({ min: 0, max: STEPS.length - 1 }).map((step): Place => ({ state: 'between', step })),
);
const targets = fc.constantFrom<Target>('self-hosted', 'static');

/** Steps of which the node was last seen with the outcome; undefined for one that was interrupted. */
function walk(place: Place, target: Target): Place {
  let at = place;
  for (let move = nextMove(at, target); move !== undefined; move = nextMove(at, target)) at = arrivedBy(move);
  return at;
}

describe('the steps of a pivot', () => {
  it('hand over one component after the other, the API server first', () => {
    expect(STEPS.map(({ component, kind }) => `${component} ${kind}`)).toEqual([
      'kube-apiserver share',
      'kube-apiserver apply',
      'kube-apiserver assign',
      'kube-apiserver withdraw',
      'kube-controller-manager share',
      'kube-controller-manager apply',
      'kube-controller-manager assign',
      'kube-controller-manager withdraw',
      'kube-scheduler share',
      'kube-scheduler apply',
      'kube-scheduler assign',
      'kube-scheduler withdraw',
    ]);
  });

  it('lead to either end from every place', () => {
    fc.assert(
      fc.property(places, targets, (place, target) => {
        const end = walk(place, target);
        expect(end).toEqual({ state: 'healthy', done: target === 'self-hosted' ? STEPS.length : 0 });
        expect(isThere(end, target)).toBe(true);
      }),
      { seed: SEED },
    );
  });

  it('are gone on with where they were interrupted, in either direction, and none is left out', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(targets, fc.boolean()), { maxLength: 60 }), (turns) => {
        // What each step's way there or back was last begun as: its outcome once it was healthy.
        const done = new Set<number>();
        let place: Place = { state: 'healthy', done: 0 };
        for (const [target, interrupted] of turns) {
          const move = nextMove(place, target);
          if (move === undefined) continue;
          if (interrupted) {
            place = underWay(move);
            continue;
          }
          if (move.direction === 'there') done.add(move.index);
          else done.delete(move.index);
          const arrived = arrivedBy(move);
          place = arrived;
          // All steps before the place are done, none behind it is.
          expect([...done].sort((a, b) => a - b)).toEqual(STEPS.map((_, index) => index).slice(0, arrived.done));
        }
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('that fail are taken back to where the node was healthy before', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: STEPS.length }), targets, (done, target) => {
        const place: Place = { state: 'healthy', done };
        const move = nextMove(place, target);
        if (move !== undefined) expect(arrivedBy(reversed(move))).toEqual(place);
      }),
      { seed: SEED },
    );
  });
});

const NODE = 'master-1';
const condition = (ready: boolean) => ({ conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }] });
const mirror = (name: string, ready = true): V1Pod => ({
  metadata: { name: `${name}-${NODE}`, uid: name, annotations: { 'kubernetes.io/config.mirror': 'x' } },
  status: condition(ready),
});
const daemonPod = (ready = true, more: Partial<NonNullable<V1Pod['metadata']>> = {}): V1Pod => ({
  metadata: {
    name: 'kube-apiserver-x',
    uid: 'daemon',
    labels: { 'k8s-app': 'kube-apiserver' },
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'kube-apiserver', uid: 'u', controller: true }],
    ...more,
  },
  status: condition(ready),
});
const PLAIN = mirror('kube-apiserver');
const SHARED = mirror('kube-apiserver-shared');
const PROVEN = { newest: 2, proven: 2, generations: new Map(), damaged: new Map(), failing: new Map() } as unknown as StoredWorkload;
const VIEW: View = {
  node: NODE,
  apiTrouble: undefined,
  pods: [],
  nodeLabels: { [selfHostedLabel('kube-apiserver')]: 'self-hosted' },
  daemonSet: true,
  assigned: [NODE],
  stored: PROVEN,
  keptCopies: [],
  staticName: 'kube-apiserver',
};
const move = (kind: StepKind, direction: Move['direction']): Move => ({ step: { kind, component: 'kube-apiserver' }, index: 0, direction });

describe('what a move waits for', () => {
  it.each<[string, StepKind, Move['direction'], Partial<View>, string | undefined]>([
    ['the old static pod to end', 'share', 'there', { pods: [PLAIN, SHARED] }, 'the old static pod to end'],
    ['the new one to be seen', 'share', 'there', {}, 'the static pod that shares its port to be made'],
    [
      'the new one to be Ready',
      'share',
      'there',
      { pods: [mirror('kube-apiserver-shared', false)] },
      'the static pod that shares its port kube-apiserver-shared-master-1 to be Ready',
    ],
    ['nothing more', 'share', 'there', { pods: [SHARED] }, undefined],
    ['the way back: the sharing one to end', 'share', 'back', { pods: [PLAIN, SHARED] }, 'the static pod that shared its port to end'],
    ['nothing more', 'share', 'back', { pods: [PLAIN] }, undefined],
    ['the DaemonSet', 'apply', 'there', { pods: [SHARED], daemonSet: false }, 'the DaemonSet'],
    ['nothing more', 'apply', 'there', { pods: [SHARED] }, undefined],
    ['the DaemonSet to go', 'apply', 'back', { pods: [SHARED], assigned: [] }, 'the DaemonSet to be deleted'],
    [
      'its copies to be retired, which would take the port',
      'apply',
      'back',
      { pods: [SHARED], daemonSet: false, keptCopies: ['kube-scheduler'] },
      'the checkpointer to retire its copies of kube-scheduler (--checkpoint-grace-period)',
    ],
    ['nothing more, as another master uses the DaemonSet', 'apply', 'back', { pods: [SHARED], assigned: ['master-2'] }, undefined],
    ['the label', 'assign', 'there', { pods: [SHARED, daemonPod()], nodeLabels: {} }, "the node's label"],
    ['the pod', 'assign', 'there', { pods: [SHARED] }, "the DaemonSet's pod to be made"],
    ['the pod to be Ready', 'assign', 'there', { pods: [SHARED, daemonPod(false)] }, "the DaemonSet's pod kube-apiserver-x to be Ready"],
    ['a copy in the store', 'assign', 'there', { pods: [SHARED, daemonPod()], stored: undefined }, 'a proven copy of it in the store'],
    [
      'the copy of what runs to be the proven one',
      'assign',
      'there',
      { pods: [SHARED, daemonPod()], stored: { ...PROVEN, newest: 3 } as StoredWorkload },
      'a proven copy of it in the store',
    ],
    ['nothing more', 'assign', 'there', { pods: [SHARED, daemonPod()] }, undefined],
    [
      'the pod to end',
      'assign',
      'back',
      { pods: [SHARED, daemonPod(true, { deletionTimestamp: new Date() })] },
      'pod kube-apiserver-x to end',
    ],
    ['the static pod, which alone is left', 'assign', 'back', {}, 'the static pod to be made'],
    ['the static pod to end', 'withdraw', 'there', { pods: [SHARED, daemonPod()] }, 'the static pod to end'],
    [
      'the pod that is alone now to be Ready',
      'withdraw',
      'there',
      { pods: [daemonPod(false)] },
      "the DaemonSet's pod kube-apiserver-x to be Ready",
    ],
    ['nothing more', 'withdraw', 'there', { pods: [daemonPod()] }, undefined],
    ['the static pod to come back', 'withdraw', 'back', { pods: [daemonPod()] }, 'the static pod to be made'],
    ['nothing more', 'withdraw', 'back', { pods: [SHARED, daemonPod()] }, undefined],
    [
      'the API server, whatever else there is',
      'withdraw',
      'there',
      { pods: [daemonPod()], apiTrouble: 'connection refused' },
      'the API server (connection refused)',
    ],
  ])('is %s', (_what, kind, direction, view, expected) => {
    const health = healthAfter(move(kind, direction), { ...VIEW, ...view });
    expect(health.state === 'waiting' ? health.for : undefined).toBe(expected);
  });

  it('says why a pod is not Ready in the words of the kubelet', () => {
    const pod = {
      ...daemonPod(false),
      status: { containerStatuses: [{ restartCount: 1, state: { waiting: { reason: 'ImagePullBackOff' } } }] },
    } as V1Pod;
    const health = healthAfter(move('assign', 'there'), { ...VIEW, pods: [SHARED, pod] });
    expect(health).toEqual({ state: 'waiting', for: "the DaemonSet's pod kube-apiserver-x to be Ready (ImagePullBackOff)" });
  });

  it('begins anew when the pod is another one, or was restarted', () => {
    const restarted = { ...daemonPod(), status: { ...condition(true), containerStatuses: [{ restartCount: 1 }] } } as V1Pod;
    const of = (pod: V1Pod) => {
      const health = healthAfter(move('withdraw', 'there'), { ...VIEW, pods: [pod] });
      return health.state === 'healthy' ? health.of : undefined;
    };
    expect(of(daemonPod())).not.toBe(of(restarted));
    expect(of(daemonPod())).not.toBe(of(daemonPod(true, { uid: 'other' })));
  });

  it('is the newest pod of the DaemonSet that is not on its way out', () => {
    const old = daemonPod(true, { name: 'old', uid: 'old', deletionTimestamp: new Date(), creationTimestamp: new Date(3) });
    const health = healthAfter(move('withdraw', 'there'), { ...VIEW, pods: [old, daemonPod(false, { creationTimestamp: new Date(2) })] });
    expect(health).toEqual({ state: 'waiting', for: "the DaemonSet's pod kube-apiserver-x to be Ready" });
  });
});
