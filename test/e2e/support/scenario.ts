/** For a describe block: a node for all of its tests, which come one after the other, and what each of them cost. Seconds. */
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { skipLoudly } from '../../support/skip.ts';
import { readDaemonLog } from './daemon-log.ts';
import { findMachine, type Machine } from './machine.ts';
import type { RealNode } from './node.ts';
import { type Seen, seenBetween } from './outages.ts';
import { load, remember } from './results.ts';
import { settled } from './settled.ts';
import { nodeIn, type State } from './states.ts';

const found = findMachine();
const missing = found.state === 'missing' ? found.reason : undefined;

/** For `describe.skipIf`. */
export const noMachine = (scenarios: string): boolean => skipLoudly(`end-to-end: ${scenarios}`, missing);

export interface Measured extends Seen {
  /** Of the whole story. */
  readonly took: number;
}

export interface Scene {
  readonly node: () => RealNode;
  /** Tells a story and writes down what users of the API server saw meanwhile. */
  readonly measure: (name: string, story: () => Promise<void>) => Promise<Measured>;
}

const rows: object[] = [];

/** `name`: of the node's directory. Its node is at rest before each test. */
export function onNode(state: State, name: string): Scene {
  let node: RealNode | undefined;
  const here = (): RealNode => {
    if (node === undefined) throw new Error('the node is made before the first test');
    return node;
  };
  beforeAll(async () => {
    node = await nodeIn(state, machineHere(), name);
    await node.powerOn();
  }, 900_000);
  beforeEach(async () => settled(here(), { timeoutMs: 240_000, stored: true }), 250_000);
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail' && node !== undefined) console.error(await readDaemonLog(node, 60));
  });
  afterAll(async () => {
    await node?.destroy();
    if (rows.length > 0) console.table(rows.splice(0));
  });
  return {
    node: here,
    measure: async (scenario, story) => {
      const busy = load();
      const from = Date.now();
      await story();
      const to = Date.now();
      const measured = { ...seenBetween(here().changes, from, to), took: Math.round((to - from) / 100) / 10 };
      rows.push({ scenario, outageS: measured.outage, outages: measured.outages.join(' '), tookS: measured.took, load: busy });
      const result: Result = { scenario, state, load: busy, ...measured };
      remember(resultsFile(), 'e2e', result);
      return measured;
    },
  };
}

/** The last result of each scenario. */
export const resultsFile = (): string => process.env['E2E_RESULTS'] ?? join(machineHere().directory, 'results.json');

export function machineHere(): Machine {
  if (found.state === 'missing') throw new Error(found.reason);
  return found.machine;
}

interface Result extends Measured {
  readonly scenario: string;
  readonly state: State;
  /** Of the machine in the minute before. */
  readonly load: number;
}
