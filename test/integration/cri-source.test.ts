import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Container, ContainerState, PodSandbox, PodSandboxState } from '../../src/sources/cri/generated/runtime.ts';
import { createRuntimeSource } from '../../src/sources/cri/source.ts';
import type { RuntimeSource } from '../../src/sources/snapshots.ts';
import { CriServer } from '../support/cri/server.ts';
import { until } from '../support/until.ts';

const TIMEOUT_MS = 1_000;

let directory: string;
let server: CriServer;
let source: RuntimeSource | undefined;
let wakeUps: number;

beforeEach(async () => {
  directory = await mkdtemp('/tmp/cri-');
  server = new CriServer(join(directory, 'cri.sock'));
  wakeUps = 0;
});

afterEach(async () => {
  await source?.stop();
  source = undefined;
  server.stop();
  await rm(directory, { recursive: true });
});

function open(requestTimeoutMs = TIMEOUT_MS): RuntimeSource {
  source = createRuntimeSource({
    endpoint: `unix://${server.socket}`,
    requestTimeoutMs,
    onEvent: () => {
      wakeUps++;
    },
    log: { info: () => undefined, warn: () => undefined },
  });
  return source;
}

function addPod(name: string, state: ContainerState = ContainerState.CONTAINER_RUNNING): void {
  const metadata = { name, namespace: 'ns', uid: `uid-${name}`, attempt: 0 };
  server.sandboxes.push(PodSandbox.fromPartial({ id: `sandbox-${name}`, metadata, state: PodSandboxState.SANDBOX_READY }));
  server.containers.push(
    Container.fromPartial({ id: `container-${name}`, podSandboxId: `sandbox-${name}`, metadata: { name: 'main' }, state }),
  );
}

describe('a list', () => {
  test('asks for the version first, once for each connection', async () => {
    await server.start();
    const runtime = open();
    await runtime.list();
    await runtime.list();
    server.stop();
    await until(async () => (await runtime.list()).state === 'unknown');
    await server.start();
    await until(async () => (await runtime.list()).state === 'ok');
    const order = server.calls.filter((name) => name === 'Version' || name === 'ListPodSandbox');
    expect(order[0]).toBe('Version');
    expect(server.count('Version')).toBe(2);
  });

  test('that is under way is shared by all who ask', async () => {
    await server.start();
    const runtime = open();
    const [first, second] = await Promise.all([runtime.list(), runtime.list()]);
    expect(first).toBe(second);
    expect(server.count('ListPodSandbox')).toBe(1);
  });

  test('asks for a container’s status only when its state has changed', async () => {
    await server.start();
    addPod('a');
    server.containerStatus = () => ({ state: ContainerState.CONTAINER_RUNNING, startedAt: 1_700_000_000_123_456_789n });
    const runtime = open();
    await runtime.list();
    expect(await runtime.list()).toMatchObject({ sandboxes: [{ containers: [{ state: 'running', startedAt: 1_700_000_000_123 }] }] });
    expect(server.count('ContainerStatus')).toBe(1);

    server.containers = server.containers.map((container) => ({ ...container, state: ContainerState.CONTAINER_EXITED }));
    server.containerStatus = () => ({ state: ContainerState.CONTAINER_EXITED, startedAt: 1_000_000n, finishedAt: 3_000_000n, exitCode: 2 });
    await runtime.list();
    expect(await runtime.list()).toMatchObject({ sandboxes: [{ containers: [{ state: 'exited', finishedAt: 3, exitCode: 2 }] }] });
    expect(server.count('ContainerStatus')).toBe(2);
  });

  test('leaves out a container that was removed in between', async () => {
    await server.start();
    addPod('a');
    expect(await open().list()).toMatchObject({ state: 'ok', sandboxes: [{ id: 'sandbox-a', containers: [] }] });
  });

  test('of 100 pods with 250 containers is read whole', async () => {
    await server.start();
    for (let i = 0; i < 100; i++) addPod(`pod-${i}`);
    for (let i = 0; i < 150; i++) {
      const sandbox = `sandbox-pod-${i % 100}`;
      server.containers.push(
        Container.fromPartial({
          id: `more-${i}`,
          podSandboxId: sandbox,
          metadata: { name: `c${i}` },
          state: ContainerState.CONTAINER_RUNNING,
        }),
      );
    }
    server.containerStatus = () => ({ state: ContainerState.CONTAINER_RUNNING, startedAt: 1_000_000n });
    const runtime = open(5_000);
    const startedAt = performance.now();
    const snapshot = await runtime.list();
    const first = performance.now() - startedAt;
    await runtime.list();
    console.log(`250 containers: first list ${first.toFixed(0)} ms, second ${(performance.now() - startedAt - first).toFixed(0)} ms`);
    expect(snapshot.state === 'ok' && snapshot.sandboxes.flatMap(({ containers }) => containers)).toHaveLength(250);
  });
});

describe('unknown, with what failed,', () => {
  test('is a socket that does not exist', async () => {
    expect(await open().list()).toEqual({ state: 'unknown', detail: expect.stringContaining(`${server.socket} does not exist`) });
  });

  test('is a socket on which nothing listens', async () => {
    const listener = createServer().listen(server.socket);
    await until(() => listener.listening);
    listener.unref();
    // A file in the socket's place refuses a connection as a socket that nobody listens on does.
    await new Promise((resolve) => listener.close(resolve));
    await writeFile(server.socket, '');
    expect(await open().list()).toEqual({
      state: 'unknown',
      detail: expect.stringContaining(`nothing listens on the container runtime's socket`),
    });
  });

  test.each(['version', 'list', 'status'] as const)('is a runtime that does not answer (%s) within the deadline', async (which) => {
    await server.start();
    addPod('a');
    server.containerStatus = () => 'silence';
    if (which === 'version') server.version = 'silence';
    if (which === 'list') server.listing = 'silence';
    const runtime = open(300);
    const startedAt = performance.now();
    const snapshot = await runtime.list();
    expect(performance.now() - startedAt).toBeLessThan(900);
    expect(snapshot).toEqual({ state: 'unknown', detail: expect.stringMatching(/did not answer within [0-9]+ ms/) });
  });

  test('is a socket whose other end accepts and says nothing', async () => {
    const mute = createServer(() => undefined).listen(server.socket);
    await until(() => mute.listening);
    expect(await open(300).list()).toEqual({ state: 'unknown', detail: expect.stringContaining('did not answer within') });
    await source?.stop();
    mute.close();
  });

  test('is a runtime that does not serve CRI v1', async () => {
    await server.start();
    server.version = { code: status.UNIMPLEMENTED };
    expect(await open().list()).toEqual({ state: 'unknown', detail: expect.stringContaining('does not serve it in CRI v1') });
  });

  test('is a runtime of another CRI version', async () => {
    await server.start();
    server.version = { version: '0.1.0', runtimeName: 'old', runtimeVersion: '0.9', runtimeApiVersion: 'v1alpha2' };
    expect(await open().list()).toEqual({ state: 'unknown', detail: expect.stringContaining('(old 0.9) speaks CRI "v1alpha2"') });
  });

  test('is an answer of more than 16 MiB', async () => {
    await server.start();
    addPod('a');
    server.sandboxes = server.sandboxes.map((sandbox) => ({ ...sandbox, annotations: { long: 'x'.repeat(17 * 1024 * 1024) } }));
    expect(await open(5_000).list()).toEqual({ state: 'unknown', detail: expect.stringContaining('at most 16777216 bytes') });
  });

  test('is a source that was stopped', async () => {
    await server.start();
    const runtime = open();
    await runtime.stop();
    expect(await runtime.list()).toEqual({ state: 'unknown', detail: expect.stringContaining('stopped') });
  });
});

describe('events', () => {
  test('wake the caller', async () => {
    await server.start();
    const runtime = open();
    await until(() => server.openStreams === 1);
    const before = wakeUps;
    server.sendEvent();
    await until(() => wakeUps > before);
    expect(runtime.sendsEvents).toBe(true);
  });

  test('are taken to come when the stream stays open, although none has come yet', async () => {
    await server.start();
    const runtime = open();
    expect(runtime.sendsEvents).toBe(false);
    await until(() => runtime.sendsEvents);
  });

  test('that the runtime does not have are asked for once', async () => {
    await server.start();
    server.events = 'unimplemented';
    const runtime = open();
    await until(() => server.count('GetContainerEvents') === 1);
    await sleep(1_500);
    expect(server.count('GetContainerEvents')).toBe(1);
    expect(runtime.sendsEvents).toBe(false);
    expect((await runtime.list()).state).toBe('ok');
  });

  test('are asked for again when the stream broke, ever more slowly', async () => {
    await server.start();
    server.events = 'ends';
    open();
    await until(() => server.count('GetContainerEvents') === 2);
    await sleep(1_200);
    expect(server.count('GetContainerEvents')).toBeLessThanOrEqual(3);
  });

  test('come again after the stream broke', async () => {
    await server.start();
    open();
    await until(() => server.openStreams === 1);
    server.endStreams();
    await until(() => server.openStreams === 1);
    const before = wakeUps;
    server.sendEvent();
    await until(() => wakeUps > before);
  });
});

describe('a runtime that was restarted', () => {
  test('is found again within a second or two, however long it was away, and the caller is woken', async () => {
    await server.start();
    const runtime = open();
    await until(() => server.openStreams === 1);
    const connected = wakeUps;
    server.stop();
    await until(() => wakeUps > connected);
    expect(runtime.sendsEvents).toBe(false);
    await sleep(2_500);

    const lost = wakeUps;
    await server.start();
    const startedAt = performance.now();
    expect((await runtime.list()).state).toBe('ok');
    expect(performance.now() - startedAt).toBeLessThan(500);
    await until(() => wakeUps > lost && server.openStreams === 1, 1_500);
  });
});

describe('stopContainer', () => {
  test('waits for the container’s own timeout beyond that of the request', async () => {
    await server.start();
    const asked: unknown[] = [];
    server.stopContainer = (id, timeout) => {
      asked.push([id, timeout]);
      return 'silence';
    };
    const runtime = open(200);
    const startedAt = performance.now();
    await expect(runtime.stopContainer('c1', 1)).rejects.toThrow('StopContainer: the container runtime at');
    expect(performance.now() - startedAt).toBeGreaterThan(1_150);
    expect(asked).toEqual([['c1', 1]]);
  });

  test('of one that is gone succeeds', async () => {
    await server.start();
    server.stopContainer = () => ({ code: status.NOT_FOUND });
    await open().stopContainer('c1', 0);
  });

  test('that fails says why', async () => {
    await server.start();
    server.stopContainer = () => ({ code: status.UNKNOWN });
    await expect(open().stopContainer('c1', 0)).rejects.toThrow(/StopContainer: .* answered UNKNOWN: told to/);
  });
});

test('stop ends questions under way and leaves nothing open', async () => {
  await server.start();
  server.listing = 'silence';
  const runtime = open(60_000);
  const listing = runtime.list();
  await until(() => server.count('ListPodSandbox') === 1 && server.openStreams === 1);
  const startedAt = performance.now();
  await runtime.stop();
  expect(performance.now() - startedAt).toBeLessThan(500);
  expect((await listing).state).toBe('unknown');
  await until(() => server.openStreams === 0);
});

test('a bad endpoint is an error at once', () => {
  const options = { requestTimeoutMs: 1, onEvent: () => undefined, log: { info: () => undefined, warn: () => undefined } };
  expect(() => createRuntimeSource({ ...options, endpoint: 'tcp://127.0.0.1:1' })).toThrow('is not a unix socket');
});
