import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Digest } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { conditionOf, HEARTBEAT, isDue, type NodeCondition } from '../../src/report/condition.ts';
import { eventBody, eventKey, eventName, eventsOf, type PendingEvent } from '../../src/report/events.ts';
import { added, OUTBOX_LIMIT, without } from '../../src/report/outbox.ts';
import type { Milestone, Transition } from '../../src/report/transitions.ts';
import type { WorkloadStatus } from '../../src/status.ts';

const AT = '2026-01-01T00:00:01.123Z';
const LATER = '2026-01-01T00:00:05.500Z';

function transition(milestones: readonly Milestone[], more: Partial<Transition> = {}): Transition {
  return {
    at: AT,
    workload: 'kube-system/DaemonSet/etcd',
    namespace: 'kube-system',
    to: 'Active',
    state: 'active',
    milestones,
    message: 'the API server is away',
    generation: 3,
    parent: 'etcd-abcde',
    parentUid: 'uid-1',
    ...more,
  };
}

const one = (milestone: Milestone, more: Partial<Transition> = {}): PendingEvent => {
  const [event] = eventsOf([transition([milestone], more)], 'n1');
  if (event === undefined) throw new Error('no event');
  return event;
};

describe('events', () => {
  test('of a milestone are told of the pod and of the node', () => {
    expect(eventsOf([transition(['Activated'])], 'n1')).toEqual([
      {
        about: { kind: 'Pod', namespace: 'kube-system', name: 'etcd-abcde', uid: 'uid-1' },
        reason: 'CheckpointActivated',
        type: 'Warning',
        message: 'generation 3 runs in place of the pod: the API server is away',
        first: AT,
        last: AT,
        count: 1,
      },
      {
        about: { kind: 'Node', namespace: '', name: 'n1', uid: 'n1' },
        reason: 'CheckpointActivated',
        type: 'Warning',
        message: 'kube-system/DaemonSet/etcd: generation 3 runs in place of the pod: the API server is away',
        first: AT,
        last: AT,
        count: 1,
      },
    ]);
  });

  test('are told of the node alone where no parent is known, and of nothing that is no milestone', () => {
    const { parent: _, parentUid: __, ...orphan } = transition(['Retired']);
    expect(eventsOf([orphan, transition([])], 'n1').map(({ about }) => about.kind)).toEqual(['Node']);
  });

  test('bear the times at which things happened, whenever they are sent', () => {
    const body = eventBody({ ...one('Proven'), last: LATER, count: 2 }, 'n1');
    expect(body).toMatchObject({
      metadata: { namespace: 'kube-system' },
      firstTimestamp: '2026-01-01T00:00:01Z',
      lastTimestamp: '2026-01-01T00:00:05Z',
      count: 2,
      source: { component: 'pod-checkpointer', host: 'n1' },
      involvedObject: { kind: 'Pod', namespace: 'kube-system', name: 'etcd-abcde', uid: 'uid-1' },
    });
  });

  test('about the node lie in the namespace default, where the API server takes them', () => {
    const node = eventsOf([transition(['Copied'])], 'n1')[1];
    expect(node && eventBody(node, 'n1')).toMatchObject({
      metadata: { namespace: 'default' },
      involvedObject: { kind: 'Node', name: 'n1' },
    });
    expect(node && eventBody(node, 'n1')).not.toHaveProperty('involvedObject.namespace');
  });

  test('have messages of at most 1024 bytes and names that the API server takes, however long pods and messages are', () => {
    const long = one('Refused', { message: 'ü'.repeat(3_000), parent: `${'a'.repeat(229)}.${'b'.repeat(23)}` });
    expect(Buffer.byteLength(long.message)).toBeLessThanOrEqual(1_024);
    expect(eventName(long)).toMatch(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/);
  });

  test('of two workloads are two on the node', () => {
    const [, etcd] = eventsOf([transition(['Copied'])], 'n1');
    const [, proxy] = eventsOf([transition(['Copied'], { workload: 'kube-system/DaemonSet/kube-proxy' })], 'n1');
    expect(etcd && proxy && eventKey(etcd) !== eventKey(proxy)).toBe(true);
  });
});

describe('the outbox', () => {
  test('makes repetitions one event with a count, from the first time to the last', () => {
    const again = one('Copied', { at: LATER, generation: 4 });
    expect(added([one('Copied')], [again])).toEqual([{ ...again, first: AT, count: 2 }]);
  });

  test('keeps what happened while an event was being sent', () => {
    const sent = one('Copied');
    const now = added([sent], [one('Copied', { at: LATER })]);
    expect(without(now, sent)).toMatchObject([{ first: LATER, last: LATER, count: 1 }]);
    expect(without([sent], sent)).toEqual([]);
  });

  test('is bounded: the oldest go first', () => {
    const many = Array.from({ length: OUTBOX_LIMIT + 7 }, (_, i) => one('Copied', { parentUid: `uid-${i}` }));
    const kept = added([], many);
    expect(kept).toHaveLength(OUTBOX_LIMIT);
    expect(kept[0]?.about.uid).toBe('uid-7');
  });

  test('loses no count, whatever is added and sent in between', () => {
    const uid = fc.integer({ min: 0, max: 3 }).map((i) => `uid-${i}`);
    const step = fc.record({ add: fc.array(uid, { maxLength: 5 }), send: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        let pending: readonly PendingEvent[] = [];
        let total = 0;
        let delivered = 0;
        for (const { add, send } of steps) {
          const inFlight = pending[0];
          pending = added(
            pending,
            add.map((parentUid) => one('Copied', { parentUid })),
          );
          total += add.length;
          if (!send || inFlight === undefined) continue;
          pending = without(pending, inFlight);
          delivered += inFlight.count;
        }
        expect(delivered + pending.reduce((sum, { count }) => sum + count, 0)).toBe(total);
      }),
    );
  });
});

describe('the condition of the node', () => {
  const generation = { generation: 1, digest: 'd' as Digest };
  const workload = (reason: Reason, more: Partial<WorkloadStatus> = {}): WorkloadStatus => ({
    namespace: 'kube-system',
    kind: 'DaemonSet',
    name: 'x',
    reason,
    message: 'for 3 s',
    since: AT,
    ...more,
  });
  const proven = workload('Protected', { newest: generation, proven: { ...generation, at: AT } });

  test.each<[string, Record<string, WorkloadStatus>, string, string]>([
    ['every workload has a proven copy', { a: proven, b: proven }, 'True', 'AllProven'],
    ['a copy runs', { a: { ...proven, reason: 'Active', active: { generation: 1, activation: 1 } } }, 'True', 'AllProven'],
    ['a changed parent cannot be copied', { a: { ...proven, reason: 'Refused' } }, 'True', 'ProvenButRefused'],
    ['a copy was never proven', { a: proven, b: workload('Saved', { newest: generation }) }, 'False', 'NotProven'],
    ['a workload has no copy', { a: proven, b: workload('Refused') }, 'False', 'NotSaved'],
    ['nothing is marked', {}, 'False', 'NothingMarked'],
  ])('while %s: %s', (_, workloads, status, reason) => {
    expect(conditionOf({ disk: 'ok', workloads })).toMatchObject({ status, reason });
  });

  test('is Unknown while the disk cannot be read', () => {
    expect(conditionOf({ disk: 'unknown', workloads: { a: proven } })).toMatchObject({ status: 'Unknown', reason: 'StoreUnreadable' });
  });

  test('names the workloads and their reason codes, and never counts seconds', () => {
    const { message } = conditionOf({
      disk: 'ok',
      workloads: { 'ns/DaemonSet/b': workload('WaitingForObjects'), 'ns/DaemonSet/a': proven },
    });
    expect(message).toBe('without any copy: ns/DaemonSet/b (WaitingForObjects)');
  });

  test('is written when it changes, and else every five minutes', () => {
    const next: NodeCondition = { status: 'True', reason: 'AllProven', message: 'm' };
    const sent = { ...next, at: 1_000, lastTransitionTime: AT };
    expect(isDue(undefined, next, 0)).toBe(true);
    expect(isDue(sent, next, 1_000 + HEARTBEAT - 1)).toBe(false);
    expect(isDue(sent, next, 1_000 + HEARTBEAT)).toBe(true);
    expect(isDue(sent, { ...next, message: 'other' }, 1_001)).toBe(true);
  });
});
