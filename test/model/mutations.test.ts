/** Every invariant of the model can fail: each is broken by rules that lack one thing. */
import { describe, expect, it } from 'vitest';
import { type Decision, decide } from '../../src/checkpoint/decide.ts';
import type { WorkloadMemory } from '../../src/checkpoint/memory.ts';
import type { Action } from '../../src/checkpoint/model.ts';
import { type Decide, type Event, type Happening, type Options, violationOf } from './run.ts';

const changed =
  (change: (decision: Decision) => Decision): Decide =>
  (memory, observation, policy) =>
    change(decide(memory, observation, policy));

const without = (...kinds: readonly Action['kind'][]): Decide =>
  changed((decision) => ({ ...decision, actions: decision.actions.filter(({ kind }) => !kinds.includes(kind)) }));

/** What it remembered of failures is lost. */
function forgetful(decision: Decision): Decision {
  const forget = ({ failedTrials: _trials, failing: _failing, ...rest }: WorkloadMemory): WorkloadMemory => rest;
  const workloads = new Map([...decision.memory.workloads].map(([key, memory]) => [key, forget(memory)]));
  return { ...decision, memory: { ...decision.memory, workloads }, actions: decision.actions.filter(({ kind }) => kind !== 'markFailing') };
}

/** Only manifests are taken away; containers are left to the kubelet. */
function leaveContainers(decision: Decision): Decision {
  const actions = decision.actions
    .filter(({ kind }) => kind !== 'stopLeftover')
    .map((action) => (action.kind === 'makeRoom' ? { ...action, containerIds: [] } : action));
  return { ...decision, actions };
}

const event = (happening: Happening, pause: number): Event => ({ happening, pause });
const cutPower = event({ kind: 'cutPower' }, 20_000);

interface Broken {
  readonly rules: Decide;
  /** One of them is enough. */
  readonly sequences: readonly (readonly Event[])[];
  readonly violation: string;
  readonly handBack?: Options['handBack'];
}

const BROKEN: Readonly<Record<string, Broken>> = {
  'rules that activate nothing': { rules: without('activate'), sequences: [[cutPower]], violation: 'no API server' },
  'rules that never take a copy away': {
    rules: without('makeRoom', 'deactivate'),
    sequences: [[cutPower]],
    violation: 'its parent could run',
    handBack: 'overlap',
  },
  'rules that never make room on an exclusive port': {
    rules: without('makeRoom'),
    sequences: [[cutPower]],
    violation: 'its parent could run',
  },
  'rules that leave containers to a kubelet that does not know them': {
    rules: changed(leaveContainers),
    // In the moment of the yield etcd goes, and the kubelet starts anew.
    sequences: Array.from({ length: 20 }, (_, second) => [
      event({ kind: 'cutPower' }, second * 1000),
      event({ kind: 'fault', fault: 'etcdDown', on: true }, 0),
      event({ kind: 'restartKubelet' }, 60_000),
    ]),
    violation: 'without a manifest runs on',
  },
  'rules that forget what failed': {
    rules: changed(forgetful),
    sequences: [[event({ kind: 'rollOut', name: 'scheduler', good: false }, 0)]],
    violation: 'in which nothing happens',
  },
  'rules that take an absent pod for a reason to retire': {
    rules: (memory, observation, policy) => decide(memory, { ...observation, owners: new Map() }, { ...policy, checkpointGracePeriod: 0 }),
    sequences: [[event({ kind: 'rollOut', name: 'scheduler', good: true }, 60_000)]],
    violation: 'the proven generation of scheduler is gone',
  },
  'rules that are at it all the time': {
    rules: (memory, observation, policy) => ({ ...decide(memory, observation, policy), wakeAt: observation.now }),
    sequences: [[cutPower]],
    violation: 'looks again at once',
  },
};

describe('an invariant of the model is broken by', () => {
  it.each(Object.entries(BROKEN))('%s', (_what, { rules, sequences, violation, handBack = 'exclusive' }) => {
    const found = sequences.map((events) => violationOf(events, { handBack, decide: rules }));
    expect(found.filter((one) => one?.includes(violation) === true)).not.toEqual([]);
    for (const events of sequences) expect(violationOf(events, { handBack })).toBeUndefined();
  });
});
