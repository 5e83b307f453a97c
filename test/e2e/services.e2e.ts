/** The kubelet and the container runtime end and start under a running control plane. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { deletePod } from './support/actions.ts';
import { eventually } from './support/eventually.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { settled } from './support/settled.ts';

const whole = { timeoutMs: 300_000, stored: true };
/** Whoever took the restart for an outage would have put a copy in place by now, and the kubelet have started it. */
const WATCHED_MS = 15_000;

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
      await eventually(() => node().inside(['curl', '--silent', '--fail', 'http://127.0.0.1:10248/healthz']), 60_000);
      await sleep(WATCHED_MS);
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
