/** What fails beside the control plane: the power, the kubelet, the runtime, the answers of the API server. Nothing gets worse by it. */
import { describe, expect, it } from 'vitest';
import type { Fault } from '../../src/embedded/apiserver/faults.ts';
import { cutPower, handedBack } from '../../src/embedded/demo/story.ts';
import type { EmbeddedNode } from '../../src/embedded/node/node.ts';
import { readLeader } from '../../src/status.ts';
import { activeCopies, proven, selfHosted, setFaults, statusOf, storedOf } from './support/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('power, kubelet, runtime, answers of the API server');
const COMPONENTS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;

/** Containers of the control plane that run, by id. */
async function running(node: EmbeddedNode): Promise<string[]> {
  const all = await node.containers();
  return all
    .filter(({ state, container }) => state === 'running' && COMPONENTS.some((name) => name === container))
    .map(({ id }) => id)
    .sort();
}

async function generations(node: EmbeddedNode): Promise<unknown[]> {
  const all = await Promise.all(COMPONENTS.map((name) => storedOf(node, name)));
  return all.map((stored) => [stored?.proven, [...(stored?.generations.keys() ?? [])]]);
}

describe('a node whose control plane runs', () => {
  const cluster = selfHosted({
    checkpointerFlags: ['--prove-after=2s', '--stable-for=2s', '--checkpoint-grace-period=3s', '--orphan-after=2s', '--activate-after=1s'],
  });
  const user = 'system:node:master-1';
  const token = 'system:serviceaccount:kube-system:pod-checkpointer';
  const forBoth = (fault: Fault): Fault[] => [user, token].map((name) => ({ ...fault, user: name }));

  /** What the daemon that was asked last says of the API server. */
  const says = (state: string, since: number) =>
    cluster()
      .log.lines()
      .findLast(({ at, msg }) => at >= since && msg.startsWith('API server: '))?.msg === `API server: ${state}`;

  it.each<readonly [string, readonly Fault[], string]>([
    ['401', forBoth({ kind: 'status', code: 401 }), 'denied'],
    ['403', forBoth({ kind: 'status', code: 403 }), 'denied'],
    ['429', forBoth({ kind: 'status', code: 429 }), 'unreachable'],
    ['500', forBoth({ kind: 'status', code: 500 }), 'unreachable'],
    ['nothing at all', forBoth({ kind: 'reset' }), 'unreachable'],
  ])(
    'loses nothing and starts nothing while the API server answers %s',
    async (answer, faults, state) => {
      const { node } = cluster();
      await proven(node, ...COMPONENTS);
      const before = { running: await running(node), generations: await generations(node) };
      const since = Date.now();
      const outage = await apiOutages(node, async () => {
        await setFaults(node, faults);
        try {
          await killLeader(node);
          await node.waitFor(`the daemon takes it as ${state}`, () => says(state, since), 30_000);
          // For longer than the times after which it would activate or retire something.
          await whileIt(5_000, async () => expect(await activeCopies(node)).toEqual([]));
        } finally {
          await setFaults(node, []);
        }
        await node.waitFor('the daemon is answered again', () => says('ok', since), 60_000);
      });
      table.row(`the API server answers ${answer} to the node`, outage);
      expect({ running: await running(node), generations: await generations(node) }).toEqual(before);
    },
    120_000,
  );

  it('loses nothing while the API server lists no pods', async () => {
    const { node } = cluster();
    const before = { running: await running(node), generations: await generations(node) };
    const outage = await apiOutages(node, async () => {
      await setFaults(node, forBoth({ kind: 'empty', resource: 'pods' }));
      try {
        await killLeader(node);
        await node.waitFor(
          'the pods are missed',
          async () =>
            ['ParentAwaited', 'ParentAbsent', 'AbsenceUnconfirmed'].includes((await statusOf(node, 'kube-apiserver'))?.reason ?? ''),
          60_000,
        );
        await whileIt(5_000, async () => expect(await activeCopies(node)).toEqual([]));
      } finally {
        await setFaults(node, []);
        await killLeader(node);
      }
      await node.waitFor('the pods are there again', async () => (await statusOf(node, 'kube-apiserver'))?.reason === 'Protected', 30_000);
    });
    table.row('the API server lists no pods', outage);
    expect({ running: await running(node), generations: await generations(node) }).toEqual(before);
  }, 120_000);

  it('goes on through a restart of the runtime', async () => {
    const { node } = cluster();
    const before = await running(node);
    const outage = await apiOutages(node, async () => {
      await node.stopRuntime('SIGKILL');
      await node.waitFor(
        'the daemon knows nothing of the runtime',
        async () => (await statusOf(node, 'kube-apiserver'))?.reason === 'RuntimeUnknown',
        30_000,
      );
      await node.restartRuntime();
      await node.waitFor(
        'it knows the runtime again',
        async () => (await statusOf(node, 'kube-apiserver'))?.reason === 'Protected',
        30_000,
      );
    });
    table.row('the runtime is restarted', outage);
    expect(outage.outages).toEqual([]);
    expect(await running(node)).toEqual(before);
  }, 120_000);

  it('goes on through a restart of the kubelet while the API server is away', async () => {
    const { node } = cluster();
    const before = await running(node);
    const since = Date.now();
    const outage = await apiOutages(node, async () => {
      await setFaults(node, forBoth({ kind: 'reset' }));
      try {
        await killLeader(node);
        await node.waitFor('the daemon takes it as unreachable', () => says('unreachable', since), 30_000);
        await node.restartKubelet('SIGKILL');
        await whileIt(3_000, async () => expect(await activeCopies(node)).toEqual([]));
        expect(await running(node)).toEqual(before);
      } finally {
        await setFaults(node, []);
      }
      await node.waitFor('the daemon is answered again', () => says('ok', since), 60_000);
    });
    table.row('the kubelet is restarted while the API server is away', outage);
    expect(outage.outages).toEqual([]);
    expect(await running(node)).toEqual(before);
  }, 120_000);

  it('has its API server back when that ends and the kubelet was restarted meanwhile', async () => {
    const { node } = cluster();
    const outage = await apiOutages(node, async () => {
      await node.stopKubelet('SIGKILL');
      for (const one of await node.containers())
        if (one.container === 'kube-apiserver' && one.state === 'running') await node.cri().stopContainer(one.id, 0);
      await node.waitFor('/readyz is down', () => node.readyz.up() === false);
      await node.restartKubelet();
      await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
      await handedBack(node);
    });
    table.row('the API server ends while there is no kubelet', outage);
    expect(outage.longest).toBeLessThan(8_000);
  }, 120_000);

  it('comes back from a reboot', async () => {
    const { node, log } = cluster();
    await node.stopKubelet();
    await node.stopRuntime();
    const { powerOnToReady, powerOnToStable, outages } = await cutPower(node, log);
    const longest = Math.max(0, ...outages);
    table.row('a reboot', { outages, longest, sum: longest, took: powerOnToStable }, `power on → ready ${powerOnToReady} ms`);
    expect(powerOnToReady).toBeLessThan(15_000);
    expect(longest).toBeLessThan(8_000);
  }, 120_000);

  it('comes back from five power cuts in a row, one in the middle of a yield', async () => {
    const { node, log } = cluster();
    for (let cut = 1; cut <= 4; cut++) {
      await node.powerOff();
      await node.waitFor('/readyz is down', () => node.readyz.up() === false);
      const since = Date.now();
      await node.powerOn();
      // The first three as soon as one leads, the fourth in the moment in which a copy has made room for its parent.
      const moment = cut < 4 ? 'leading' : 'makeRoom';
      await node.waitFor(`something is done: ${moment}`, () => log.lines().some(({ at, msg }) => msg === moment && at >= since), 60_000);
    }
    const { powerOnToReady, powerOnToStable, outages } = await cutPower(node, log);
    table.row(
      'the last of five power cuts',
      { outages, longest: Math.max(0, ...outages), sum: 0, took: powerOnToStable },
      `power on → ready ${powerOnToReady} ms`,
    );
    expect(powerOnToReady).toBeLessThan(15_000);
    expect(Math.max(0, ...outages)).toBeLessThan(8_000);
    await proven(node, ...COMPONENTS);
  }, 240_000);
});

/** A watch that is open goes on whatever the API server answers to others; whoever leads next begins anew, and remembers nothing. */
async function killLeader(node: EmbeddedNode): Promise<void> {
  const leader = await node.waitFor('a leader', async () => {
    const one = await readLeader(node.layout.checkpointDir);
    return one !== undefined && isAlive(one.pid) ? one : undefined;
  });
  process.kill(leader.pid, 'SIGKILL');
  await node.waitFor('another leader', async () => (await readLeader(node.layout.checkpointDir))?.since !== leader.since, 60_000);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Holds for as long, looked at again and again. */
async function whileIt(ms: number, holds: () => Promise<void>): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    await holds();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
