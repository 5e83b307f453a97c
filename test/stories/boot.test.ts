import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { install } from '../../src/embedded/demo/story.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';

const DIST = join(import.meta.dirname, '../../dist');
const CHECKPOINTER = [process.execPath, join(DIST, 'checkpointer.js')];
const CONTROL_PLANE = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];

function flags({ layout: { checkpointDir, manifests, lockFile, kubeletConf } }: EmbeddedNode): string[] {
  return [
    `--checkpoint-dir=${checkpointDir}`,
    `--pod-manifest-path=${manifests}`,
    `--lock-file=${lockFile}`,
    `--kubeconfig=${kubeletConf}`,
  ];
}

/** As its unit does it, before the kubelet is started. */
async function recoverBeforeKubelet(node: EmbeddedNode): Promise<void> {
  const { ended } = node.start('recover', [...CHECKPOINTER, 'recover', '--boot', ...flags(node)]);
  expect(await ended).toBe(0);
}

describe('a node with the boot unit', () => {
  let node: EmbeddedNode;
  beforeAll(async () => {
    node = await createNode({
      embedded: [process.execPath, join(DIST, 'embedded.js')],
      checkpointer: CHECKPOINTER,
      checkpointerFlags: ['--prove-after=2s', '--stable-for=2s'],
    });
    await install(node);
  }, 120_000);
  afterAll(() => node.destroy());

  test('has its control plane back without waiting for a daemon, hands over without an outage, and leaves nothing behind', async () => {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    const powerOn = Date.now();
    let kubeletAt = 0;
    await node.powerOn({
      beforeKubelet: async () => {
        await recoverBeforeKubelet(node);
        kubeletAt = Date.now();
        const manifests = await node.manifests();
        expect(manifests).toContainEqual(expect.stringContaining('.kube-apiserver-'));
        expect(manifests.filter((name) => /controller-manager|scheduler/.test(name))).toEqual([]);
      },
    });
    await node.waitFor('/readyz answers', () => node.readyz.up() === true, 60_000);
    const ready = node.readyz.transitions().find(({ at, up }) => up && at >= powerOn)?.at ?? 0;
    await node.waitFor(
      'the copies have left',
      async () => {
        const manifests = await node.manifests();
        return CONTROL_PLANE.every((name) => !manifests.some((file) => file.includes(`.${name}-`)));
      },
      90_000,
    );
    console.log(
      `power on → manifests in place ${kubeletAt - powerOn} ms → ready ${ready - powerOn} ms → handed over ${Date.now() - powerOn} ms (embedded node)`,
    );
    expect(node.readyz.transitions().filter(({ at, up }) => !up && at > ready)).toEqual([]);
  }, 180_000);

  test('activates nothing in a boot in which the API server answers', async () => {
    const before = await node.manifests();
    const bootIdFile = join(node.layout.run, 'another-boot');
    await writeFile(bootIdFile, `${randomUUID()}\n`);
    const [command = '', ...args] = CHECKPOINTER;
    // Another lock file, because the daemon of this boot leads.
    const more = [`--boot-id-file=${bootIdFile}`, `--lock-file=${node.layout.lockFile}.other`];
    const { stdout } = await promisify(execFile)(command, [...args, 'recover', '--boot', ...flags(node), ...more]);
    expect(stdout).toContain('an API server answers');
    expect(await node.manifests()).toEqual(before);
  });
});
