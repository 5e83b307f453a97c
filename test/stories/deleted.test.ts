/** What a person takes away on purpose leaves, and the last API server does not go with it. */
import { describe, expect, it } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { handedBack } from '../../src/embedded/demo/story.ts';
import {
  activeCopies,
  deleteDaemonSet,
  podsOf,
  proven,
  QUICK,
  rolledOut,
  selectNodes,
  selfHosted,
  statusOf,
  storedOf,
} from './support/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('what is deleted, and what stays');

describe('a single master on an exclusive port', () => {
  const cluster = selfHosted({ checkpointerFlags: [...QUICK, '--checkpoint-grace-period=3s'] });

  it('has its API server back when the pod of the only one is deleted', async () => {
    const { node } = cluster();
    const outage = await apiOutages(node, async () => {
      const [pod] = await podsOf(node, 'kube-apiserver');
      await node.api().request('DELETE', `/api/v1/namespaces/kube-system/pods/${pod?.metadata?.name}`, {});
      await node.waitFor('/readyz is down', () => node.readyz.up() === false);
      await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
      await handedBack(node);
    });
    table.row('kubectl delete pod of the only API server', outage);
    // --activate-after and the start of the copy, then the hand-back.
    const [down = 0, ...handBack] = outage.outages;
    expect(down).toBeLessThan(8_000);
    expect(Math.max(0, ...handBack)).toBeLessThan(4_000);
  }, 120_000);

  it('retires the scheduler when its node selector leaves the node out, and saves it again when it is back', async () => {
    const { node } = cluster();
    const outage = await apiOutages(node, async () => {
      await selectNodes(node, 'kube-scheduler', { there: 'elsewhere' });
      await node.waitFor('it is retired', async () => (await storedOf(node, 'kube-scheduler')) === undefined, 60_000);
      expect(await activeCopies(node)).toEqual([]);
      await selectNodes(node, 'kube-scheduler', { there: null });
      // Nobody is left to bind it but a person.
      const pod = await node.waitFor('its pod', async () => (await podsOf(node, 'kube-scheduler'))[0]);
      const { name, uid } = pod.metadata ?? {};
      await node.api().request('POST', `/api/v1/namespaces/kube-system/pods/${name}/binding`, {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { namespace: 'kube-system', name, uid },
        target: { apiVersion: 'v1', kind: 'Node', name: node.name },
      });
      await rolledOut(node, 'kube-scheduler', () => true);
      await proven(node, 'kube-scheduler');
    });
    table.row("the scheduler's node selector is changed and changed back", outage);
    expect(outage.outages).toEqual([]);
  }, 120_000);

  it('retires the scheduler when its DaemonSet is deleted', async () => {
    const { node } = cluster();
    const outage = await apiOutages(node, async () => {
      await deleteDaemonSet(node, 'kube-scheduler');
      await node.waitFor('it is retired', async () => (await storedOf(node, 'kube-scheduler')) === undefined, 60_000);
    });
    table.row("the scheduler's DaemonSet is deleted", outage);
    expect(await activeCopies(node)).toEqual([]);
    expect((await readStore(node.layout.checkpointDir)).retired.map(({ workload }) => workload.name)).toContain('kube-scheduler');
    expect(outage.outages).toEqual([]);
  }, 120_000);

  it('keeps the only API server when its DaemonSet is deleted', async () => {
    const { node } = cluster();
    const outage = await apiOutages(node, async () => {
      await deleteDaemonSet(node, 'kube-apiserver');
      await node.waitFor('it is said', async () => (await statusOf(node, 'kube-apiserver'))?.reason === 'KeptServingApi', 90_000);
      await node.waitFor('/readyz answers', () => node.readyz.up() === true, 60_000);
    });
    table.row("the only API server's DaemonSet is deleted", outage);
    expect(await activeCopies(node)).toEqual([expect.stringContaining('kube-apiserver')]);
    expect(outage.longest).toBeLessThan(10_000);
  }, 180_000);
});
