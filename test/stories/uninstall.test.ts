import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { install } from '../../src/embedded/demo/story.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';
import { outagesBetween } from '../../src/embedded/node/readyz.ts';

const DIST = join(import.meta.dirname, '../../dist');
const DAEMON_SETS = '/apis/apps/v1/namespaces/kube-system/daemonsets';

describe('the checkpointer uninstalled', () => {
  let node: EmbeddedNode;

  beforeAll(async () => {
    node = await createNode({
      embedded: [process.execPath, join(DIST, 'embedded.js')],
      checkpointer: [process.execPath, join(DIST, 'checkpointer.js')],
      checkpointerFlags: ['--prove-after=1s', '--checkpoint-grace-period=2s'],
    });
    await install(node);
  }, 120_000);

  afterAll(async () => {
    await node?.destroy();
  });

  it('leaves the node by itself when its DaemonSet is deleted: no manifest, no container, the store kept, and the API server never away', async () => {
    expect((await node.manifests()).filter((file) => file.startsWith('pod-checkpointer.'))).not.toEqual([]);
    const deleted = Date.now();
    await node.api().request('DELETE', `${DAEMON_SETS}/pod-checkpointer`);

    await node.waitFor('its manifests to be gone', async () => (await node.manifests()).length === 0, 60_000);
    const ours = async () =>
      (await node.containers()).filter(({ pod, state }) => pod.startsWith('pod-checkpointer') && state === 'running');
    await node.waitFor('its containers to have ended', async () => (await ours()).length === 0, 60_000);

    expect(outagesBetween(node.readyz.transitions(), deleted, Date.now())).toEqual([]);
    // The others run on as if nothing had been there.
    const running = (await node.containers()).filter(({ state }) => state === 'running').map(({ container }) => container);
    for (const name of ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) expect(running).toContain(name);
    // Out of use, all of them, its own with the others: what starts before the kubelet at the next boot finds nothing to activate.
    expect(await readdir(join(node.layout.checkpointDir, 'workloads'))).toEqual([]);
    expect((await readdir(join(node.layout.checkpointDir, 'retired'))).map((entry) => entry.replace(/\.[0-9]+$/, '')).sort()).toEqual(
      ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'pod-checkpointer'].map((name) => `kube-system.ds.${name}`),
    );
  }, 150_000);
});
