/** A control plane of static pods becomes self-hosted on a real node, lives as one, and goes back. */
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS, type Component } from '../../src/pivot/component.ts';
import { buildImage, install } from './support/checkpointer.ts';
import { eventually } from './support/eventually.ts';
import { imageOf, PAUSE_IMAGE, REGISTRY } from './support/images.ts';
import { NODE_NAME } from './support/layout.ts';
import { findMachine } from './support/machine.ts';
import type { RealNode } from './support/node.ts';
import { type Seen, seenBetween } from './support/outages.ts';
import { noMachine } from './support/scenario.ts';
import { dsPods, isReadyPod, settled } from './support/settled.ts';
import { nodeIn } from './support/states.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
/** The one restart that gives the API server's static pod port sharing, or takes it away. Seconds. */
const RESTART = 5;
/** Twelve steps, each of them with its waits. */
const COMMAND_MS = 1_100_000;

describe.skipIf(noMachine('pivot'))('a control plane of static pods', () => {
  let node: RealNode;
  let original: Readonly<Record<string, string>>;
  const rows: object[] = [];

  beforeAll(async () => {
    const found = findMachine();
    if (found.state === 'missing') throw new Error(found.reason);
    node = await nodeIn('static', found.machine, 'pivot');
    const archives = join(found.machine.directory, 'image', 'pivot');
    await rm(archives, { recursive: true, force: true });
    await mkdir(archives, { recursive: true });
    await cp(await buildImage(archives), join(node.files.images, 'pod-checkpointer.tar'));
    await node.powerOn();
    await node.importImages();
    await eventually(() => node.isReady, 120_000);
    await eventually(() => install(node, { overlay: 'node-identity' }).then(() => true), 60_000);
    await eventually(async () => (await dsPods(node, 'pod-checkpointer')).some(isReadyPod), 120_000);
    original = await manifests();
  }, 900_000);
  afterAll(async () => {
    await node?.destroy();
    console.table(rows);
  });

  const manifests = async (): Promise<Record<string, string>> => {
    const names = (await readdir(node.files.manifests)).filter((name) => name.startsWith('kube-'));
    return Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await readFile(join(node.files.manifests, name), 'utf8')] as const)),
    );
  };

  /** `checkpointer pivot` or `unpivot`, as root on the host. */
  const checkpointer = (command: 'pivot' | 'unpivot'): Promise<string> =>
    node.inside(
      [process.execPath, CLI, command, '--yes', `--node-name=${NODE_NAME}`, ...(command === 'pivot' ? from() : [])],
      undefined,
      COMMAND_MS,
    );
  const from = (): string[] => Object.keys(original).flatMap((name) => ['--from', `/etc/kubernetes/manifests/${basename(name)}`]);

  async function measure(story: string, tell: () => Promise<unknown>): Promise<Seen> {
    const at = Date.now();
    await tell();
    const seen = seenBetween(node.changes, at, Date.now());
    rows.push({ story, outageS: seen.outage, outages: seen.outages.join(' '), tookS: Math.round((Date.now() - at) / 1000) });
    return seen;
  }

  const setImage = (component: Component, image: string): Promise<string> =>
    node.kubectl(['--namespace=kube-system', 'set', 'image', `daemonset/${component}`, `${component}=${image}`]);
  const rolledOut = (component: Component, image: string): Promise<boolean> =>
    eventually(async () => {
      const pods = await dsPods(node, component);
      return pods.length === 1 && pods.every((pod) => isReadyPod(pod) && pod.spec?.containers[0]?.image === image);
    }, 240_000);
  const tag = (image: string, as: string): Promise<string> =>
    node.inside(['ctr', '--namespace=k8s.io', 'images', 'tag', '--force', image, as]);

  it('becomes self-hosted with one restart', async () => {
    const seen = await measure('pivot', () => checkpointer('pivot'));
    expect(Math.max(0, ...seen.outages)).toBeLessThanOrEqual(RESTART);
    expect(await manifests()).toEqual({});
    await settled(node, { timeoutMs: 240_000 });
  }, 1_200_000);

  it('comes back from a power cut', async () => {
    await measure('power cut', async () => {
      await node.powerCut();
      await settled(node, { timeoutMs: 240_000 });
    });
  });

  it.each<Component>([...COMPONENTS])('rolls a new version of %s without an outage', async (component) => {
    const next = `${REGISTRY}/${component}:next`;
    await tag(imageOf(component), next);
    const seen = await measure(`upgrade of ${component}`, async () => {
      await setImage(component, next);
      await rolledOut(component, next);
    });
    // While one of two servers ends, a new connection may still reach it.
    expect(Math.max(0, ...seen.outages)).toBeLessThan(1);
    await settled(node, { timeoutMs: 240_000 });
  });

  it.each<Component>(['kube-scheduler', 'kube-apiserver'])(
    'goes on with the old version of %s when the new one does not work',
    async (component) => {
      const broken = `${REGISTRY}/${component}:broken`;
      await tag(PAUSE_IMAGE, broken);
      const seen = await measure(`bad upgrade of ${component}`, async () => {
        await setImage(component, broken);
        await eventually(
          async () => (await dsPods(node, component)).some((pod) => !isReadyPod(pod) && pod.spec?.containers[0]?.image === broken),
          120_000,
        );
        await setImage(component, imageOf(component));
        await rolledOut(component, imageOf(component));
      });
      expect(Math.max(0, ...seen.outages)).toBeLessThan(1);
      await settled(node, { timeoutMs: 240_000 });
    },
  );

  it('goes back, with one restart', async () => {
    for (const component of COMPONENTS) {
      await setImage(component, imageOf(component));
      await rolledOut(component, imageOf(component));
    }
    await settled(node, { timeoutMs: 240_000 });
    const seen = await measure('unpivot', () => checkpointer('unpivot'));
    expect(Math.max(0, ...seen.outages)).toBeLessThanOrEqual(RESTART);
    expect(await manifests()).toEqual(original);
    expect(await node.kubectl(['get', 'nodes', '--output=name'])).toContain(NODE_NAME);
  }, 1_200_000);
});
