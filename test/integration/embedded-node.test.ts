import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { bootstrap } from '../../src/embedded/node/bootstrap.ts';
import { apiserverFlags } from '../../src/embedded/node/control-plane.ts';
import { createNode, type EmbeddedNode, type NodeOptions } from '../../src/embedded/node/node.ts';
import { processesOf } from '../../src/embedded/node/processes.ts';
import { outagesBetween } from '../../src/embedded/node/readyz.ts';
import { EMBEDDED } from '../support/embedded-node/processes.ts';
import { until } from '../support/until.ts';

describe('the embedded node', () => {
  let node: EmbeddedNode;
  const create = async (options: Partial<NodeOptions> = {}) => {
    node = await createNode({
      embedded: EMBEDDED,
      kubeletFlags: ['--status-sync-period=500ms', '--relist-period=300ms', '--node-sync-period=200ms'],
      ...options,
    });
    return node;
  };
  afterEach(() => node?.destroy());

  const running = async () => (await node.containers()).filter(({ state }) => state === 'running').map(({ container }) => container);

  test.each([
    ['shared', true],
    ['exclusive', false],
  ])(
    'pivots to a self-hosted control plane on a port that is %s; after a power cut it does not come back by itself',
    async (_what, portSharing) => {
      await create({ portSharing });
      await node.powerOn();
      await bootstrap(node);
      expect((await running()).sort()).toEqual(['kube-apiserver', 'kube-controller-manager', 'kube-scheduler']);
      expect(node.readyz.up()).toBe(true);
      const events = node.timeline.all();
      const pivoted = Date.now();
      expect(events.filter(({ kind }) => kind === 'bootstrap').at(-1)).toMatchObject({ step: 'self-hosted' });

      await node.powerOff();
      expect(processesOf(node.id)).toEqual([]);
      await until(() => node.readyz.up() === false);
      await node.powerOn();
      await until(() =>
        node.timeline.all().some((event) => event.kind === 'log' && event.line.includes('source file read') && event.at > pivoted),
      );
      expect(await running()).toEqual([]);
      expect(node.readyz.up()).toBe(false);
    },
    60_000,
  );

  test('a static pod of the API server closes the loop: with it the other pods come back after a power cut', async () => {
    await create();
    await node.powerOn();
    await bootstrap(node);
    const { kubernetes, etcd, manifests } = node.layout;
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'by-hand', namespace: 'kube-system' },
      spec: {
        hostNetwork: true,
        // Told to end, it keeps its watches until it is killed.
        terminationGracePeriodSeconds: 1,
        containers: [
          {
            name: 'kube-apiserver',
            image: 'registry.local/kube-apiserver:v1',
            args: apiserverFlags(node.controlPlane(), `${kubernetes}/pki`, etcd),
          },
        ],
      },
    };
    await node.powerOff();
    writeFileSync(join(manifests, 'by-hand.json'), JSON.stringify(pod));
    const cut = Date.now();
    await node.powerOn();
    await until(() => node.readyz.up() === true, 10_000);
    await until(async () => (await running()).filter((name) => name === 'kube-apiserver').length === 2, 15_000);
    await until(async () => (await running()).includes('kube-scheduler'), 15_000);
    rmSync(join(manifests, 'by-hand.json'));
    await until(async () => (await running()).filter((name) => name === 'kube-apiserver').length === 1, 15_000);
    expect(
      outagesBetween(node.readyz.transitions(), cut, Date.now()).reduce((sum, { from, to }) => sum + ((to ?? Date.now()) - from), 0),
    ).toBeLessThan(1500);
    expect(node.timeline.all()).toContainEqual(expect.objectContaining({ kind: 'manifest', change: 'removed', file: 'by-hand.json' }));
  }, 60_000);

  test('a boot has a new boot id, an empty run directory and nothing of what was in memory', async () => {
    await create();
    await node.powerOn();
    await node.cri().version();
    const { run, kubelet } = node.layout;
    writeFileSync(join(run, 'left'), '');
    const first = readFileSync(node.layout.bootIdFile, 'utf8');
    for (const plugin of ['secret', 'configmap']) mkdirSync(join(kubelet, `pods/u/volumes/kubernetes.io~${plugin}/v`), { recursive: true });
    await node.powerOff();
    await node.powerOn();
    expect(readFileSync(node.layout.bootIdFile, 'utf8')).not.toBe(first);
    expect(existsSync(join(run, 'left'))).toBe(false);
    expect(existsSync(join(kubelet, 'pods/u/volumes/kubernetes.io~secret'))).toBe(false);
    expect(existsSync(join(kubelet, 'pods/u/volumes/kubernetes.io~configmap/v'))).toBe(true);
  });

  test('containers go on while the runtime and the kubelet restart', async () => {
    await create();
    writeFileSync(
      join(node.layout.manifests, 'a.json'),
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'a' },
        spec: { containers: [{ name: 'main', image: 'registry.local/sleep:v1' }] },
      }),
    );
    await node.powerOn();
    await until(async () => (await running()).length === 1, 10_000);
    const before = await node.containers();
    await node.restartRuntime('SIGKILL');
    await node.restartKubelet('SIGKILL');
    await until(
      () => node.timeline.all().filter((event) => event.kind === 'log' && event.line.includes('source file read')).length === 2,
      10_000,
    );
    expect(await node.containers()).toEqual(before);
  });

  test('does not outlive its maker, not even one that is killed', async () => {
    const maker = spawn(process.execPath, [fileURLToPath(new URL('../support/embedded-node/maker.ts', import.meta.url))], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [id = '', dir = ''] = (
      await new Promise<string>((resolve) => maker.stdout.once('data', (data: Buffer) => resolve(data.toString())))
    )
      .trim()
      .split(' ');
    expect(processesOf(id).length).toBeGreaterThan(0);
    maker.kill('SIGKILL');
    await until(() => processesOf(id).length === 0);
    rmSync(dir, { recursive: true, force: true });
  });
});
