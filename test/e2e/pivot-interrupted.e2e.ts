/** A pivot on a real node that is killed at each of its steps in turn: the control plane works all the time, and the next run goes on. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { readJournal } from '../../src/pivot/journal.ts';
import { STEPS } from '../../src/pivot/steps.ts';
import { readDaemonLog } from './support/daemon-log.ts';
import { eventually } from './support/eventually.ts';
import { NODE_NAME } from './support/layout.ts';
import { seenBetween } from './support/outages.ts';
import { begin, type Line, manifestsOf, nodeOfStaticPods, type PivotNode, type Ran, stepOf, type Way } from './support/pivoting.ts';
import { load, remember } from './support/results.ts';
import { machineHere, noMachine, resultsFile } from './support/scenario.ts';
import { activeCopies } from './support/settled.ts';

const COMMAND_MS = 600_000;
const steps = STEPS.map(({ component, kind }, index) => [index + 1, component, kind] as const);

describe.skipIf(noMachine('a pivot that is interrupted')).each([
  ['pivot', steps],
  ['unpivot', steps.toReversed()],
] as const)('%s on a real node', (way, inOrder) => {
  let pivotNode: PivotNode;
  let original: Readonly<Record<string, string>>;
  const said: Line[] = [];
  const seen: { readonly step: number; readonly unanswered: number; readonly notReady: number }[] = [];
  let began = 0;
  const node = () => pivotNode.node;

  beforeAll(async () => {
    pivotNode = await nodeOfStaticPods(machineHere(), `${way}-interrupted`);
    original = await manifestsOf(node());
    if (way === 'unpivot') expect((await ended('pivot')).code).toBe(0);
    began = Date.now();
  }, 1_500_000);
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail' || pivotNode === undefined) return;
    console.error(said.map(({ at, text }) => `${new Date(at).toISOString()} ${text}`).join('\n'));
    console.error(await readDaemonLog(node(), 60));
  });
  afterAll(async () => {
    await pivotNode?.node.destroy();
    if (seen.length > 0) console.table(seen);
  });

  const sum = (all: readonly number[]): number => Math.round(all.reduce((total, one) => total + one, 0) * 100) / 100;
  function look(step: number, from: number): void {
    const { outage, unanswered } = seenBetween(node().changes, from, Date.now());
    seen.push({ step, unanswered: sum(unanswered), notReady: outage });
  }

  const start = (direction: Way, onLine?: (text: string) => void) => {
    const from = Object.keys(original).map((name) => `/etc/kubernetes/manifests/${name}`);
    return begin(pivotNode, direction, from.some((file) => file.endsWith('.json')) ? from : [], onLine);
  };
  async function ended(direction: Way): Promise<Ran> {
    const ran = await start(direction).ended;
    said.push(...ran.lines);
    return ran;
  }

  it.each(inOrder)(
    'is killed at step %i, %s %s, and the control plane works',
    async (step) => {
      const from = Date.now();
      let at: number | undefined;
      // As it is begun, or when it is done and waited for.
      const running = start(way, (text) => {
        at = stepOf(text) ?? at;
        if (at === step && (step % 2 === 0 || text.includes('waiting for'))) running.kill();
      });
      const ran = await running.ended;
      said.push(...ran.lines);
      expect(ran.code).toBe('SIGKILL');
      expect((await readJournal(node().files.store))?.place).toEqual({ state: 'between', step: step - 1 });
      await eventually(() => node().isReady, 30_000);
      await eventually(async () => (await node().kubectl(['get', 'nodes', '--output=name'])).includes(NODE_NAME), 30_000);
      look(step, from);
    },
    COMMAND_MS,
  );

  it(
    'arrives when it is run again',
    async () => {
      const from = Date.now();
      expect((await ended(way)).code).toBe(0);
      expect(await manifestsOf(node())).toEqual(way === 'pivot' ? {} : original);
      look(inOrder.at(-1)?.[0] ?? 0, from);
      const at = (wanted: (step: number) => boolean) => sum(seen.filter(({ step }) => wanted(step)).map(({ unanswered }) => unanswered));
      remember(join(dirname(resultsFile()), 'pivot.json'), 'pivot', {
        scenario: `${way}, killed at each of its ${STEPS.length} steps`,
        manifestsBy: pivotNode.manifestsBy,
        load: load(),
        restart: at((step) => step === 1),
        otherwise: at((step) => step !== 1),
        outage: sum(seen.map(({ notReady }) => notReady)),
        took: Math.round((Date.now() - began) / 100) / 10,
      });
      // While the one restart is under way nothing answers; at every other step somebody does.
      expect(at((step) => step !== 1)).toBe(0);
    },
    COMMAND_MS,
  );

  it.runIf(way === 'unpivot')('comes back from a power cut as static pods alone, although its copies are kept', async () => {
    expect((await readStore(node().files.store)).retired.map(({ workload }) => workload.name)).toContain('kube-apiserver');
    const at = await node().powerCut();
    await eventually(() => node().isReady, 120_000);
    await eventually(async () => (await node().status())?.bootId === (await readFile(node().bootIdFile, 'utf8')).trim(), 120_000);
    expect(await activeCopies(node(), 'pod-checkpointer')).toEqual(Object.keys(original));
    expect(seenBetween(node().changes, at, Date.now()).unanswered).toEqual([]);
  });
});
