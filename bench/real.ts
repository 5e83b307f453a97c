// Power cuts of a real single-master Kubernetes node: power on until the first good answer of the API server, later outages, and until everything is
// well. Plain static pods beside a self-hosted control plane with the daemon in its container alone, with its host units, with one API server at a time,
// with two that share the port, and with bootkube's pod-checkpointer where BOOTKUBE_CHECKPOINT or KUBE_BIN has it. In turns, so that what else the machine
// does meets all alike.
//
//     KUBE_BIN=<folder> node bench/real.ts [--rounds=5] [--states=static,exclusive,...] [--json=<file>]
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { parseArgs } from 'node:util';
import { findMachine } from '../test/e2e/support/machine.ts';
import type { RealNode } from '../test/e2e/support/node.ts';
import { type Recovery, recoverFromPowerCut } from '../test/e2e/support/power-cut.ts';
import { nodeIn, STATES, type State } from '../test/e2e/support/states.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, states: { type: 'string' }, json: { type: 'string' } },
});
const found = findMachine();
if (found.state === 'missing') {
  console.error(`SKIPPED: recovery on a real node: ${found.reason}`);
  process.exit(0);
}
const { machine } = found;
const possible = STATES.filter((state) => state !== 'bootkube' || machine.bootkube !== undefined);
const wanted = values.states?.split(',') ?? possible;
const unknown = wanted.filter((name) => !possible.some((state) => state === name));
if (unknown.length > 0) throw new Error(`--states ${unknown.join(',')}: expected some of ${possible.join(', ')}`);
const states = possible.filter((state) => wanted.includes(state));

interface Cut extends Recovery {
  readonly round: number;
  readonly state: State;
  /** Of the machine in the last minute. */
  readonly load: number;
}

const cuts: Cut[] = [];
const failures: { readonly state: State; readonly round: number; readonly error: string }[] = [];
// Each power on is measured: a node was at rest when its power was cut, in the round before or when its state was made.
const nodes = new Map<State, RealNode>();
for (const state of states) nodes.set(state, await nodeIn(state, machine, `bench-${state}`));
for (let round = 1; round <= Number(values.rounds); round++) {
  for (const [state, node] of nodes) {
    const load = round1(loadavg()[0] ?? Number.NaN);
    try {
      const cut = { round, state, load, ...(await recoverFromPowerCut(node, state)) };
      cuts.push(cut);
      console.log(
        `${round} ${state.padEnd(16)} ready ${cut.firstReady} s, outages ${JSON.stringify(cut.outages)} s, unanswered ${JSON.stringify(cut.unanswered)} s, served ${cut.served} s, stable ${cut.stable} s, handed back ${cut.handedBack ?? '-'} s, load ${cut.load}`,
      );
    } catch (error) {
      failures.push({ state, round, error: error instanceof Error ? error.message : String(error) });
      console.error(`${round} ${state}: ${error instanceof Error ? error.message : error}`);
    }
    await node.powerOff();
    report();
  }
}
for (const node of nodes.values()) await node.destroy();
console.table(rows());
process.exitCode = failures.length > 0 ? 1 : 0;

function rows() {
  const limit = medians('static');
  return states.map((state) => {
    const one = medians(state);
    return {
      state,
      cuts: cuts.filter((cut) => cut.state === state).length,
      firstReadyS: one.firstReady,
      readyToStatic: round2(one.firstReady / limit.firstReady),
      unansweredS: one.unanswered,
      servedS: one.served,
      servedMinusStaticS: round2(one.served - limit.served),
      notReadyS: one.outage,
      stableS: one.stable,
      handedBackS: one.handedBack,
      load: one.load,
    };
  });
}

function medians(state: State) {
  const of = (value: (cut: Cut) => number) => {
    const sorted = cuts
      .filter((cut) => cut.state === state)
      .map(value)
      .sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? Number.NaN;
  };
  return {
    firstReady: of((cut) => cut.firstReady),
    outage: of((cut) => cut.outage),
    unanswered: of((cut) => round2(cut.unanswered.reduce((sum, one) => sum + one, 0))),
    served: of((cut) => cut.served),
    stable: of((cut) => cut.stable),
    handedBack: of((cut) => cut.handedBack ?? Number.NaN),
    load: of((cut) => cut.load),
  };
}

function report(): void {
  if (values.json === undefined) return;
  const machineText = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${release()}, Node ${process.version}`;
  writeFileSync(values.json, `${JSON.stringify({ bench: 'real', machine: machineText, rows: rows(), cuts, failures }, null, 2)}\n`);
}

function round1(value: number): number {
  return Math.round(value * 10) / 10;
}

function round2(value: number): number {
  return Math.round(value * 100) / 100;
}
