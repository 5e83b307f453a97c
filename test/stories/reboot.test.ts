import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type DaemonLog, followDaemons } from '../../src/embedded/demo/daemon-log.ts';
import { cutPower, deleteApiServerPod, install, type Recovery, rotateSecret } from '../../src/embedded/demo/story.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';

const DIST = join(import.meta.dirname, '../../dist');
const EMBEDDED = [process.execPath, join(DIST, 'embedded.js')];
const CHECKPOINTER = [process.execPath, join(DIST, 'checkpointer.js')];

const figures: string[] = [];
afterAll(() => {
  process.stdout.write(`\nOn the embedded node (times of one run on this machine):\n${figures.map((line) => `  ${line}\n`).join('')}`);
});

function note(what: string, recovery: Recovery): void {
  const { powerOnToReady, lockToManifests, powerOnToStable, outages } = recovery;
  figures.push(
    `${what}: power on → ready ${powerOnToReady} ms, lock → manifests ${lockToManifests === undefined ? 'in place before' : `${lockToManifests} ms`} (≤ 300), stable ${powerOnToStable} ms, later outages ${outages.join(', ') || 'none'} ms`,
  );
}

describe.each([
  ['shared', true],
  ['exclusive', false],
] as const)('a self-hosted control plane on a %s port', (port, portSharing) => {
  let node: EmbeddedNode;
  let log: DaemonLog;

  beforeAll(async () => {
    node = await createNode({
      embedded: EMBEDDED,
      checkpointer: CHECKPOINTER,
      portSharing,
      checkpointerFlags: ['--prove-after=2s', '--stable-for=2s'],
    });
    log = followDaemons(node, () => undefined);
    await install(node);
  }, 120_000);
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail')
      console.error(
        log
          .lines()
          .slice(-60)
          .map((line) => JSON.stringify(line))
          .join('\n'),
      );
  });
  afterAll(async () => {
    await log.stop();
    await node.destroy();
  });

  it('comes back after a power cut and hands over to its real pods', async () => {
    const recovery = await cutPower(node, log);
    note(`power cut, ${port} port`, recovery);
    expect(recovery.powerOnToReady).toBeGreaterThan(0);
    expect(recovery.lockToManifests).toBeGreaterThan(0);
    if (portSharing) expect(recovery.outages).toEqual([]);
  }, 120_000);

  it('comes back after a second power cut, which comes in the middle of the hand-over', async () => {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    await node.powerOn();
    await node.waitFor('/readyz answers', () => node.readyz.up() === true, 60_000);
    note(`power cut in the middle of a hand-over, ${port} port`, await cutPower(node, log));
  }, 180_000);

  it('comes back when the pod of its only API server is deleted', async () => {
    const { endToManifest, outage } = await deleteApiServerPod(node);
    figures.push(`API server's pod deleted, ${port} port: its end → manifest ${endToManifest} ms (≤ 3000 + 300), outage ${outage} ms`);
    expect(endToManifest).toBeGreaterThanOrEqual(2_900);
  }, 180_000);

  it('has every change of a Secret on disk soon', async () => {
    const { median, p99, count } = await rotateSecret(node, portSharing ? 200 : 20);
    figures.push(
      `Secret changed → durable generation, ${port} port: median ${median.toFixed(0)} ms, p99 of ${count} ${p99.toFixed(0)} ms (≤ 250)`,
    );
    expect(count).toBeGreaterThan(0);
  }, 120_000);
});
