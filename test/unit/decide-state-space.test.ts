/**
 * Every value of an observation crossed with every memory that matters, for one workload. `expected` states the design's rules a second time, in the
 * order of their priority and nothing else; the code must agree with it everywhere.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import type { Action, Observation } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import {
  actionName,
  apiOk,
  BESIDES,
  build,
  OF,
  parentAbsent,
  parentPresent,
  possible,
  type World,
  worlds,
} from '../support/decide-worlds.ts';
import { createDecisionTable } from '../support/decision-table.ts';
import { APISERVER, observation, POLICY, workload } from '../support/observations.ts';

interface Expected {
  readonly reason: Reason | readonly Reason[];
  readonly actions: readonly string[];
}

/** Rule 1, independent of all others. */
function expectedSave(world: World): Expected {
  const storedReason: Reason = world.stored === 'none' || world.stored === 'unproven' ? 'Saved' : 'Protected';
  if (!apiOk(world) || parentAbsent(world) || world.api === 'terminating' || world.leaving) return { reason: storedReason, actions: [] };
  if (world.api === 'refused') return { reason: 'Refused', actions: [] };
  if (world.api === 'waiting') return { reason: 'WaitingForObjects', actions: [] };
  if (world.api === 'waitingDenied') return { reason: 'ObjectsDenied', actions: [] };
  if (world.api === 'provenAgain' && world.stored === 'newerThanProven') return { reason: 'Saving', actions: ['repoint 1'] };
  if (world.stored === 'none' || world.api === 'changed' || world.api === 'provenAgain') return { reason: 'Saving', actions: ['save'] };
  if (world.stored === 'proven' || world.stored === 'withPrevious') return { reason: 'Protected', actions: [] };
  if (world.failing) return { reason: 'FailingSpec', actions: [] };
  // Beside a copy nobody knows who answers.
  if (world.api === 'notReady' || world.memory === 'fresh' || world.active) return { reason: 'Saved', actions: [] };
  return { reason: 'Protected', actions: ['prove 2'] };
}

/** Without a kubelet nothing is taken away. */
function expectedRunning(world: World): Expected | undefined {
  const expected = expectedUnlessAway(world);
  // While a parent is waited for that the kubelet refuses, this is the reason; what is done stays.
  const waits: ReadonlySet<unknown> = new Set(['YieldPending', 'Orphaned', 'ParentAbsent', 'AbsenceUnconfirmed', 'KeptServingApi']);
  return world.rejected && expected !== undefined && waits.has(expected.reason) ? { ...expected, reason: 'ParentRejected' } : expected;
}

function expectedUnlessAway(world: World): Expected | undefined {
  const expected = expectedUnlessEdited(world);
  const takes = expected?.actions.some((action) => ['deactivate', 'makeRoom', 'retire'].includes(action)) === true;
  return world.kubelet === 'free' && takes ? { reason: 'KubeletAway', actions: [] } : expected;
}

/** A manifest that somebody changed is replaced, and so is a copy that does not run, unless it is about to be taken away. */
function expectedUnlessEdited(world: World): Expected | undefined {
  const expected = expectedWithKubelet(world);
  if (world.active && world.copy !== 'running' && !world.leaving && world.runtime === 'ok' && (expected?.actions.length ?? 0) === 0) {
    const active = world.stored === 'newerThanProven' ? 1 : 2;
    if (world.copy === 'empty') return { reason: 'CopyNotStarting', actions: [] };
    if (world.copy === 'missing') return { reason: 'Reissuing', actions: [`activate ${active}`, 'makeRoom'] };
    // Of the same spec another generation would not be better.
    if (world.stored === 'withPrevious') return { reason: 'CopyCrashing', actions: ['activate 1', 'makeRoom'] };
    return { reason: 'CopyCrashing', actions: [] };
  }
  if (!world.edited || world.leaving || world.runtime === 'unknown' || (expected?.actions.length ?? 0) > 0) return expected;
  return { reason: 'ManifestEdited', actions: [`activate ${world.stored === 'newerThanProven' ? 1 : 2}`, 'makeRoom'] };
}

/** Rules 0, 2, 4, 6: the first that applies. */
function expectedWithKubelet(world: World): Expected | undefined {
  const long = world.memory !== 'fresh';
  const proven = expectedProven(world);
  const candidate = proven ?? (world.stored === 'unproven' ? 2 : undefined);
  const parentRuns = world.pods === 'running';
  if (world.runtime === 'unknown') return { reason: 'RuntimeUnknown', actions: [] };

  // Rule 6. The API server says that no such pod belongs here.
  if (parentAbsent(world) && world.stored !== 'none') {
    const bridged = expectedOrphan(world, proven);
    if (bridged !== undefined) return bridged;
    if (!long && !world.leaving) return { reason: 'ParentAbsent', actions: [] };
    if (world.api === 'absent' || world.api === 'absentPresent' || world.api === 'absentUnanswered')
      return { reason: 'AbsenceUnconfirmed', actions: ['confirmAbsence'] };
    if (world.active && world.servesApi && world.owner !== 'gone' && world.owner !== 'unwantedAndHasReady')
      return { reason: 'KeptServingApi', actions: [] };
    if (world.active) return { reason: 'Retiring', actions: ['makeRoom'] };
    return { reason: 'Retiring', actions: ['retire'] };
  }

  // Rule 4. A trial that is under way; one with a manifest still in place did not begin.
  const inTrial = (world.memory === 'trial' || world.memory === 'trialOverdue') && !world.active;
  const stranded = world.api === 'unreachable' && world.pods === 'none';
  if (inTrial && !parentAbsent(world) && !stranded) {
    if (parentRuns) return world.memory === 'trial' ? { reason: 'Trial', actions: [] } : { reason: 'Protected', actions: [] };
    if (candidate !== undefined && (world.memory === 'trialOverdue' || world.crashed)) {
      const failing = world.crashed && specOf(world) !== specIn(candidate) && !(world.failing && specOf(world) === 'new');
      return { reason: 'TrialFailed', actions: [`activate ${candidate}`, ...(failing ? ['markFailing'] : [])] };
    }
    return { reason: 'Trial', actions: [] };
  }
  if (world.active && parentPresent(world)) {
    // One whose objects are being read is what it was.
    if (world.failing && ['same', 'notReady', 'waiting', 'waitingDenied'].includes(world.api))
      return { reason: 'FailingSpec', actions: [] };
    // A pod of which no copy can be made says nothing about sharing; one whose objects are being read does not speak against it.
    const overlap = world.handBack === 'overlap' && world.api !== 'refused';
    if (overlap) {
      if (!parentRuns) return { reason: 'YieldPending', actions: [] };
      return long && world.memory !== 'trialBackoff' ? { reason: 'Yielding', actions: ['deactivate'] } : { reason: 'Overlap', actions: [] };
    }
    const created = world.pods === 'created' || world.pods === 'running';
    if (created && world.memory !== 'trialBackoff') return { reason: 'Yielding', actions: ['makeRoom'] };
    return { reason: 'YieldPending', actions: [] };
  }

  // Rule 7. The checkpointer leaves the node.
  if (world.leaving && apiOk(world) && !world.active && world.stored !== 'none') return { reason: 'Leaving', actions: ['retire'] };

  // Rule 3.
  if (!world.active && world.crashed && !parentAbsent(world) && world.api !== 'unknown' && proven !== undefined) {
    if (specOf(world) !== specIn(proven)) {
      const marked = world.failing && specOf(world) === 'new';
      return { reason: 'RolledBack', actions: [`activate ${proven}`, ...(marked ? [] : ['markFailing'])] };
    }
  }

  // Rule 2.
  if (!world.active && !parentRuns && !parentAbsent(world)) {
    if (world.api === 'unknown') return { reason: 'ApiUnknown', actions: [] };
    if (world.api === 'unreachable') {
      if (candidate === undefined) return { reason: 'NothingToActivate', actions: [] };
      return (long && world.memory !== 'trial') || world.boot === 'cold'
        ? { reason: 'Activating', actions: [`activate ${candidate}`] }
        : { reason: 'ParentDown', actions: [] };
    }
    if (proven === undefined) return world.api === 'denied' ? { reason: 'NothingToActivate', actions: [] } : undefined;
    return long ? { reason: 'Activating', actions: [`activate ${proven}`] } : { reason: 'ParentDown', actions: [] };
  }
  return world.active ? { reason: 'Active', actions: [] } : undefined;
}

/** The proven generation, or the one that was proven before it where its spec is marked failing. */
function expectedProven(world: World): 1 | 2 | undefined {
  if (world.stored === 'newerThanProven') return 1;
  if (world.stored === 'withPrevious') return world.failing || world.copy === 'crashed' ? 1 : 2;
  return world.stored === 'proven' ? 2 : undefined;
}

const specIn = (generation: number) => (generation === 1 ? 'old' : 'new');
/** What the parent is; without the API server's word what was saved of it. */
const specOf = (world: World) => (world.api === 'changed' ? 'newer' : world.api === 'provenAgain' ? 'old' : 'new');

/** Rule 2, orphans: the owner's word, or, where nobody may ask it, time, until the grace period is over. */
function expectedOrphan(world: World, proven: number | undefined): Expected | undefined {
  const wants = world.owner.startsWith('wants');
  if (world.leaving || world.api === 'unmarked') return undefined;
  const long = world.memory !== 'fresh';
  if (!wants) {
    if (world.owner !== 'unknown' || world.servesApi || long) return undefined;
    if (world.active) return { reason: 'Orphaned', actions: [] };
    return proven === undefined ? undefined : { reason: 'ParentAwaited', actions: [] };
  }
  if (world.active) return { reason: 'Orphaned', actions: [] };
  if (world.owner === 'wantsAndHasReady' || proven === undefined || !long || world.pods === 'running')
    return { reason: 'ParentAwaited', actions: [] };
  return { reason: 'Orphaned', actions: [`activate ${proven}`] };
}

/** A proven generation whose spec is marked failing gives its place back, whatever else is done. */
const expectedMarks = (world: World): readonly string[] => (world.failing && world.stored === 'withPrevious' ? ['demote 1'] : []);

describe('decide, over its whole state space', () => {
  const reached = new Map<Reason, number>();
  const table = createDecisionTable();
  let count = 0;

  it('does what the rules say, in their order of priority, in every world', () => {
    for (const world of worlds()) {
      if (!possible(world)) continue;
      // "Leaving" needs an API server that said that the checkpointer is gone.
      if (world.leaving && !apiOk(world)) continue;
      count++;
      const { memory, seen } = build(world);
      const decision = decide(memory, seen, POLICY);
      const own = decision.actions.filter(
        (action) => 'workload' in action && action.workload.name === OF.name && !BESIDES.has(action.kind),
      );
      const report = decision.reports.get(workloadKey(OF));
      if (report === undefined) throw new Error(`no reason for ${JSON.stringify(world)}`);
      const saving = expectedSave(world);
      const running = expectedRunning(world);
      const context = JSON.stringify(world);
      const [done, wanted] = [own.map(actionName).sort(), [...(running?.actions ?? []), ...saving.actions, ...expectedMarks(world)].sort()];
      // A matcher for each of some hundred thousand worlds would take most of the time.
      if (done.join() !== wanted.join() || report.reason !== (running ?? saving).reason)
        expect({ actions: done, reason: report.reason }, context).toEqual({ actions: wanted, reason: (running ?? saving).reason });
      table.add(world, report.reason, done);
      reached.set(report.reason, (reached.get(report.reason) ?? 0) + 1);
      const wrong = violations(world, seen, own);
      if (wrong.length > 0) expect(wrong, context).toEqual([]);
    }
    expect(count).toBeGreaterThan(30_000);
  }, 180_000);

  it('is what docs/decisions.md says; "node scripts/decision-table.ts" writes it anew', async () => {
    expect(await readFile(join(import.meta.dirname, '../../docs/decisions.md'), 'utf8')).toBe(table.text());
  });

  it('reaches every reason that one workload which is not the checkpointer can have', () => {
    const all: Reason[] = [
      'RuntimeUnknown',
      'KubeletAway',
      'ApiUnknown',
      'Protected',
      'Saved',
      'Saving',
      'WaitingForObjects',
      'ObjectsDenied',
      'Refused',
      'ParentDown',
      'NothingToActivate',
      'Activating',
      'Active',
      'ManifestEdited',
      'YieldPending',
      'ParentRejected',
      'Overlap',
      'Yielding',
      'Trial',
      'TrialFailed',
      'ParentAbsent',
      'AbsenceUnconfirmed',
      'KeptServingApi',
      'Retiring',
      'Leaving',
      'RolledBack',
      'FailingSpec',
      'Orphaned',
      'ParentAwaited',
      'Reissuing',
      'CopyNotStarting',
      'CopyCrashing',
    ];
    expect([...reached.keys()].sort()).toEqual(all.sort());
  });
});

/** What must never happen, whatever the rules say. */
function violations(world: World, seen: Observation, actions: readonly Action[]): string[] {
  const kinds = new Set<string>(actions.map((action) => action.kind));
  // Only for its own successor does a manifest make room in the same step.
  const replaced = kinds.has('activate');
  const none = (when: boolean, ...forbidden: string[]) => (when ? forbidden.filter((kind) => kinds.has(kind)) : []);
  const replaceable = world.owner === 'gone' || world.owner === 'unwantedAndHasReady';
  return [
    ...none(world.runtime === 'unknown', 'activate', 'deactivate', 'makeRoom', 'forgetExits', 'stopLeftover', 'retire'),
    // Unknown is not empty: nothing is taken away on an answer that did not come.
    ...none(seen.api.state !== 'ok', 'deactivate', 'retire', 'confirmAbsence', 'save', 'prove', 'repoint'),
    ...none(seen.api.state !== 'ok' && !replaced, 'makeRoom'),
    ...none(world.kubelet === 'free', 'deactivate', 'makeRoom', 'retire'),
    // A timer never ends the only API server, and what its owner wants here is not taken away.
    ...none(world.active && world.servesApi && parentAbsent(world) && !replaced && !replaceable, 'makeRoom'),
    ...none(world.owner.startsWith('wants') && world.api !== 'unmarked' && !world.leaving, 'retire', 'confirmAbsence'),
    ...none(world.active, 'retire'),
    // A spec that is marked failing gets neither the copy's place nor the proof.
    ...none(world.failing && world.api === 'same' && !replaced, 'makeRoom', 'deactivate', 'prove'),
    // Never both in one step: the kubelet would see one pod leave and another come in an order of its own.
    ...none(replaced, 'deactivate'),
  ];
}

describe('decide, over several workloads', () => {
  it('is the same function of the same input', () => {
    const world: World = {
      api: 'same',
      runtime: 'ok',
      kubelet: 'held',
      boot: 'settled',
      pods: 'created',
      stored: 'proven',
      active: true,
      edited: false,
      servesApi: true,
      handBack: 'exclusive',
      memory: 'long',
      leaving: false,
      owner: 'unknown',
      failing: false,
      crashed: false,
      rejected: false,
      copy: 'running',
    };
    const { memory, seen } = build(world);
    expect(decide(memory, seen, POLICY)).toEqual(decide(memory, seen, POLICY));
  });

  it('decides nothing when the disk cannot be read', () => {
    const seen = observation([workload(APISERVER)], {
      disk: { state: 'unknown', detail: 'EIO' },
      api: { state: 'unreachable', detail: '' },
    });
    expect(decide({ workloads: new Map() }, seen, POLICY)).toMatchObject({ actions: [], flux: true });
  });
});
