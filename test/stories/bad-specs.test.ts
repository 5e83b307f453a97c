/** What a person changes for the worse: the proven copy takes its place, and the mended spec gets its place back. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { handedBack } from '../../src/embedded/demo/story.ts';
import {
  activeCopies,
  addFlag,
  type Component,
  changeSecret,
  hasArg,
  hasNotArg,
  podsOf,
  proven,
  removeFlag,
  rolledOut,
  selfHosted,
  statusOf,
  storedOf,
} from './support/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('a bad flag, a broken certificate');
const BAD = '--no-such-flag=1';

describe('a bad flag in a rolling update on a single master', () => {
  const cluster = selfHosted();

  it.each<Component>(['kube-scheduler', 'kube-controller-manager', 'kube-apiserver'])(
    'of %s gives way to the proven copy, and the mended spec gets its place back',
    async (name) => {
      const { node } = cluster();
      const before = await storedOf(node, name);
      const outage = await apiOutages(node, async () => {
        await addFlag(node, name, BAD);
        await node.waitFor(
          'the bad spec is marked failing and the copy runs',
          async () =>
            (await statusOf(node, name))?.reason === 'FailingSpec' && (await activeCopies(node)).some((file) => file.includes(name)),
          90_000,
        );
        await node.waitFor('the API server answers', () => node.readyz.up() === true, 60_000);
      });
      table.row(`bad flag of ${name}`, outage);
      const during = await storedOf(node, name);
      expect(during?.proven).toBe(before?.proven);
      expect(during?.failing.size).toBe(1);
      expect((await podsOf(node, name)).some(hasArg(BAD))).toBe(true);
      // Its end with the old spec, and the two crashes that it takes to know the new one.
      if (name === 'kube-apiserver') expect(outage.longest).toBeLessThan(12_000);
      else expect(outage.outages).toEqual([]);

      const mended = await apiOutages(node, async () => {
        await removeFlag(node, name, BAD);
        await rolledOut(node, name, hasNotArg(BAD));
      });
      table.row(`${name} mended`, mended);
      expect(mended.longest).toBeLessThan(4_000);
      await proven(node, name);
    },
    180_000,
  );
});

describe('a Secret rotated to a broken certificate', () => {
  const cluster = selfHosted();

  it('does not keep the API server from coming back after a reboot, and the mended one gets its place back', async () => {
    const { node } = cluster();
    const good = await readFile(node.pki.apiserverCert, 'utf8');
    const before = await storedOf(node, 'kube-apiserver');
    await changeSecret(node, 'kube-apiserver', { 'apiserver.crt': 'not a certificate' });
    await node.waitFor('the broken certificate is saved', async () => (await storedOf(node, 'kube-apiserver'))?.newest !== before?.newest);
    // The API server runs on with what it read at its start, Ready all the time: what is broken is as proven as it can be.
    await proven(node, 'kube-apiserver');
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    const powerOn = Date.now();
    await node.powerOn();
    await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
    const outage = await apiOutages(node, async () => {
      await node.waitFor(
        'the broken spec is marked failing',
        async () => (await statusOf(node, 'kube-apiserver'))?.reason === 'FailingSpec',
        90_000,
      );
      await node.waitFor('the API server answers', () => node.readyz.up() === true, 60_000);
    });
    const ready = node.readyz.transitions().find(({ at, up }) => up && at >= powerOn)?.at ?? Number.NaN;
    table.row('broken certificate, then a power cut', outage, `power on → ready ${ready - powerOn} ms`);
    expect(ready - powerOn).toBeLessThan(15_000);

    const mended = await apiOutages(node, async () => {
      await changeSecret(node, 'kube-apiserver', { 'apiserver.crt': good });
      await handedBack(node);
    });
    table.row('certificate mended', mended);
  }, 240_000);
});
