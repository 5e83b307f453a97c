import { describe, expect, test } from 'vitest';
import { Backoff } from '../../src/embedded/kubelet/backoff.ts';
import { environmentOf, expand, type ObjectReader, serviceVariables } from '../../src/embedded/kubelet/environment.ts';
import { containersToRemove, sandboxesToRemove } from '../../src/embedded/kubelet/gc.ts';
import { hasWaiter } from '../../src/embedded/kubelet/lock.ts';
import type { Pod, PodStatus } from '../../src/embedded/kubelet/pod.ts';
import { computePodActions } from '../../src/embedded/kubelet/pod-actions.ts';
import { podStatusOf } from '../../src/embedded/kubelet/pod-status.ts';
import { effectiveGrace } from '../../src/embedded/kubelet/pod-workers.ts';
import { advance, initialState, probePort } from '../../src/embedded/kubelet/probes.ts';
import {
  changedPods,
  type RuntimeContainer,
  type RuntimePod,
  type RuntimeSandbox,
  relistOf,
} from '../../src/embedded/kubelet/runtime-pods.ts';
import { volumeContent } from '../../src/embedded/kubelet/volume-content.ts';

const podWith = (spec: object = {}, metadata: object = {}): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { uid: 'u', name: 'p', namespace: 'ns', ...metadata },
  spec: { containers: [{ name: 'main', image: 'i' }], ...spec },
});
const sandbox = (id: string, attempt: number, ready: boolean): RuntimeSandbox => ({ id, attempt, ready, createdAt: attempt, ip: '' });
const container = (id: string, more: Partial<RuntimeContainer> = {}): RuntimeContainer => ({
  id,
  sandboxId: 's0',
  name: 'main',
  attempt: 0,
  state: 'running',
  image: 'i',
  createdAt: 1,
  startedAt: 1,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  ...more,
});
const runtime = (sandboxes: RuntimeSandbox[], containers: RuntimeContainer[] = []): RuntimePod => ({
  uid: 'u',
  name: 'p',
  namespace: 'ns',
  sandboxes,
  containers,
});

describe('crash back-off', () => {
  test('the first restart is immediate, then base, doubling to max; forgotten twice max after the last', () => {
    const backoff = new Backoff(10_000, 300_000);
    const waits: number[] = [];
    let now = 0;
    for (let i = 0; i < 8; i++) {
      waits.push(backoff.remaining('a', now, now));
      now += backoff.remaining('a', now, now);
      backoff.next('a', now, now);
    }
    expect(waits).toEqual([0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    expect(backoff.remaining('a', now, now + 299_999)).toBe(1);
    expect(backoff.remaining('a', now + 600_001, now + 600_001)).toBe(0);
    backoff.next('a', now + 600_001, now + 600_001);
    expect(backoff.delay('a')).toBe(10_000);
  });
});

describe('what a pod needs', () => {
  const actions = (pod: Pod, pods: RuntimePod, failed: string[] = []) => {
    const { killPod, createSandbox, start, stop } = computePodActions(pod, pods, new Set(failed));
    return { killPod, createSandbox, start: start.map(({ name }) => name), stop: stop.map(({ container: { id } }) => id) };
  };
  const exited = (exitCode: number) => container('c0', { state: 'exited', exitCode });

  test.each<[string, Pod, RuntimePod, string[], ReturnType<typeof actions>]>([
    ['nothing there: sandbox 0 and everything', podWith(), runtime([]), [], { killPod: true, createSandbox: 0, start: ['main'], stop: [] }],
    [
      'the sandbox died: the next one',
      podWith(),
      runtime([sandbox('s0', 0, false)], [exited(255)]),
      [],
      { killPod: true, createSandbox: 1, start: ['main'], stop: [] },
    ],
    [
      'all is well',
      podWith(),
      runtime([sandbox('s0', 0, true)], [container('c0')]),
      [],
      { killPod: false, createSandbox: undefined, start: [], stop: [] },
    ],
    [
      'a container ended: again',
      podWith(),
      runtime([sandbox('s0', 0, true)], [exited(0)]),
      [],
      { killPod: false, createSandbox: undefined, start: ['main'], stop: [] },
    ],
    [
      'restartPolicy OnFailure, success: over',
      podWith({ restartPolicy: 'OnFailure' }),
      runtime([sandbox('s0', 0, true)], [exited(0)]),
      [],
      { killPod: true, createSandbox: undefined, start: [], stop: [] },
    ],
    [
      'restartPolicy Never, failure: over',
      podWith({ restartPolicy: 'Never' }),
      runtime([sandbox('s0', 0, true)], [exited(1)]),
      [],
      { killPod: true, createSandbox: undefined, start: [], stop: [] },
    ],
    [
      'a failed probe: stop and start',
      podWith(),
      runtime([sandbox('s0', 0, true)], [container('c0')]),
      ['c0'],
      { killPod: false, createSandbox: undefined, start: ['main'], stop: ['c0'] },
    ],
    [
      'init containers come first',
      podWith({ initContainers: [{ name: 'init', image: 'i' }] }),
      runtime([]),
      [],
      { killPod: true, createSandbox: 0, start: ['init'], stop: [] },
    ],
    [
      'one at a time',
      podWith({ initContainers: [{ name: 'init', image: 'i' }] }),
      runtime([sandbox('s0', 0, true)], [container('i0', { name: 'init' })]),
      [],
      { killPod: false, createSandbox: undefined, start: [], stop: [] },
    ],
    [
      'then the others',
      podWith({ initContainers: [{ name: 'init', image: 'i' }] }),
      runtime([sandbox('s0', 0, true)], [container('i0', { name: 'init', state: 'exited' })]),
      [],
      { killPod: false, createSandbox: undefined, start: ['main'], stop: [] },
    ],
    [
      'two ready sandboxes: a new one',
      podWith(),
      runtime([sandbox('s1', 1, true), sandbox('s0', 0, true)]),
      [],
      { killPod: true, createSandbox: 2, start: ['main'], stop: [] },
    ],
  ])('%s', (_what, pod, pods, failed, expected) => {
    expect(actions(pod, pods, failed)).toEqual(expected);
  });
});

describe('the status of a pod', () => {
  const probes = { started: () => true, ready: () => true };
  const status = (
    pods: RuntimePod,
    more: {
      pod?: Pod;
      previous?: PodStatus;
      ended?: boolean;
      ready?: boolean;
      failures?: Map<string, { reason: string; message: string }>;
    } = {},
  ) =>
    podStatusOf({
      pod: more.pod ?? podWith(),
      runtime: pods,
      previous: more.previous,
      probes: { ...probes, ready: () => more.ready !== false },
      failures: more.failures ?? new Map(),
      hostIP: '127.0.0.1',
      ended: more.ended ?? false,
      now: 0,
    });
  const isReady = (result: PodStatus) => result.conditions?.find(({ type }) => type === 'Ready')?.status;
  const up = runtime([sandbox('s0', 0, true)], [container('c0')]);

  test('a pod without containers is Pending, with a running one Running, and Ready as its probe says', () => {
    expect(status(runtime([])).phase).toBe('Pending');
    expect(status(up).phase).toBe('Running');
    expect(isReady(status(up))).toBe('True');
    expect(isReady(status(up, { ready: false }))).toBe('False');
  });

  test('a readiness gate holds Ready back until its condition is True', () => {
    const gated = podWith({ readinessGates: [{ conditionType: 'x/y' }] });
    expect(isReady(status(up, { pod: gated }))).toBe('False');
    expect(isReady(status(up, { pod: { ...gated, status: { conditions: [{ type: 'x/y', status: 'True' }] } } }))).toBe('True');
  });

  test('a crashed container counts its attempts and shows why it waits', () => {
    const crashed = runtime([sandbox('s0', 0, true)], [container('c1', { state: 'exited', exitCode: 1, attempt: 1, createdAt: 2 })]);
    const result = status(crashed, { failures: new Map([['main', { reason: 'CrashLoopBackOff', message: 'm' }]]) });
    expect(result.phase).toBe('Running');
    expect(result.containerStatuses?.[0]).toMatchObject({
      restartCount: 1,
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: { terminated: { exitCode: 1 } },
    });
  });

  test('a container that the runtime forgot has ended, and the pod does not become Pending again', () => {
    const result = status(runtime([sandbox('s0', 0, true)]), { previous: status(up) });
    expect(result.phase).toBe('Running');
    expect(result.containerStatuses?.[0]).toMatchObject({
      restartCount: 1,
      lastState: { terminated: { reason: 'ContainerStatusUnknown', exitCode: 137 } },
    });
  });

  test('a pod of the API that was ended is Succeeded or Failed by its exit codes, a static pod neither', () => {
    const done = (exitCode: number) => runtime([sandbox('s0', 0, false)], [container('c0', { state: 'exited', exitCode })]);
    expect(status(done(0), { ended: true }).phase).toBe('Succeeded');
    expect(status(done(143), { ended: true }).phase).toBe('Failed');
    const isStatic = podWith({}, { annotations: { 'kubernetes.io/config.source': 'file' } });
    expect(status(done(143), { ended: true, pod: isStatic }).phase).toBe('Running');
  });

  test('a terminal phase is never left', () => {
    expect(status(up, { previous: { phase: 'Failed', reason: 'NodePorts' } })).toMatchObject({ phase: 'Failed', reason: 'NodePorts' });
  });
});

describe('probes', () => {
  const probe = { failureThreshold: 2, successThreshold: 1 };
  test('a new container is alive and not ready; a result counts from its threshold on', () => {
    expect(initialState('readiness', 'c').result).toBe('failure');
    expect(initialState('liveness', 'c').result).toBe('success');
    const once = advance('liveness', probe, initialState('liveness', 'c'), 'failure');
    expect(once.result).toBe('success');
    const twice = advance('liveness', probe, once, 'failure');
    expect(twice).toMatchObject({ result: 'failure', onHold: true });
    expect(advance('liveness', probe, advance('liveness', probe, once, 'success'), 'failure').result).toBe('success');
  });

  test('a startup probe is on hold once it has an answer, readiness never', () => {
    expect(advance('startup', probe, initialState('startup', 'c'), 'success')).toMatchObject({ result: 'success', onHold: true });
    expect(advance('readiness', probe, initialState('readiness', 'c'), 'success')).toMatchObject({ result: 'success', onHold: false });
  });

  test('a port is a number or a name of the container', () => {
    const ports = [{ name: 'https', containerPort: 6443 }];
    expect([probePort(80, ports), probePort('8080', ports), probePort('https', ports)]).toEqual([80, 8080, 6443]);
    expect(() => probePort('http', ports)).toThrow('probe port "http"');
  });
});

describe('environment and volumes', () => {
  const objects: ObjectReader = {
    secret: async (_ns, name) => (name === 's' ? new Map([['key', Buffer.from('secret')]]) : undefined),
    configMap: async (_ns, name) => (name === 'c' ? new Map([['KEY', Buffer.from('config')]]) : undefined),
    token: async (_pod, { audience }) => `token for ${audience}`,
  };
  const facts = { hostIP: '10.0.0.1', podIP: '10.1.0.1' };
  const environment = async (env: object[], more: object = {}, services = new Map<string, string>()) => {
    const variables = await environmentOf(podWith(), { name: 'main', env: env as never, ...more }, facts, services, objects);
    return Object.fromEntries(variables.map(({ key, value }) => [key, value]));
  };

  test('literals, references and fields; later values may use earlier ones; the pod wins over services', async () => {
    expect(
      await environment(
        [
          { name: 'A', value: 'a' },
          { name: 'B', value: '$(A)-$(SVC)-$(NOT)-$$(A)' },
          { name: 'C', valueFrom: { secretKeyRef: { name: 's', key: 'key' } } },
          { name: 'D', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
          { name: 'E', valueFrom: { configMapKeyRef: { name: 'none', key: 'k', optional: true } } },
        ],
        { envFrom: [{ prefix: 'P_', configMapRef: { name: 'c' } }] },
        new Map([
          ['SVC', 'service'],
          ['A', 'overruled'],
        ]),
      ),
    ).toEqual({ SVC: 'service', A: 'a', B: 'a-service-$(NOT)-$(A)', C: 'secret', D: '10.0.0.1', P_KEY: 'config' });
  });

  test('a missing object or key that is not optional keeps the container from being made', async () => {
    await expect(environment([{ name: 'A', valueFrom: { secretKeyRef: { name: 'none', key: 'k' } } }])).rejects.toThrow(
      'secret "none" not found',
    );
    await expect(environment([{ name: 'A', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }])).rejects.toThrow(
      "couldn't find key k in Secret ns/s",
    );
  });

  test('only the kubernetes service of default reaches pods of other namespaces', () => {
    const services = [
      { name: 'kubernetes', namespace: 'default', clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] },
      { name: 'my-db', namespace: 'ns', clusterIP: '10.96.0.2', ports: [{ port: 5432 }] },
      { name: 'other', namespace: 'default', clusterIP: '10.96.0.3', ports: [{ port: 1 }] },
    ];
    expect(Object.fromEntries(serviceVariables(podWith(), services))).toEqual({
      KUBERNETES_SERVICE_HOST: '10.96.0.1',
      KUBERNETES_SERVICE_PORT: '443',
      KUBERNETES_SERVICE_PORT_HTTPS: '443',
      MY_DB_SERVICE_HOST: '10.96.0.2',
      MY_DB_SERVICE_PORT: '5432',
    });
    expect([...serviceVariables(podWith({ enableServiceLinks: false }), services).keys()]).not.toContain('MY_DB_SERVICE_HOST');
  });

  test('expansion leaves what it does not know', () => {
    expect(expand('$(A) $$(A) $(B) $A $', (name) => (name === 'A' ? '1' : undefined))).toBe('1 $(A) $(B) $A $');
  });

  test('a projected volume holds what its sources say, with their modes', async () => {
    const volume = {
      name: 'v',
      projected: {
        defaultMode: 0o640,
        sources: [
          { secret: { name: 's', items: [{ key: 'key', path: 'tls/key', mode: 0o400 }] } },
          { configMap: { name: 'c' } },
          { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
          { serviceAccountToken: { path: 'token', audience: 'vault' } },
        ],
      },
    };
    const files = await volumeContent(podWith(), volume, facts, objects);
    expect(files?.map(({ path, bytes, mode }) => [path, bytes.toString(), mode])).toEqual([
      ['tls/key', 'secret', 0o400],
      ['KEY', 'config', 0o640],
      ['name', 'p', 0o640],
      ['token', 'token for vault', 0o600],
    ]);
    await expect(volumeContent(podWith(), { name: 'v', secret: { secretName: 'none' } }, facts, objects)).rejects.toThrow(
      'secret "none" not found',
    );
    expect(await volumeContent(podWith(), { name: 'v', secret: { secretName: 'none', optional: true } }, facts, objects)).toEqual([]);
  });
});

describe('what dead pods leave', () => {
  const dead = (id: string, createdAt: number, more: Partial<RuntimeContainer> = {}) =>
    container(id, { state: 'exited', createdAt, ...more });
  test('of a wanted pod the newest dead container of each name stays, of one that is gone nothing', () => {
    const containers = [container('c3'), dead('c2', 2), dead('c1', 1), dead('o1', 1, { name: 'other' })];
    expect(containersToRemove(containers, false).map(({ id }) => id)).toEqual(['c1']);
    expect(containersToRemove(containers, true).map(({ id }) => id)).toEqual(['c2', 'c1', 'o1']);
  });

  test('sandboxes that are ready or hold containers stay, and the newest of a wanted pod', () => {
    const sandboxes = [sandbox('s2', 2, true), sandbox('s1', 1, false), sandbox('s0', 0, false)];
    expect(sandboxesToRemove(sandboxes, [container('c', { sandboxId: 's0' })], false).map(({ id }) => id)).toEqual(['s1']);
    expect(sandboxesToRemove([sandbox('s0', 0, false)], [], false)).toEqual([]);
    expect(sandboxesToRemove([sandbox('s0', 0, false)], [], true).map(({ id }) => id)).toEqual(['s0']);
  });
});

test('a grace period is what the API server says or else the pod, only ever gets shorter, and is at least 1 s', () => {
  expect(effectiveGrace(0, podWith())).toBe(30);
  expect(effectiveGrace(0, podWith({ terminationGracePeriodSeconds: 5 }))).toBe(5);
  expect(effectiveGrace(30, podWith({}, { deletionGracePeriodSeconds: 3 }))).toBe(3);
  expect(effectiveGrace(3, podWith({}, { deletionGracePeriodSeconds: 60 }))).toBe(3);
  expect(effectiveGrace(30, podWith({}, { deletionGracePeriodSeconds: 0 }))).toBe(1);
});

test('a relist finds the pods of which anything changed', () => {
  const labels = (uid: string) => ({ 'io.kubernetes.pod.uid': uid });
  const box = (id: string, state: 0 | 1) => ({ id, state, labels: labels(id), annotations: {}, createdAt: 0n, runtimeHandler: '' });
  const before = relistOf([box('a', 0), box('b', 0), box('c', 0)], []);
  const after = relistOf([box('a', 0), box('b', 1), box('d', 0)], []);
  expect(changedPods(before, after).sort()).toEqual(['b', 'c', 'd']);
});

test('a waiter for a lock is found in /proc/locks by its inode', () => {
  const locks = '1: FLOCK  ADVISORY  WRITE 100 08:01:1234 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 200 08:01:1234 0 EOF\n';
  expect(hasWaiter(locks, 1234n)).toBe(true);
  expect(hasWaiter(locks, 234n)).toBe(false);
  expect(hasWaiter(locks.split('\n')[0] ?? '', 1234n)).toBe(false);
});
