/** A pivot that is killed, or loses its power, at each of its steps in turn: the control plane works all the time, and the next run goes on. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { EmbeddedNode } from '../../src/embedded/node/node.ts';
import { STEPS } from '../../src/pivot/steps.ts';
import { begin, expectWorking, journalOf, manifestsOf, masterOfStaticPods, type Running, run } from '../support/pivot/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const table = outageTable('a pivot that is interrupted');
type Way = 'pivot' | 'unpivot';

describe.each([
  ['killed', (_node: EmbeddedNode, running: Running) => running.kill('SIGKILL')],
  ['without power', (node: EmbeddedNode) => node.powerOff()],
] as const)('a pivot that is %s', (how, interrupt) => {
  let node: EmbeddedNode;
  let original: ReturnType<typeof manifestsOf>;
  let said: string[] = [];
  beforeAll(async () => {
    node = await masterOfStaticPods();
    original = manifestsOf(node);
  }, 120_000);
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(said.join('\n'));
  });
  afterAll(() => node?.destroy());

  /** Runs until the step is reached: as it is begun, or when it is done and waited for. */
  async function interruptedAt(way: Way, index: number, when: 'begun' | 'waiting'): Promise<void> {
    said.push(`--- ${way}, to be ${how} at step ${index + 1}, ${when}`);
    let reached: () => void = () => undefined;
    const there = new Promise<void>((resolve) => {
      reached = resolve;
    });
    let at: string | undefined;
    const running = begin(node, way, [], (line) => {
      said.push(line);
      at = /^\[ ?([0-9]+)\//.exec(line)?.[1] ?? at;
      if (Number(at) === index + 1 && (when === 'begun' || line.includes('waiting for'))) reached();
    });
    await Promise.race([
      there,
      running.ended.then(({ code }) => Promise.reject(new Error(`${way} ended with ${code} before step ${index + 1}`))),
    ]);
    await interrupt(node, running);
    await running.ended;
    expect((await journalOf(node))?.place).toEqual({ state: 'between', step: index });
    if (how === 'without power') {
      await node.powerOn();
      await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
    }
  }

  it.each(STEPS.map((step, index) => [step.component, step.kind, index] as const))(
    'on the way there, %s %s, goes on',
    async (_component, _kind, index) => {
      await interruptedAt('pivot', index, index % 2 === 0 ? 'waiting' : 'begun');
      await expectWorking(node, `there-${index}`);
    },
    180_000,
  );

  it('arrives', async () => {
    const outage = await apiOutages(node, async () => {
      const { code, lines } = await run(node, 'pivot');
      said.push(...lines);
      expect(code).toBe(0);
    });
    table.row(`the last step after being ${how} at each`, outage);
    await expectWorking(node, 'arrived');
  }, 180_000);

  // A boot takes its time: on the way back it is the API server's steps that lose their power.
  const all = STEPS.map((step, index) => [step.component, step.kind, index] as const);
  const back = how === 'killed' ? all : all.filter(([component]) => component === 'kube-apiserver');

  it.each(back.toReversed())(
    'on the way back, %s %s, goes on',
    async (_component, _kind, index) => {
      await interruptedAt('unpivot', index, index % 2 === 0 ? 'begun' : 'waiting');
      await expectWorking(node, `back-${index}`);
    },
    180_000,
  );

  it('is back where it was, byte for byte', async () => {
    const { code, lines } = await run(node, 'unpivot');
    said = [...said, ...lines];
    expect(code).toBe(0);
    expect(manifestsOf(node)).toEqual(original);
    await expectWorking(node, 'back');
  }, 180_000);
});
