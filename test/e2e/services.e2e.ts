/** The kubelet and the container runtime end and start under a running control plane. */
import { describe, expect, it } from 'vitest';
import { deletePod } from './support/actions.ts';
import { eventually } from './support/eventually.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { settled } from './support/settled.ts';

const whole = { timeoutMs: 300_000, stored: true };

describe.skipIf(noMachine('kubelet and runtime restarts'))('on a single master', () => {
  const { node, measure } = onNode('exclusive', 'services');

  it('a kubelet that starts while no API server answers gets the copies', async () => {
    const seen = await measure('kubelet restarted with the API server down', async () => {
      await deletePod(node(), 'kube-apiserver');
      await eventually(() => !node().isReady, 60_000);
      node().signal('kubelet', 'SIGKILL');
      await settled(node(), whole);
    });
    expect(seen.stable).toBeDefined();
  });

  it('a restarted kubelet changes nothing while the API server answers', async () => {
    const seen = await measure('kubelet restarted', async () => {
      node().signal('kubelet', 'SIGKILL');
      await settled(node(), whole);
    });
    expect(seen.outages).toEqual([]);
  });

  it('a restarted container runtime changes nothing: its containers go on', async () => {
    const seen = await measure('container runtime restarted', async () => {
      node().signal('containerd', 'SIGKILL');
      await eventually(
        () =>
          node()
            .inside(['ctr', 'version'])
            .then(() => true),
        60_000,
      );
      await settled(node(), whole);
    });
    expect(seen.outages).toEqual([]);
  });
});
