/** From bootkube's pod-checkpointer, its own binary, to this one, as docs/migration.md tells it. */
import { access, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readHistory } from '../../src/report/history.ts';
import { skipLoudly } from '../support/skip.ts';
import { install } from './support/checkpointer.ts';
import { COMPONENTS } from './support/control-plane.ts';
import { readDaemonLog } from './support/daemon-log.ts';
import { eventually } from './support/eventually.ts';
import { findMachine } from './support/machine.ts';
import type { RealNode } from './support/node.ts';
import { seenBetween } from './support/outages.ts';
import { machineHere, noMachine } from './support/scenario.ts';
import { dsPods, isReadyPod, settled } from './support/settled.ts';
import { addCheckpointerImage, nodeIn } from './support/states.ts';

const found = findMachine();
const withoutBootkube = found.state === 'ready' && found.machine.bootkube === undefined ? 'BOOTKUBE_CHECKPOINT is not set' : undefined;
const LEFT = ['inactive-manifests', 'checkpoint-secrets', 'checkpoint-configmaps'];
const whole = { timeoutMs: 240_000, stored: true };

describe.skipIf(noMachine('migration') || skipLoudly('end-to-end: migration', withoutBootkube)).each([
  ['when all is well', false],
  ['with a power cut as soon as ours has a copy of itself', true],
])('a node of bootkube’s pod-checkpointer, %s', (_when, cutInBetween) => {
  let node: RealNode;
  beforeAll(async () => {
    node = await nodeIn('bootkube', machineHere(), 'migration');
    await node.powerOn();
    await settled(node, { daemon: 'bootkube', timeoutMs: 240_000 });
    await addCheckpointerImage(node, machineHere());
  }, 600_000);
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(await readDaemonLog(node, 80));
  });
  afterAll(async () => node?.destroy());

  const kubernetes = () => join(node.files.disk, 'etc-kubernetes');
  const left = async (): Promise<string[]> => (await readdir(kubernetes())).filter((name) => LEFT.includes(name));
  const own = async () => (await node.manifests()).filter((name) => name.startsWith('kube-system-bootkube-'));

  it('has one that works: ours waits beside it, Ready, and does nothing', async () => {
    expect(await left()).toContain('inactive-manifests');
    // Its API server goes away now and then, also after it has come to rest.
    await eventually(() => install(node, { overlay: 'from-bootkube' }).then(() => true), 120_000);
    await eventually(async () => (await dsPods(node, 'pod-checkpointer')).some(isReadyPod), 120_000);
    expect(await readDaemonLog(node, 20)).toContain("bootkube's pod-checkpointer is on this node");
    await expect(access(join(node.files.store, 'leader.json'))).rejects.toThrow('ENOENT');
  });

  it('is taken over: nothing of bootkube’s is left, and nothing was away that was there', async () => {
    const from = Date.now();
    await eventually(
      () => node.kubectl(['delete', '--namespace=kube-system', 'daemonset', 'bootkube', '--ignore-not-found']).then(() => true),
      60_000,
    );
    // As the documentation says it, where no second may be without copies.
    await eventually(async () => {
      for (const name of await own()) await rm(join(node.files.manifests, name), { force: true });
      return (await node.status()) !== undefined;
    }, 60_000);
    if (cutInBetween) {
      await eventually(async () => (await node.manifests()).some((name) => name.includes('pod-checkpointer-ds')), 60_000);
      await node.powerCut();
    }
    await settled(node, whole);
    await eventually(async () => (await left()).length === 0, 120_000);
    expect(await own()).toEqual([]);
    const history = await readHistory(node.files.store);
    const taken = history.filter(({ milestones }) => milestones?.includes('TakenOver')).map(({ workload }) => workload);
    // And of the pod of ours that waited: bootkube's copied that, too.
    expect(taken).toEqual(expect.arrayContaining(COMPONENTS.map((name) => `kube-system/DaemonSet/${name}`)));
    const { outages, firstReady } = seenBetween(node.changes, from, Date.now());
    process.stdout.write(
      `\nmigration${cutInBetween ? ', power cut in between' : ''}: first ready ${firstReady}, outages ${outages.join(' ') || 'none'} s\n`,
    );
    if (!cutInBetween) expect(outages).toEqual([]);
  });

  it('survives its next power cut by our copies', async () => {
    await node.powerCut();
    await settled(node, whole);
    expect(await left()).toEqual([]);
  });
});
