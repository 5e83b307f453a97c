import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { StoreError } from '../../src/checkpoint/store/errors.ts';
import { createMetrics, type Metrics } from '../../src/platform/metrics.ts';
import { countedClient, countedRuntime, countOutcome, reportMetrics } from '../../src/report/metrics.ts';
import type { Reported } from '../../src/report/reporter.ts';
import type { Milestone, Transition } from '../../src/report/transitions.ts';
import { unreachable } from '../../src/sources/api/answer.ts';
import type { ApiClient } from '../../src/sources/api/client.ts';
import type { RuntimeSource } from '../../src/sources/snapshots.ts';
import type { WorkloadStatus } from '../../src/status.ts';
import { digest, observation } from '../support/observations.ts';

const AT = '2026-01-01T00:00:00.000Z';
const generation = { generation: 1, digest: digest('d') };

function workload(more: Partial<WorkloadStatus> = {}): WorkloadStatus {
  return { namespace: 'ns', kind: 'DaemonSet', name: 'x', reason: 'Protected', message: '', since: AT, ...more };
}

function reported(workloads: Record<string, WorkloadStatus>, more: Partial<Parameters<typeof observation>[1]> = {}): Reported {
  const seen = observation([], more);
  const status = { api: seen.api.state, runtime: seen.runtime.state, disk: seen.disk.state, bootId: 'b', workloads };
  return { observation: seen, status, transitions: [], pendingEvents: 0 };
}

async function lines(metrics: Metrics, pattern: RegExp): Promise<string[]> {
  return (await metrics.registry.metrics()).split('\n').filter((line) => pattern.test(line));
}

describe('the gauges', () => {
  test('count workloads by what they have, and a workload that is gone is not counted any more', async () => {
    const metrics = createMetrics();
    const report = reportMetrics(metrics);
    const proven = workload({ newest: generation, proven: { ...generation, at: AT } });
    const active = { ...proven, reason: 'Active', active: { generation: 1, activation: 1 } } as const;
    report(reported({ a: proven, b: active, c: { ...active, self: true }, d: workload({ reason: 'Refused' }) }));
    expect(await lines(metrics, /^pod_checkpointer_checkpoints\{/)).toEqual([
      'pod_checkpointer_checkpoints{state="unsaved"} 1',
      'pod_checkpointer_checkpoints{state="saved"} 0',
      'pod_checkpointer_checkpoints{state="proven"} 1',
      'pod_checkpointer_checkpoints{state="active"} 1',
      'pod_checkpointer_checkpoints{state="self"} 1',
    ]);
    // One of them would not come back.
    expect(await lines(metrics, /^pod_checkpointer_checkpointed/)).toEqual(['pod_checkpointer_checkpointed 0']);
    report(reported({ a: workload({ ...proven, reason: 'ParentDown' }) }));
    expect(await lines(metrics, /^pod_checkpointer_workload_reason/)).toEqual([
      'pod_checkpointer_workload_reason{workload="a",reason="ParentDown"} 1',
    ]);
    expect(await lines(metrics, /^pod_checkpointer_last_proven/)).toEqual([
      `pod_checkpointer_last_proven_timestamp_seconds{workload="a"} ${Date.parse(AT) / 1000}`,
    ]);
    expect(await lines(metrics, /^pod_checkpointer_checkpointed/)).toEqual(['pod_checkpointer_checkpointed 1']);
  });

  test('say which sources answer', async () => {
    const metrics = createMetrics();
    reportMetrics(metrics)(reported({}, { api: { state: 'denied', detail: '' }, runtime: { state: 'unknown', detail: '' } }));
    expect(await lines(metrics, /^pod_checkpointer_(api|runtime|store)_up/)).toEqual([
      'pod_checkpointer_api_up 0',
      'pod_checkpointer_runtime_up 0',
      'pod_checkpointer_store_up 1',
    ]);
  });
});

test('an outage is measured from the first failure to the first answer; a daemon that has not asked yet measures nothing', async () => {
  const metrics = createMetrics();
  const report = reportMetrics(metrics);
  const at = (now: number, state: 'ok' | 'unknown' | 'unreachable') =>
    report(reported({}, { now, api: state === 'unreachable' ? { state, detail: 'refused' } : { state } }));
  at(0, 'unknown');
  at(1_000, 'ok');
  at(2_000, 'unreachable');
  at(9_000, 'unreachable');
  at(9_500, 'ok');
  at(20_000, 'ok');
  expect(await lines(metrics, /api_outage_duration_seconds_(sum|count)/)).toEqual([
    'pod_checkpointer_api_outage_duration_seconds_sum 7.5',
    'pod_checkpointer_api_outage_duration_seconds_count 1',
  ]);
});

test.each<[Milestone, string]>([
  ['Proven', 'proofs'],
  ['Activated', 'activations'],
  ['Yielded', 'yields'],
  ['RolledBack', 'rollbacks'],
  ['Refused', 'refusals'],
  ['Retired', 'retirements'],
])('%s is counted under %s', async (milestone, name) => {
  const metrics = createMetrics();
  const transition: Transition = { at: AT, workload: 'w', namespace: 'ns', state: 'proven', milestones: [milestone], message: '' };
  reportMetrics(metrics)({ ...reported({}), transitions: [transition, transition] });
  expect(await lines(metrics, new RegExp(`^pod_checkpointer_${name}_total`))).toEqual([`pod_checkpointer_${name}_total 2`]);
});

describe('errors', () => {
  test.each<[string, unknown]>([
    ['StoreFull', new StoreError('StoreFull', 'no room')],
    ['StoreFailing', Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })],
    ['ENOTDIR', Object.assign(new Error('not a directory'), { code: 'ENOTDIR' })],
    ['grpc-14', Object.assign(new Error('unavailable'), { code: 14 })],
    ['Other', Object.assign(new Error('x'), { code: 'a secret, by mistake' })],
    ['Other', 'not an Error'],
  ])('are counted by the code %s, never by their text', async (code, error) => {
    const metrics = createMetrics();
    countOutcome(metrics, { action: 'prove', ms: 5, error });
    expect(await lines(metrics, /^pod_checkpointer_(errors|actions)_total/)).toEqual([
      'pod_checkpointer_actions_total{action="prove",result="failed"} 1',
      `pod_checkpointer_errors_total{operation="prove",code="${code}"} 1`,
    ]);
  });

  test('are no saves; a save that was done is counted with its duration', async () => {
    const metrics = createMetrics();
    countOutcome(metrics, { action: 'save', ms: 70_000, error: new Error('x') });
    countOutcome(metrics, { action: 'save', ms: 250 });
    expect(await lines(metrics, /^pod_checkpointer_(saves_total|save_duration_seconds_sum)/)).toEqual([
      'pod_checkpointer_saves_total 1',
      'pod_checkpointer_save_duration_seconds_sum 0.25',
    ]);
  });
});

test('requests are counted by method and result, and logged without their bodies', async () => {
  const metrics = createMetrics();
  const said: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void said.push(line) });
  const answers: Pick<ApiClient, 'get' | 'post' | 'watch'> = {
    get: async () => ({ kind: 'ok', body: { data: 'planted' } }),
    post: async () => ({ kind: 'denied', status: 403, detail: '' }),
    watch: async () => unreachable('timeout', ''),
  };
  const client = countedClient(answers as ApiClient, metrics, log);
  const options = { signal: new AbortController().signal, headTimeoutMs: 1, bodyTimeoutMs: 1 };
  expect(await client.get('/a', options)).toEqual({ kind: 'ok', body: { data: 'planted' } });
  await client.post('/b', { data: 'planted' }, options);
  await client.watch('/c', { ...options, query: {}, onOpen: () => undefined, onEvent: () => undefined });
  expect(await lines(metrics, /^pod_checkpointer_api_answers_total/)).toEqual([
    'pod_checkpointer_api_answers_total{method="get",result="ok"} 1',
    'pod_checkpointer_api_answers_total{method="post",result="403"} 1',
    'pod_checkpointer_api_answers_total{method="watch",result="timeout"} 1',
  ]);
  expect(said).toHaveLength(3);
  expect(said.join('')).not.toContain('planted');
});

test('answers of the runtime are counted, and its failures stay failures', async () => {
  const metrics = createMetrics();
  const runtime = countedRuntime(
    {
      list: async () => ({ state: 'unknown', detail: '' }),
      stopContainer: () => Promise.reject(new Error('no such container')),
      removeContainer: async () => undefined,
      stopSandbox: () => Promise.reject(new Error('deadline exceeded')),
      hasImage: async () => true,
    } as unknown as RuntimeSource,
    metrics,
  );
  await runtime.list();
  await runtime.removeContainer('c');
  expect(await runtime.hasImage('i')).toBe(true);
  await expect(runtime.stopSandbox('s')).rejects.toThrow('deadline exceeded');
  await expect(runtime.stopContainer('c', 0)).rejects.toThrow('no such container');
  expect(await lines(metrics, /^pod_checkpointer_cri_answers_total/)).toEqual([
    'pod_checkpointer_cri_answers_total{operation="list",result="failed"} 1',
    'pod_checkpointer_cri_answers_total{operation="removeContainer",result="ok"} 1',
    'pod_checkpointer_cri_answers_total{operation="hasImage",result="ok"} 1',
    'pod_checkpointer_cri_answers_total{operation="stopSandbox",result="failed"} 1',
    'pod_checkpointer_cri_answers_total{operation="stopContainer",result="failed"} 1',
  ]);
});
