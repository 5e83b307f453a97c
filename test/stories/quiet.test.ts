import { lstat, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1Node } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { followDaemons } from '../../src/embedded/demo/daemon-log.ts';
import { install } from '../../src/embedded/demo/story.ts';
import { bootstrap } from '../../src/embedded/node/bootstrap.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';
import { CONDITION_TYPE } from '../../src/report/condition.ts';
import { readOutbox } from '../../src/report/outbox.ts';
import { readStatus } from '../../src/status.ts';

const DIST = join(import.meta.dirname, '../../dist');
const PROGRAMS = {
  embedded: [process.execPath, join(DIST, 'embedded.js')],
  checkpointer: [process.execPath, join(DIST, 'checkpointer.js')],
};
/** The observation of a quiet node is the test itself, so here the time is what is waited for. */
const QUIET_SECONDS = 60;

describe('a quiet node', () => {
  let node: EmbeddedNode;
  let audit: string;
  beforeAll(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'audit-'));
    audit = join(directory, 'audit.log');
    node = await createNode({
      ...PROGRAMS,
      // For inspect, which the leader runs in this time: everything that ends is to be warned of.
      checkpointer: ['/usr/bin/env', 'CHECKPOINTER_WARN_BEFORE=9999d,100%', ...PROGRAMS.checkpointer],
      checkpointerFlags: ['--prove-after=2s'],
      apiserverFlags: [`--audit-log-path=${audit}`],
    });
    await install(node);
  }, 120_000);
  afterAll(async () => {
    await node.destroy();
    await rm(join(audit, '..'), { recursive: true, force: true });
  });

  it(`is asked for no list and has no file written for ${QUIET_SECONDS} s`, async () => {
    await settled(node, 4);
    const start = await requests(node, audit);
    const before = await files(node);
    await sleep(QUIET_SECONDS * 1000);
    const later = (await requests(node, audit)).slice(start.length);
    process.stdout.write(
      `\nQuiet for ${QUIET_SECONDS} s: the node (kubelet and daemon) made ${later.length} requests: ${[...new Set(later)].join(', ') || 'none'}\n`,
    );
    expect(start).toContain('list');
    expect(later).not.toContain('list');
    expect(await files(node)).toEqual(before);
  }, 120_000);

  it("has the verdict of inspect in the Node's condition when the daemon has led for a minute", async () => {
    const { message } = await node.waitFor('the verdict of inspect', async () => {
      const { status } = (await node.api().request('GET', `/api/v1/nodes/${node.name}`)) as V1Node;
      return status?.conditions?.find(({ type, reason }) => type === CONDITION_TYPE && reason === 'RecoversWithWarnings');
    });
    expect(message).toMatch(/^recovers with warnings: .* \(CertificateExpires\); .* \(TokenExpires\)$/);
  }, 120_000);

  it('goes over to a kubeconfig that is replaced at once, although it has nothing to ask', async () => {
    await settled(node, 4);
    const daemons = followDaemons(node, () => undefined);
    const text = await readFile(node.layout.kubeletConf, 'utf8');
    await writeFile(`${node.layout.kubeletConf}.new`, text.replace('https://127.0.0.1:', 'https://localhost:'));
    const replaced = Date.now();
    await rename(`${node.layout.kubeletConf}.new`, node.layout.kubeletConf);
    const { at } = await node.waitFor('the daemon says so', () =>
      daemons.lines().find(({ at, msg }) => at >= replaced && msg.startsWith('the kubeconfig changed')),
    );
    await daemons.stop();
    expect(at - replaced).toBeLessThan(2_000);
  }, 120_000);
});

describe('SIGTERM', () => {
  it('ends the daemon within 5 s, with exit code 0, and changes nothing on the disk', async () => {
    await using node = await createNode({ ...PROGRAMS, checkpointerPod: false });
    await node.powerOn();
    await bootstrap(node);
    const daemon = node.startCheckpointer('--prove-after=1s');
    await settled(node, 3);
    const before = await files(node);
    const asked = performance.now();
    await daemon.end('SIGTERM');
    expect(performance.now() - asked).toBeLessThan(5_000);
    expect(await daemon.ended).toBe(0);
    expect(await files(node)).toEqual(before);
  }, 120_000);
});

/** The last transition is written down, and its events have reached the API server. */
async function settled(node: EmbeddedNode, workloads: number): Promise<void> {
  const { checkpointDir } = node.layout;
  await node.waitFor('the last transition to be written down and told', async () => {
    const found = Object.values((await readStatus(checkpointDir))?.workloads ?? {});
    const proven = found.filter(({ reason, proven }) => (reason === 'Protected' || reason === 'SelfActive') && proven !== undefined);
    return proven.length === workloads && found.length === workloads && (await readOutbox(checkpointDir)).length === 0;
  });
}

/** Verbs of what was asked with the node's identity, which the kubelet has, too. */
async function requests(node: EmbeddedNode, audit: string): Promise<string[]> {
  const lines = (await readFile(audit, 'utf8')).split('\n').slice(0, -1);
  return lines
    .map((line) => JSON.parse(line) as AuditLine)
    .flatMap(({ verb, user }) => (user.username === `system:node:${node.name}` ? [verb] : []));
}

interface AuditLine {
  readonly verb: string;
  readonly user: { readonly username: string };
}

/** Everything in the store and the manifest directory, with what would tell that it was touched. */
async function files(node: EmbeddedNode): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const root of [node.layout.checkpointDir, node.layout.manifests]) {
    for (const name of ['', ...(await readdir(root, { recursive: true }))].sort()) {
      const { ino, mtimeMs, ctimeMs } = await lstat(join(root, name));
      found[join(root, name)] = `${ino} ${mtimeMs} ${ctimeMs}`;
    }
  }
  return found;
}
