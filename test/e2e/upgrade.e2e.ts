/** Another version of the checkpointer, a good one and a broken one. */
import { describe, expect, it } from 'vitest';
import { readVersion } from '../../scripts/bundle.ts';
import { copiesOf, statusOf } from './support/actions.ts';
import { install } from './support/checkpointer.ts';
import { eventually } from './support/eventually.ts';
import { PAUSE_IMAGE, REGISTRY } from './support/images.ts';
import type { RealNode } from './support/node.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { dsPods, settled } from './support/settled.ts';

const whole = { timeoutMs: 300_000, stored: true };

describe.skipIf(noMachine('upgrades'))('an upgrade of the checkpointer on a single master', () => {
  const { node, measure } = onNode('exclusive', 'upgrade');
  const generation = async (): Promise<number> => (await statusOf(node(), 'pod-checkpointer'))?.active?.generation ?? 0;

  it('to a good version makes that the one that a reboot gets', async () => {
    const before = await generation();
    const seen = await measure('checkpointer upgraded', async () => {
      await tag(node(), `${REGISTRY}/pod-checkpointer:${await readVersion()}`, 'next');
      await install(node(), { overlay: 'node-identity', tag: 'next' });
      await eventually(async () => (await generation()) > before, 240_000);
      await settled(node(), whole);
    });
    expect(seen.outages).toEqual([]);
    await measure('power cut after the upgrade', async () => {
      await node().powerCut();
      await settled(node(), whole);
    });
  });

  it('to a version that crashes leaves the one before at work, through a reboot, too', async () => {
    const before = await copiesOf(node(), 'pod-checkpointer');
    await measure('checkpointer upgraded to one that crashes, then a power cut', async () => {
      // It takes none of the daemon's arguments.
      await tag(node(), PAUSE_IMAGE, 'broken');
      await install(node(), { overlay: 'node-identity', tag: 'broken' });
      await eventually(
        async () => (await dsPods(node(), 'pod-checkpointer')).some((pod) => (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 2),
        240_000,
      );
      await node().powerCut();
      await settled(node(), whole);
    });
    expect(await copiesOf(node(), 'pod-checkpointer')).toEqual(before);
  });
});

async function tag(node: RealNode, image: string, version: string): Promise<void> {
  await node.inside(['ctr', '--namespace=k8s.io', 'images', 'tag', '--force', image, `${REGISTRY}/pod-checkpointer:${version}`]);
}
