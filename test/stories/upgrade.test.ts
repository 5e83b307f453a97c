/** A new version of the checkpointer, and broken ones: of what protects the node, something that works leads all the time. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import type { ImageTable } from '../../src/embedded/cri/images.ts';
import { CHECKPOINTER, changeImage, podsOf, QUICK, selfHosted, statusOf, storedOf } from './support/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('upgrades of the checkpointer');
const SELF = 'pod-checkpointer';

/** The words of a script find the file that a flag of theirs names. */
const named = (flag: string) => `for word in "$@"; do case "$word" in --${flag}=*) file="\${word#--${flag}=}";; esac; done`;
/** Waits for the lock as a working one does, and ends when it has it. */
const CRASHES_LEADING = `${named('lock-file')}; exec flock "$file" false`;
/** A working one whose process stands still as soon as it leads: its port is taken, and nothing is answered there. */
const HANGS_LEADING = `${named('checkpoint-dir')}; "$@" & until grep -q "pid.: $!," "$file/leader.json"; do sleep 0.1; done; kill -STOP $!; wait`;
/** Of a pod that hangs, the kubelet knows soon. */
const LIVENESS = { periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 3, initialDelaySeconds: 5 };

const IMAGES: ImageTable = {
  'registry.local/pod-checkpointer:v2': { programs: { checkpointer: CHECKPOINTER }, entrypoint: ['checkpointer'] },
  'registry.local/pod-checkpointer:crashes': { programs: {}, entrypoint: ['sh', '-c', 'exit 1', 'sh'] },
  'registry.local/pod-checkpointer:crashes-leading': { programs: {}, entrypoint: ['sh', '-c', CRASHES_LEADING, 'sh'] },
  'registry.local/pod-checkpointer:hangs-leading': { programs: {}, entrypoint: ['sh', '-c', HANGS_LEADING, 'sh', ...CHECKPOINTER] },
};

describe('an upgrade of the checkpointer', () => {
  const cluster = selfHosted({
    images: IMAGES,
    checkpointerFlags: [...QUICK, '--trial-deadline=1s'],
    kubeletFlags: ['--crash-backoff-base=500ms'],
  });
  const image = (version: string) => `registry.local/pod-checkpointer:${version}`;

  /** The image of what the checkpointer's own copy runs. */
  async function copyIs(version: string): Promise<boolean> {
    const { node } = cluster();
    const names = (await node.manifests()).filter((file) => file.includes(`${SELF}-ds`));
    const texts = await Promise.all(names.map((name) => readFile(`${node.layout.manifests}/${name}`, 'utf8')));
    return texts.length === 1 && texts.every((text) => text.includes(image(version)));
  }

  /** How often the old one led after another one had been given the lead. What the one that stood still said itself counts once less. */
  function returned(since: number): number {
    const turns = cluster()
      .log.lines()
      .filter(({ at, msg }) => at >= since && (msg === 'leading' || msg === 'gave up the lead for a new version of the checkpointer'));
    return turns.filter(
      ({ msg, fields }, index) =>
        msg === 'leading' && turns.slice(0, index).some((before) => before.msg !== 'leading' && before.fields['pid'] === fields['pid']),
    ).length;
  }

  it('leads, is proven by that, and then its copy takes the place of the old one', async () => {
    const { node } = cluster();
    await node.waitFor("the old version's copy", () => copyIs('v1'));
    const took = await apiOutages(node, async () => {
      await changeImage(node, SELF, image('v2'));
      await node.waitFor("the new version's copy", () => copyIs('v2'), 60_000);
    });
    table.row('a good version', took);
    expect(took.outages).toEqual([]);
  }, 120_000);

  it.each<readonly [string, number]>([
    ['crashes', 0],
    ['crashes-leading', 3],
    ['hangs-leading', 1],
  ])(
    'to one that %s leaves the old one at work, and its copy as it is',
    async (version, returns) => {
      const { node, log } = cluster();
      const since = Date.now();
      const took = await apiOutages(node, async () => {
        await changeImage(node, SELF, image(version), LIVENESS);
        await node.waitFor('its pod', async () =>
          (await podsOf(node, SELF)).some((pod) => pod.spec?.containers[0]?.image === image(version)),
        );
        // One that cannot even wait is never given the lead.
        if (returns === 0) await node.waitFor('it crashes', async () => (await podsOf(node, SELF)).some(crashed));
        await node.waitFor('the old one leads again', () => returned(since) >= returns, 60_000);
        if (returns === 3) await node.waitFor('it is marked', async () => (await statusOf(node, SELF))?.reason === 'FailingSpec', 60_000);
      });
      const turns = log.lines().filter(({ at, msg }) => at >= since && (msg === 'stepDown' || msg === 'leading'));
      const without = turns.flatMap(({ at, msg }, index) => (msg === 'stepDown' ? [(turns[index + 1]?.at ?? Date.now()) - at] : []));
      table.row(`one that ${version}`, took, returns === 0 ? undefined : `each time a broken one led: ${without.join(', ')} ms`);
      expect(await copyIs('v2')).toBe(true);
      await node.waitFor('its copy to be saved, and not to be proven', async () => {
        const stored = await storedOf(node, SELF);
        return stored !== undefined && stored.proven !== stored.newest;
      });
      expect(took.outages).toEqual([]);
    },
    150_000,
  );
});

const crashed = (pod: Awaited<ReturnType<typeof podsOf>>[number]): boolean =>
  pod.status?.containerStatuses?.some(({ restartCount }) => restartCount > 0) === true;
