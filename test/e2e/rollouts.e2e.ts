/** Pods deleted and rolled on a single master, for the better and for the worse. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { addFlag, changeSecret, deletePod, hasFlag, removeFlag, rolledOut, statusOf } from './support/actions.ts';
import { COMPONENTS } from './support/control-plane.ts';
import { eventually } from './support/eventually.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { settled } from './support/settled.ts';

const GOOD = '--v=1';
const BAD = '--no-such-flag=1';

describe.skipIf(noMachine('rollouts'))('on a single master whose API server has its port for itself', () => {
  const { node, measure } = onNode('exclusive', 'rollouts');

  it('the deleted pod of the API server is bridged by its copy', async () => {
    const seen = await measure('pod of the only API server deleted', async () => {
      await deletePod(node(), 'kube-apiserver');
      await eventually(() => !node().isReady, 60_000);
      await settled(node(), { timeoutMs: 240_000, stored: true });
    });
    expect(seen.stable).toBeDefined();
  });

  it.each(COMPONENTS)('a rolling update of %s with maxUnavailable 1 comes to its end', async (name) => {
    const seen = await measure(`rolling update of ${name}`, async () => {
      await addFlag(node(), name, GOOD);
      await rolledOut(node(), name, hasFlag(GOOD));
      await settled(node(), { timeoutMs: 240_000, stored: true });
    });
    if (name !== 'kube-apiserver') expect(seen.outages).toEqual([]);
  });

  it.each(COMPONENTS)('a bad flag of %s gives way to the proven copy, and the mended spec gets its place back', async (name) => {
    const failing = async () => (await statusOf(node(), name))?.reason === 'FailingSpec' && node().isReady;
    const seen = await measure(`bad flag of ${name}`, async () => {
      await addFlag(node(), name, BAD);
      await eventually(failing, 240_000);
    });
    if (name !== 'kube-apiserver') expect(seen.outages).toEqual([]);
    await measure(`bad flag of ${name} mended`, async () => {
      await removeFlag(node(), name, BAD);
      await rolledOut(node(), name, (pod) => !hasFlag(BAD)(pod));
      await settled(node(), { timeoutMs: 240_000, stored: true });
    });
  });

  it('a serving certificate broken in its Secret is found out by the power cut, and rolled back', async () => {
    const good = await readFile(join(node().files.pki, 'apiserver.crt'), 'utf8');
    await changeSecret(node(), 'kube-apiserver', { 'apiserver.crt': 'no certificate\n' });
    const before = (await statusOf(node(), 'kube-apiserver'))?.proven?.generation ?? 0;
    await eventually(async () => ((await statusOf(node(), 'kube-apiserver'))?.newest?.generation ?? 0) > before, 30_000);
    await measure('broken certificate, then a power cut', async () => {
      await node().powerCut();
      await eventually(async () => (await statusOf(node(), 'kube-apiserver'))?.reason === 'FailingSpec' && node().isReady, 300_000);
    });
    await measure('broken certificate mended', async () => {
      await changeSecret(node(), 'kube-apiserver', { 'apiserver.crt': good });
      await settled(node(), { timeoutMs: 300_000, stored: true });
    });
  });
});
