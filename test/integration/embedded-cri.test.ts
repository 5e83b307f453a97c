import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type CriClient, connectCri, imageSpec } from '../../src/embedded/kubelet/cri-client.ts';
import { processesOf } from '../../src/embedded/node/processes.ts';
import { ContainerConfig, ContainerState, PodSandboxConfig, PodSandboxState } from '../../src/sources/cri/generated/runtime.ts';
import { type Program, type TestNode, testNode, writeImages } from '../support/embedded-node/processes.ts';
import { until } from '../support/until.ts';

describe('the container runtime of the embedded node', () => {
  let node: TestNode;
  let cri: CriClient;
  let program: Program;
  const boot = () => {
    program = node.start(
      'cri',
      '--socket',
      join(node.dir, 'cri.sock'),
      '--state-dir',
      join(node.dir, 'cri'),
      '--images',
      writeImages(node.dir),
    );
    cri = connectCri(`unix://${node.dir}/cri.sock`, 10_000);
  };
  beforeEach(() => {
    node = testNode();
    boot();
  });
  afterEach(async () => {
    cri.close();
    await node[Symbol.asyncDispose]();
  });

  const sandboxConfig = (name: string) =>
    PodSandboxConfig.fromPartial({
      metadata: { name, uid: `uid-${name}`, namespace: 'kube-system', attempt: 0 },
      labels: { 'io.kubernetes.pod.name': name },
      annotations: { 'kubernetes.io/config.source': 'file' },
      logDirectory: join(node.dir, 'logs'),
    });
  const containerConfig = (image: string, more: Parameters<typeof ContainerConfig.fromPartial>[0] = {}) =>
    ContainerConfig.fromPartial({ metadata: { name: 'main', attempt: 0 }, image: imageSpec(image), logPath: 'main/0.log', ...more });
  const run = async (image: string, more: Parameters<typeof ContainerConfig.fromPartial>[0] = {}) => {
    const sandbox = await cri.runSandbox(sandboxConfig('web'));
    const container = await cri.createContainer(sandbox, containerConfig(image, more), sandboxConfig('web'));
    await cri.startContainer(container);
    return { sandbox, container };
  };
  const state = async (id: string) => (await cri.containerStatus(id))?.state;

  test('a container is a process with the words, environment and files that its mounts make of them, and its output is in the log', async () => {
    writeFileSync(join(node.dir, 'file'), 'from the host\n');
    const { container } = await run('registry.local/sleep', {
      command: ['sh', '-c', 'cat "$1"; echo "$WHERE"', 'sh', '/etc/secret/file'],
      envs: [{ key: 'WHERE', value: '/etc/secret' }],
      mounts: [{ containerPath: '/etc/secret', hostPath: node.dir }],
    });
    await until(async () => (await state(container)) === ContainerState.CONTAINER_EXITED);
    expect(readFileSync(join(node.dir, 'logs/main/0.log'), 'utf8')).toBe(`from the host\n${node.dir}\n`);
    expect(await cri.containerStatus(container)).toMatchObject({ exitCode: 0, reason: 'Completed' });
  });

  test('stop sends SIGTERM to the whole container and keeps its exit code; one that ignores it is killed after the timeout', async () => {
    const { container } = await run('registry.local/sleep', {
      command: ['sh', '-c', 'trap "exit 7" TERM; touch "$1"; sleep 60 & wait', 'sh', join(node.dir, 'up')],
    });
    await until(() => existsSync(join(node.dir, 'up')));
    await cri.stopContainer(container, 10);
    expect(await cri.containerStatus(container)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 7, reason: 'Error' });

    const deaf = await run('registry.local/sleep', {
      command: ['sh', '-c', 'trap "" TERM; touch "$1"; sleep 60', 'sh', join(node.dir, 'deaf')],
    });
    await until(() => existsSync(join(node.dir, 'deaf')));
    await cri.stopContainer(deaf.container, 1);
    expect(await cri.containerStatus(deaf.container)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
  });

  test('an image that is not in the table cannot be pulled, one that is not on the node has to be', async () => {
    await expect(cri.pullImage('registry.local/nothing:v1')).rejects.toMatchObject({ code: 5 });
    await expect(run('registry.local/remote:v1')).rejects.toMatchObject({ code: 5 });
    expect(await cri.hasImage('registry.local/remote:v1')).toBe(false);
    await cri.pullImage('registry.local/remote:v1');
    expect(await cri.hasImage('registry.local/remote:v1')).toBe(true);
    await run('registry.local/remote:v1');
  });

  test('containers outlive a killed runtime, and their exit codes are known to the next one', async () => {
    const kept = await run('registry.local/sleep');
    const ending = await run('registry.local/sleep', {
      command: ['sh', '-c', 'while [ ! -e "$1" ]; do sleep 0.05; done; exit 3', 'sh', join(node.dir, 'go')],
    });
    cri.close();
    await program.kill('SIGKILL');
    writeFileSync(join(node.dir, 'go'), '');
    boot();
    expect(await state(kept.container)).toBe(ContainerState.CONTAINER_RUNNING);
    await until(async () => (await cri.containerStatus(ending.container))?.exitCode === 3);
    expect((await cri.listSandboxes()).map((sandbox) => sandbox.state)).toEqual([
      PodSandboxState.SANDBOX_READY,
      PodSandboxState.SANDBOX_READY,
    ]);
    await cri.stopContainer(kept.container, 5);
    expect(await state(kept.container)).toBe(ContainerState.CONTAINER_EXITED);
  });

  test('a power cut leaves no process; what ran is found not ready and exited, with its labels and annotations', async () => {
    const { sandbox, container } = await run('registry.local/sleep');
    cri.close();
    await node.powerOff();
    expect(processesOf(node.id)).toEqual([]);
    boot();
    expect(await cri.sandboxStatus(sandbox)).toMatchObject({
      state: PodSandboxState.SANDBOX_NOTREADY,
      labels: { 'io.kubernetes.pod.name': 'web' },
      annotations: { 'kubernetes.io/config.source': 'file' },
    });
    expect(await cri.containerStatus(container)).toMatchObject({
      state: ContainerState.CONTAINER_EXITED,
      exitCode: 255,
      reason: 'Unknown',
    });
    await expect(cri.createContainer(sandbox, containerConfig('registry.local/sleep'), sandboxConfig('web'))).rejects.toThrow(
      /not running/,
    );
  });

  test('when the power line closes nothing is left running', async () => {
    const line = node.start(
      'cri',
      '--power-line',
      '--socket',
      join(node.dir, 'b.sock'),
      '--state-dir',
      join(node.dir, 'b'),
      '--images',
      writeImages(node.dir),
    );
    await run('registry.local/sleep');
    line.child.stdin?.end();
    await until(() => processesOf(node.id).length === 0);
  });

  test('events tell of every container that is created, started, stopped and deleted', async () => {
    const seen: [string, number][] = [];
    const events = cri.events();
    events.on('error', () => {});
    const subscribed = new Promise((resolve) => events.once('metadata', resolve));
    events.on('data', (event: { containerId: string; containerEventType: number }) =>
      seen.push([event.containerId, event.containerEventType]),
    );
    await subscribed;
    const { sandbox, container } = await run('registry.local/sleep');
    await cri.stopContainer(container, 5);
    await cri.removeSandbox(sandbox);
    await until(() => seen.some(([id, type]) => id === sandbox && type === 3));
    expect(seen.filter(([id]) => id === container).map(([, type]) => type)).toEqual([0, 1, 2, 3]);
    events.cancel();
    expect(await cri.listSandboxes()).toEqual([]);
    expect(await cri.listContainers()).toEqual([]);
  });
});
