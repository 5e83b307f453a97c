import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CoreV1Event, V1Node } from '@kubernetes/client-node';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Decision } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import { type ApiState, NO_QUESTIONS } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { CONDITION_TYPE } from '../../src/report/condition.ts';
import { createCourier } from '../../src/report/courier.ts';
import type { PendingEvent } from '../../src/report/events.ts';
import { readHistory } from '../../src/report/history.ts';
import { readOutbox } from '../../src/report/outbox.ts';
import { createReporter, type Reporter } from '../../src/report/reporter.ts';
import { type ApiClient, createApiClient } from '../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { readStatus } from '../../src/status.ts';
import { connect, startServer } from '../support/api/setup.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { create, get, list, node, STRATEGIC } from '../support/embedded/objects.ts';
import { generation, observation, parent, SCHEDULER, stored, workload } from '../support/observations.ts';
import { until } from '../support/until.ts';

const KEY = workloadKey(SCHEDULER);
const POD = 'scheduler-abcde';
const EVENTS = '/api/v1/namespaces/kube-system/events';
const UNREACHABLE: ApiState = { state: 'unreachable', detail: 'connection refused' };

let cluster: TestCluster;
let dir: string;
let client: ApiClient;
let wall = Date.parse('2026-01-01T00:00:00Z');
let mono = 0;
let stop: AbortController;
let lines: string[];
let reporter: Reporter;
let pods = 0;
let uid: string;

beforeAll(async () => {
  cluster = await startCluster();
  // As the kubelet registers it, with a condition of its own.
  await create(cluster.admin, '/api/v1/nodes', node('n1'));
});
afterAll(() => cluster.stop());

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'courier-'));
  uid = `uid-${++pods}`;
  lines = [];
  await begin();
});
afterEach(async () => {
  await end();
  await rm(dir, { recursive: true, force: true });
});

/** A daemon with the node's identity begins. */
async function begin(): Promise<void> {
  stop = new AbortController();
  client = createApiClient(await loadKubeconfig(cluster.pki.kubeletConf));
  const log = pino({}, { write: (line: string) => void lines.push(line) });
  const clocks = { clock: () => mono, wallClock: () => wall };
  const courier = createCourier({ client, nodeName: 'n1', log, signal: stop.signal, ...clocks });
  reporter = createReporter({ checkpointDir: dir, log, wallClock: clocks.wallClock, nodeName: 'n1', courier });
}

async function end(): Promise<void> {
  stop.abort();
  client.close();
  await reporter.idle();
}

type Seen = { readonly reason: Reason; readonly copies: number; readonly proven?: number; readonly active?: number };

/** One turn of the loop, with everything that it tells delivered. */
async function turn({ reason, copies, proven, active }: Seen, api: ApiState = { state: 'ok' }): Promise<void> {
  const generations = Array.from({ length: copies }, (_, i) =>
    generation(i + 1, `copy ${i + 1}`, { servesApi: false, handBack: 'overlap' }),
  );
  const pod = parent({ kind: 'waiting', objects: [] }, { name: POD, uid });
  const seen = workload(SCHEDULER, {
    parent: { state: 'present', pod },
    stored: copies === 0 ? undefined : stored(generations, { newest: copies, ...(proven === undefined ? {} : { proven }) }),
    active: active === undefined ? [] : [{ file: 'f', generation: copies, activation: active }],
  });
  const decision: Decision = {
    memory: EMPTY_MEMORY,
    actions: [],
    reports: new Map([[KEY, { reason, message: 'a sentence' }]]),
    wakeAt: undefined,
    flux: false,
    questions: NO_QUESTIONS,
  };
  await reporter.report(observation([seen], { now: mono, api }), decision);
  await reporter.idle();
}

async function events(): Promise<CoreV1Event[]> {
  const { items } = await list(cluster.admin, EVENTS);
  return (items as unknown as CoreV1Event[]).filter(({ involvedObject }) => involvedObject.uid === uid);
}

async function condition() {
  const { status } = (await get(cluster.admin, '/api/v1/nodes/n1')) as unknown as V1Node;
  return { own: status?.conditions?.find(({ type }) => type === CONDITION_TYPE), all: status?.conditions ?? [] };
}

describe('with the identity of the node', () => {
  test('milestones become Events on the pod and on the node', async () => {
    await turn({ reason: 'Saving', copies: 0 });
    await turn({ reason: 'Saved', copies: 1 });
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    expect((await events()).map(({ reason }) => reason).sort()).toEqual(['CheckpointCopied', 'CheckpointProven']);
    const onNode = (await list(cluster.admin, '/api/v1/namespaces/default/events')).items as unknown as CoreV1Event[];
    expect(onNode.map(({ message }) => message)).toContain(`${KEY}: generation 1 was stored as a copy of the pod`);
    expect(await readOutbox(dir)).toEqual([]);
    expect((await readHistory(dir, KEY)).map(({ to, milestones }) => [to, milestones])).toEqual([
      ['Saving', []],
      ['Saved', ['Copied']],
      ['Protected', ['Proven']],
    ]);
  });

  test('what happens again is the same Event with a higher count, written at most every ten seconds', async () => {
    await turn({ reason: 'Saving', copies: 0 });
    for (let copies = 1; copies <= 5; copies++) {
      wall += 1_000;
      mono += 1_000;
      await turn({ reason: 'Saved', copies });
    }
    expect(await events()).toMatchObject([{ reason: 'CheckpointCopied', count: 1 }]);
    mono += 10_000;
    await turn({ reason: 'Saved', copies: 5 });
    const [copied, ...more] = await events();
    expect(more).toEqual([]);
    expect(copied).toMatchObject({ count: 5, message: 'generation 5 was stored as a copy of the pod' });
    expect(Date.parse(String(copied?.lastTimestamp)) - Date.parse(String(copied?.firstTimestamp))).toBe(4_000);
  });

  test('an Event that the API server has forgotten is made anew', async () => {
    await turn({ reason: 'Saving', copies: 0 });
    await turn({ reason: 'Saved', copies: 1 });
    for (const { metadata } of await events()) await cluster.admin.request('DELETE', `${EVENTS}/${metadata.name}`);
    mono += 11_000;
    await turn({ reason: 'Saved', copies: 2 });
    expect(await events()).toMatchObject([{ count: 1, message: 'generation 2 was stored as a copy of the pod' }]);
  });

  test('what happens without an API server is told later, with its own times, by the next daemon too', async () => {
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    wall = Date.parse('2026-01-01T03:00:00Z');
    await turn({ reason: 'Active', copies: 1, proven: 1, active: 1 }, UNREACHABLE);
    expect(await events()).toEqual([]);
    expect((await readOutbox(dir)).map(({ reason }) => reason)).toEqual(['CheckpointActivated', 'CheckpointActivated']);
    await end();
    wall = Date.parse('2026-01-01T05:00:00Z');
    await begin();
    await turn({ reason: 'Active', copies: 1, proven: 1, active: 1 });
    await turn({ reason: 'Active', copies: 1, proven: 1, active: 1 });
    expect(await events()).toMatchObject([
      {
        reason: 'CheckpointActivated',
        type: 'Warning',
        count: 1,
        firstTimestamp: '2026-01-01T03:00:00Z',
        lastTimestamp: '2026-01-01T03:00:00Z',
      },
    ]);
    expect(await readOutbox(dir)).toEqual([]);
    // The next daemon takes the state as it was left: nothing has changed, nothing is told.
    expect((await readHistory(dir, KEY)).map(({ to }) => to)).toEqual(['Protected', 'Active']);
  });

  test("the node's condition follows the verdict and leaves the kubelet's alone", async () => {
    await turn({ reason: 'Saved', copies: 1 });
    expect((await condition()).own).toMatchObject({ status: 'False', reason: 'NotProven' });
    const since = (await condition()).own?.lastTransitionTime;
    wall += 60_000;
    mono += 60_000;
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    const { own, all } = await condition();
    expect(own).toMatchObject({ status: 'True', reason: 'AllProven', message: `proven: ${KEY}` });
    expect(own?.lastTransitionTime).not.toEqual(since);
    expect(all).toContainEqual({ type: 'Ready', status: 'True' });
    // The kubelet writes its own: ours stays.
    const ready = { type: 'Ready', status: 'True', reason: 'KubeletReady' };
    await cluster.admin.request('PATCH', '/api/v1/nodes/n1/status', { status: { conditions: [ready] } }, STRATEGIC);
    expect((await condition()).own).toEqual(own);
  });

  test('the condition is written every five minutes, by another daemon with the same time of transition', async () => {
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    const first = (await condition()).own;
    wall += 299_000;
    mono += 299_000;
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    expect((await condition()).own).toEqual(first);
    wall += 1_000;
    mono += 1_000;
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    const second = (await condition()).own;
    expect(second?.lastHeartbeatTime).not.toEqual(first?.lastHeartbeatTime);
    expect(second?.lastTransitionTime).toEqual(first?.lastTransitionTime);
    await end();
    wall += 60_000;
    await begin();
    await turn({ reason: 'Protected', copies: 1, proven: 1 });
    expect((await condition()).own).toMatchObject({ lastTransitionTime: first?.lastTransitionTime });
    expect((await condition()).own?.lastHeartbeatTime).not.toEqual(second?.lastHeartbeatTime);
  });
});

test.each([403, 500])(
  'an API server that answers %i to Events holds up neither the condition nor the loop, and is said once',
  async (code) => {
    await cluster.admin.request('PUT', '/embedded/faults', [{ resource: 'events', kind: 'status', code }]);
    try {
      wall += 3_600_000;
      await turn({ reason: 'Saving', copies: 0 });
      await turn({ reason: 'Saved', copies: 1 });
      for (let i = 0; i < 5; i++) {
        mono += 60_000;
        await turn({ reason: 'Saved', copies: 1 });
      }
      expect(await readOutbox(dir)).toHaveLength(2);
      expect((await condition()).own).toMatchObject({
        reason: 'NotProven',
        lastHeartbeatTime: new Date(wall).toISOString().replace('.000Z', 'Z'),
      });
      expect(lines.filter((line) => line.includes('an event could not be written'))).toHaveLength(1);
    } finally {
      await cluster.admin.request('PUT', '/embedded/faults', []);
    }
    mono += 60_000;
    await turn({ reason: 'Saved', copies: 1 });
    expect(await events()).toMatchObject([{ reason: 'CheckpointCopied' }]);
  },
);

test('a status that was lost is written again, and nothing is told twice', async () => {
  await turn({ reason: 'Protected', copies: 1, proven: 1 });
  await end();
  await rm(join(dir, 'status.json'));
  await begin();
  await turn({ reason: 'Protected', copies: 1, proven: 1 });
  await until(async () => (await readStatus(dir))?.workloads[KEY]?.reason === 'Protected');
  expect(await events()).toEqual([]);
});

test('a namespace that takes no Events, as while it is being terminated, holds up those of no other, and is asked less and less often', async () => {
  const server = await startServer();
  const asked: string[] = [];
  let terminating = true;
  server.hook = ({ path }, response) => {
    if (path.endsWith('/events')) asked.push(path);
    const refused = terminating && path === '/api/v1/namespaces/leaving/events';
    const status = { kind: 'Status', status: 'Failure', reason: 'Forbidden', message: 'namespace leaving is being terminated', code: 403 };
    response
      .writeHead(refused ? 403 : 201, { 'Content-Type': 'application/json' })
      .end(JSON.stringify(refused ? status : { kind: 'Event' }));
    return true;
  };
  let now = 0;
  const event = (namespace: string, name: string): PendingEvent => ({
    about: { kind: 'Pod', namespace, name, uid: name },
    reason: 'CheckpointRetired',
    type: 'Normal',
    message: '',
    first: '2026-01-01T00:00:00Z',
    last: '2026-01-01T00:00:00Z',
    count: 1,
  });
  const log = pino({}, { write: () => undefined });
  const signal = new AbortController().signal;
  const courier = createCourier({ client: await connect(server.url), nodeName: 'n1', log, signal, clock: () => now, wallClock: () => 0 });
  let pending = [event('leaving', 'a'), event('leaving', 'b'), event('kube-system', 'c'), event('default', 'd')];
  const round = async () => {
    const nothing = { status: 'True', reason: 'AllProven', message: '' } as const;
    courier.deliver(pending, nothing, {
      onDelivered: (one) => {
        pending = pending.filter((other) => other !== one);
      },
      onIdle: () => undefined,
    });
    await courier.idle();
  };
  await round();
  expect(pending.map(({ about }) => about.name)).toEqual(['a', 'b']);
  asked.length = 0;
  for (let second = 1; second <= 300; second++) {
    now = second * 1_000;
    await round();
  }
  expect(asked.length).toBeGreaterThan(4);
  expect(asked.length).toBeLessThan(12);
  terminating = false;
  now += 60_000;
  await round();
  expect(pending).toEqual([]);
});
