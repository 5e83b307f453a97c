import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Connection, connect, parseEndpoint } from '../../src/sources/cri/client.ts';
import {
  CreateContainerRequest,
  NamespaceMode,
  PodSandboxConfig,
  RunPodSandboxRequest,
  RuntimeServiceService,
} from '../../src/sources/cri/generated/runtime.ts';
import { createRuntimeSource } from '../../src/sources/cri/source.ts';
import type { RuntimeSource, Sandbox } from '../../src/sources/snapshots.ts';
import { Containerd, IMAGE, missingForContainerd } from '../support/containerd/containerd.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const TIMEOUT_MS = 10_000;
/** As a kubelet's container that ends well on SIGTERM, with an exit code to recognize. */
const ENDS_ON_SIGTERM = ['/bin/busybox', 'sh', '-c', 'trap "exit 7" TERM; while :; do /bin/busybox sleep 0.1; done'];

describe.skipIf(skipLoudly('the CRI source on a real containerd', missingForContainerd()))('on a real containerd', () => {
  let containerd: Containerd;
  let connection: Connection;
  let source: RuntimeSource;
  let wakeUps = 0;

  beforeAll(async () => {
    containerd = await Containerd.create();
    connection = await connect(parseEndpoint(containerd.socket), TIMEOUT_MS);
    source = createRuntimeSource({
      endpoint: `unix://${containerd.socket}`,
      requestTimeoutMs: 2_000,
      onEvent: () => {
        wakeUps++;
      },
      log: { info: () => undefined, warn: () => undefined },
    });
  });

  afterAll(async () => {
    await source?.stop();
    connection?.close();
    await containerd?.destroy();
  });

  function sandboxConfig(name: string): PodSandboxConfig {
    const uid = `uid-of-${name}`;
    return PodSandboxConfig.fromPartial({
      metadata: { name, namespace: 'kube-system', uid, attempt: 2 },
      labels: { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.namespace': 'kube-system', 'io.kubernetes.pod.uid': uid },
      annotations: { 'kubernetes.io/config.source': 'api' },
      linux: {
        cgroupParent: containerd.cgroup,
        securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
      },
    });
  }

  async function runSandbox(name: string): Promise<{ id: string; config: PodSandboxConfig }> {
    const config = sandboxConfig(name);
    const answer = await connection.call(RuntimeServiceService.runPodSandbox, RunPodSandboxRequest.fromPartial({ config }), TIMEOUT_MS);
    return { id: answer.podSandboxId, config };
  }

  async function createContainer(sandbox: { id: string; config: PodSandboxConfig }, attempt: number): Promise<string> {
    const request = CreateContainerRequest.fromPartial({
      podSandboxId: sandbox.id,
      sandboxConfig: sandbox.config,
      config: { metadata: { name: 'main', attempt }, image: { image: IMAGE }, command: ENDS_ON_SIGTERM, linux: {} },
    });
    return (await connection.call(RuntimeServiceService.createContainer, request, TIMEOUT_MS)).containerId;
  }

  const startContainer = (containerId: string): Promise<unknown> =>
    connection.call(RuntimeServiceService.startContainer, { containerId }, TIMEOUT_MS);

  async function listed(name: string): Promise<Sandbox> {
    const snapshot = await source.list();
    if (snapshot.state !== 'ok') throw new Error(snapshot.detail);
    const sandbox = snapshot.sandboxes.find((candidate) => candidate.name === name);
    if (sandbox === undefined) throw new Error(`no sandbox ${name}`);
    return sandbox;
  }

  test('a sandbox and its containers are listed with identity, state, attempts, labels, annotations and times', async () => {
    const before = Date.now();
    const sandbox = await runSandbox('listed');
    const first = await createContainer(sandbox, 0);
    expect((await listed('listed')).containers).toMatchObject([
      { id: first, name: 'main', attempt: 0, state: 'created', startedAt: 0, finishedAt: 0, image: IMAGE },
    ]);
    await startContainer(first);
    await source.stopContainer(first, 5);
    const second = await createContainer(sandbox, 1);
    await startContainer(second);

    const found = await listed('listed');
    expect(found).toMatchObject({
      id: sandbox.id,
      namespace: 'kube-system',
      uid: 'uid-of-listed',
      attempt: 2,
      ready: true,
      labels: {
        'io.kubernetes.pod.name': 'listed',
        'io.kubernetes.pod.namespace': 'kube-system',
        'io.kubernetes.pod.uid': 'uid-of-listed',
      },
      annotations: { 'kubernetes.io/config.source': 'api' },
    });
    expect(found.containers).toMatchObject([
      { id: second, name: 'main', attempt: 1, state: 'running', finishedAt: 0, exitCode: 0 },
      { id: first, name: 'main', attempt: 0, state: 'exited', exitCode: 7 },
    ]);
    for (const at of [found.createdAt, ...found.containers.flatMap(({ createdAt, startedAt }) => [createdAt, startedAt])]) {
      expect(at).toBeGreaterThanOrEqual(before);
      expect(at).toBeLessThanOrEqual(Date.now());
    }
    const ended = found.containers[1];
    expect(ended?.finishedAt).toBeGreaterThan(ended?.startedAt ?? Number.NaN);
  });

  test('stopContainer ends a container; stopping one that is stopped or gone succeeds', async () => {
    const sandbox = await runSandbox('stopped');
    const id = await createContainer(sandbox, 0);
    await startContainer(id);
    await source.stopContainer(id, 0);
    expect((await listed('stopped')).containers).toMatchObject([{ id, state: 'exited', exitCode: 137 }]);

    await source.stopContainer(id, 0);
    await connection.call(RuntimeServiceService.removeContainer, { containerId: id }, TIMEOUT_MS);
    await source.stopContainer(id, 0);
    expect((await listed('stopped')).containers).toEqual([]);
  });

  test('a sandbox that was stopped is listed as not ready', async () => {
    const { id } = await runSandbox('not-ready');
    await connection.call(RuntimeServiceService.stopPodSandbox, { podSandboxId: id }, TIMEOUT_MS);
    expect(await listed('not-ready')).toMatchObject({ id, ready: false });
  });

  test('a killed containerd is unknown, not empty; when it is back its pods are listed again and the caller was woken', async () => {
    const sandbox = await runSandbox('survives');
    const container = await createContainer(sandbox, 0);
    await startContainer(container);
    await listed('survives');

    const woken = wakeUps;
    await containerd.kill();
    await until(() => wakeUps > woken);
    const lost = await source.list();
    expect(lost).toMatchObject({ state: 'unknown', detail: expect.stringContaining(containerd.socket) });

    const lostWakeUps = wakeUps;
    await containerd.start();
    await until(() => wakeUps > lostWakeUps, 2_000);
    const found = await until(() => listed('survives'), 2_000);
    expect(found).toMatchObject({ id: sandbox.id, ready: true, containers: [{ id: container, state: 'running' }] });
  });
});
