/** A kubeadm-like control plane becomes self-hosted, lives as one, and goes back. */
import { readFileSync, writeFileSync } from 'node:fs';
import { load } from 'js-yaml';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { EmbeddedNode } from '../../src/embedded/node/node.ts';
import { COMPONENTS, type Component } from '../../src/pivot/component.ts';
import {
  daemonSetOf,
  expectWorking,
  handedBack,
  isReady,
  journalOf,
  manifestPath,
  manifestsOf,
  masterOfStaticPods,
  podsOf,
  type Ran,
  run,
  setImage,
  staticPod,
} from '../support/pivot/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('pivot, life and way back of a single master');

describe('a control plane of static pods', () => {
  let node: EmbeddedNode;
  let original: ReturnType<typeof manifestsOf>;
  let last: Ran | undefined;
  const did = async (command: 'pivot' | 'unpivot', ...args: string[]): Promise<Ran> => {
    last = await run(node, command, ...args);
    return last;
  };
  beforeAll(async () => {
    node = await masterOfStaticPods();
    original = manifestsOf(node);
  }, 120_000);
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(last?.lines.join('\n'));
  });
  afterAll(() => node?.destroy());

  it('is shown what would be applied, and is not changed by that', async () => {
    const { code, lines } = await did('pivot', '--dry-run', '-o', 'yaml');
    expect(code).toBe(0);
    expect(lines.filter((line) => line === 'kind: DaemonSet')).toHaveLength(3);
    expect((await did('pivot', '--diff')).lines).toContain('DaemonSet kube-apiserver: is not there, would be made');
    expect(manifestsOf(node)).toEqual(original);
    expect(await journalOf(node)).toBeUndefined();
  }, 60_000);

  it('is not changed at all where a check fails', async () => {
    const other = manifestPath(node, 'kube-scheduler');
    writeFileSync(other, original['kube-scheduler'].replace('v1.36.2', 'v1.29.1'));
    const { code, lines } = await did('pivot');
    writeFileSync(other, original['kube-scheduler']);
    expect(code).toBe(3);
    expect(lines.some((line) => line.startsWith('fail') && line.includes('kube-scheduler 1.29: expected 1.30 to 1.36'))).toBe(true);
    expect(await journalOf(node)).toBeUndefined();
    await node.waitFor(
      'the scheduler is back',
      async () =>
        (await podsOf(node)).some(
          (pod) => pod.metadata?.name === 'kube-scheduler-master-1' && isReady(pod) && pod.spec?.containers[0]?.image?.endsWith('v1.36.2'),
        ),
      60_000,
    );
  }, 120_000);

  it('becomes self-hosted', async () => {
    const outage = await apiOutages(node, async () => {
      expect((await did('pivot')).code).toBe(0);
    });
    table.row('pivot', outage);
    expect(outage.longest).toBeLessThan(5_000);
    expect((await node.manifests()).filter((file) => file.startsWith('kube-'))).toEqual([]);
    for (const component of COMPONENTS) expect((await podsOf(node, component)).filter(isReady)).toHaveLength(1);
    expect((await journalOf(node))?.place).toEqual({ state: 'healthy', done: 12 });
    await expectWorking(node, 'after-pivot');
  }, 300_000);

  it('is left as it is by a second pivot', async () => {
    expect((await did('pivot')).lines).toEqual(['This node is self-hosted already.']);
  }, 30_000);

  it('comes back from a power cut', async () => {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    const at = Date.now();
    await node.powerOn();
    await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
    const ready = Date.now() - at;
    const outage = await apiOutages(node, () => handedBack(node));
    table.row('power on to the hand-back', outage, `first /readyz after ${ready} ms`);
    await expectWorking(node, 'after-power-cut');
  }, 180_000);

  it.each<Component>([...COMPONENTS])(
    'rolls a new version of %s without an outage',
    async (component) => {
      const outage = await apiOutages(node, async () => {
        await setImage(node, component, `registry.local/${component}:v1.36.3`);
        await rolledOut(component, 'v1.36.3');
      });
      table.row(`upgrade of ${component}`, outage);
      await handedBack(node);
      await expectWorking(node, `after-${component}`);
    },
    180_000,
  );

  it('goes on with the old version of a component whose new one does not work', async () => {
    const outage = await apiOutages(node, async () => {
      await setImage(node, 'kube-scheduler', 'registry.local/crash:v1.36.4');
      await node.waitFor(
        'the new pod fails',
        async () => (await podsOf(node, 'kube-scheduler')).some((pod) => !isReady(pod) && image(pod)?.endsWith('v1.36.4')),
        60_000,
      );
      await expectWorking(node, 'beside-a-bad-one');
      await setImage(node, 'kube-scheduler', 'registry.local/kube-scheduler:v1.36.3');
      await rolledOut('kube-scheduler', 'v1.36.3');
    });
    table.row('bad upgrade of kube-scheduler, and back', outage);
    await handedBack(node);
  }, 240_000);

  it('goes back to static pods of the version that runs now', async () => {
    const outage = await apiOutages(node, async () => {
      expect((await did('unpivot')).code).toBe(0);
    });
    table.row('unpivot', outage);
    expect(outage.longest).toBeLessThan(5_000);
    for (const component of COMPONENTS) {
      const back = load(readFileSync(manifestPath(node, component), 'utf8'));
      const was = staticPod(node, component);
      const containers = was.spec?.containers.map((one) => ({ ...one, image: `registry.local/${component}:v1.36.3` }));
      expect(back).toMatchObject({ ...was, spec: { ...was.spec, containers } });
      expect(JSON.stringify(back)).not.toContain('permit-port-sharing');
      expect(await daemonSetOf(node, component)).toBeUndefined();
    }
    await expectWorking(node, 'after-unpivot');
  }, 300_000);

  it('is self-hosted a second time, and goes back to what it was, byte for byte', async () => {
    for (const component of COMPONENTS) writeFileSync(manifestPath(node, component), original[component]);
    await node.waitFor(
      'the old versions run',
      async () => (await podsOf(node)).filter((pod) => isReady(pod) && image(pod)?.endsWith('v1.36.2')).length === 3,
      60_000,
    );
    expect((await did('pivot')).code).toBe(0);
    expect((await did('unpivot')).code).toBe(0);
    expect(manifestsOf(node)).toEqual(original);
    await expectWorking(node, 'after-all');
  }, 400_000);

  const image = (pod: Awaited<ReturnType<typeof podsOf>>[number]) => pod.spec?.containers[0]?.image;
  const rolledOut = (component: Component, version: string) =>
    node.waitFor(
      `${component} ${version} is rolled out`,
      async () => {
        const pods = await podsOf(node, component);
        return pods.length === 1 && pods.every((pod) => isReady(pod) && image(pod)?.endsWith(version));
      },
      120_000,
    );
});
