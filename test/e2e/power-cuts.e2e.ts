/** Power cuts of a single master, beside the same control plane as plain static pods: bench/real.ts measures them in turns. */
import { describe, expect, it } from 'vitest';
import { eventually } from './support/eventually.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { settled } from './support/settled.ts';
import { STATES, type State } from './support/states.ts';

const HOW: Readonly<Record<Exclude<State, 'static' | 'bootkube'>, string>> = {
  exclusive: 'the container alone, one API server at a time',
  'exclusive-units': 'with the host units, one API server at a time',
  shared: 'the container alone, API servers share the port',
  'shared-units': 'with the host units, API servers share the port',
};
const SELF_HOSTED = STATES.filter((state) => state !== 'static' && state !== 'bootkube');

describe.skipIf(noMachine('power cuts')).each(SELF_HOSTED)('a power cut, %s', (state) => {
  const { node, measure } = onNode(state, 'power-cuts');

  it('is recovered from without a hand on it', async () => {
    const seen = await measure(`power cut, ${HOW[state]}`, async () => {
      await node().powerCut();
      await settled(node(), { timeoutMs: 240_000, stored: true });
    });
    expect(seen.firstReady).toBeDefined();
    expect(seen.stable).toBeDefined();
  });

  if (state !== 'exclusive') return;

  it('is recovered from five times in a row, whatever it comes upon', async () => {
    // The first four come while the node is still busy with the one before: as soon as the API server answers.
    await measure('five power cuts, four of them at the first answer', async () => {
      for (let cut = 1; cut <= 4; cut++) {
        await node().powerCut();
        await eventually(() => node().isReady, 180_000);
      }
      await node().powerCut();
      await settled(node(), { timeoutMs: 300_000, stored: true });
    });
  });
});
