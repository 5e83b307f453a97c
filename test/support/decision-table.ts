/**
 * The state space for people: one row for each reason and what is done for it, with the conditions under which that happens. A dimension stands in a row
 * only where not all of its values lead there.
 */

import { decide } from '../../src/checkpoint/decide.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { actionName, apiOk, BESIDES, build, DIMENSIONS, OF, possible, type World, worlds } from './decide-worlds.ts';
import { POLICY } from './observations.ts';

type Dimension = keyof World;

const WORDS: { readonly [K in Dimension]: { readonly name: string; readonly values: Readonly<Record<string, string>> } } = {
  api: {
    name: 'API server',
    values: {
      unknown: 'not asked yet',
      unreachable: 'unreachable',
      denied: 'denies (401, 403)',
      same: 'has the parent, spec as stored',
      changed: 'has the parent, another spec',
      provenAgain: 'has the parent, an earlier spec again',
      refused: 'has a parent of which no copy can be made',
      waiting: 'has a parent whose objects are not read yet',
      waitingDenied: 'has a parent whose objects it denies',
      terminating: 'has the parent, on its way out',
      notReady: 'has the parent, not Ready',
      absent: 'lists no parent',
      absentGone: 'lists no parent, a GET says 404',
      absentPresent: 'lists no parent, a GET has it',
      absentUnanswered: 'lists no parent, a GET is not answered',
      unmarked: 'has the pod, without its mark',
    },
  },
  runtime: { name: 'container runtime', values: { ok: 'answers', unknown: 'does not answer' } },
  kubelet: { name: 'kubelet', values: { held: 'there', free: 'away' } },
  boot: { name: 'boot', values: { settled: 'settled', cold: 'cold' } },
  pods: {
    name: "parent's containers",
    values: { none: 'no pod', sandbox: 'sandbox only', created: 'created', running: 'running', ended: 'ended' },
  },
  stored: {
    name: 'store',
    values: {
      none: 'nothing',
      unproven: 'an unproven generation',
      proven: 'a proven generation',
      newerThanProven: 'a proven and a newer one',
      withPrevious: 'a proven one and the one before it',
    },
  },
  active: { name: 'copy', values: { false: 'not active', true: 'active' } },
  edited: { name: 'its manifest', values: { false: 'as written', true: 'edited by somebody' } },
  servesApi: { name: 'workload', values: { false: 'another one', true: 'serves the API' } },
  handBack: { name: 'hand-back', values: { exclusive: 'exclusive', overlap: 'overlap' } },
  memory: {
    name: 'so far',
    values: {
      fresh: 'just so',
      long: 'for long enough',
      trial: 'in a trial',
      trialOverdue: 'in a trial, deadline over',
      trialBackoff: 'a trial failed a short while ago',
    },
  },
  leaving: { name: 'checkpointer', values: { false: 'stays', true: 'leaves the node' } },
  owner: {
    name: 'owner',
    values: {
      unknown: 'not known',
      wants: 'wants a pod here, none is Ready',
      wantsAndHasReady: 'wants a pod here, one is Ready somewhere',
      unwanted: 'wants none here',
      unwantedAndHasReady: 'wants none here, one is Ready elsewhere',
      gone: 'gone',
    },
  },
  failing: { name: 'spec', values: { false: 'not marked', true: 'marked failing' } },
  crashed: { name: 'parent', values: { false: 'did not crash by itself', true: 'crashed twice by itself' } },
  rejected: { name: 'kubelet', values: { false: 'takes the parent', true: 'refused the parent' } },
  copy: {
    name: 'active copy',
    values: { running: 'runs', missing: 'has no sandbox', empty: 'has no container', crashed: 'crashed twice' },
  },
};

const ACTIONS: Readonly<Record<string, string>> = {
  activate: 'activate a generation',
  makeRoom: 'take the copy away, stop its containers',
  deactivate: 'take the copy away',
  save: 'save a generation',
  prove: 'mark it proven',
  repoint: 'make the earlier generation the newest',
  demote: 'the one proven before is proven again',
  markFailing: 'mark the spec failing',
  confirmAbsence: 'ask for the pod by name',
  retire: 'move the generations out of use',
};

export interface DecisionTable {
  add(world: World, reason: Reason, actions: readonly string[]): void;
  text(): string;
}

/** What happens beside the reason, whatever the reason is, unless it is the reason. */
const BESIDE: ReadonlySet<string> = new Set(['save', 'prove', 'repoint', 'demote']);
const REASONS_OF: Readonly<Record<string, Reason>> = { save: 'Saving', repoint: 'Saving', prove: 'Protected' };

/** Values that together have a name. */
const GROUPS: Partial<Record<Dimension, readonly { readonly values: readonly string[]; readonly name: string }[]>> = {
  api: [
    { values: ['same', 'changed', 'provenAgain', 'refused', 'waiting', 'waitingDenied', 'notReady'], name: 'has the parent' },
    {
      values: ['same', 'changed', 'provenAgain', 'waiting', 'waitingDenied', 'notReady'],
      name: 'has the parent, and a copy of it could be made',
    },
    { values: ['absent', 'absentGone', 'absentPresent', 'absentUnanswered'], name: 'lists no parent' },
    { values: ['unknown', 'unreachable', 'denied'], name: 'does not answer, or denies' },
  ],
  owner: [{ values: ['wants', 'wantsAndHasReady'], name: 'wants a pod here' }],
};

/** What cannot be otherwise, given the rest of the row, or is said above the table. */
function isImplied(name: Dimension, seen: ReadonlyMap<Dimension, ReadonlySet<string>>, reason: Reason): boolean {
  const only = (dimension: Dimension, value: string) => seen.get(dimension)?.size === 1 && seen.get(dimension)?.has(value) === true;
  if (name === 'runtime') return reason !== 'RuntimeUnknown';
  if (name === 'leaving') return only('leaving', 'false');
  if (name === 'edited' || name === 'copy') return only('active', 'false') || only(name, name === 'copy' ? 'running' : 'false');
  if (name === 'owner') return only('owner', 'unknown');
  if (name === 'kubelet') return only('kubelet', 'held');
  if (name === 'boot') return only('boot', 'settled');
  if (name === 'failing' || name === 'crashed' || name === 'rejected') return only(name, 'false');
  return false;
}

interface Row {
  readonly reason: Reason;
  readonly actions: readonly string[];
  worlds: number;
  /** For each dimension the values that occur, as bits in their order. */
  readonly seen: number[];
}

function actionsOf(reason: Reason, done: readonly string[]): string[] {
  const all = [...new Set(done.map((action) => action.split(' ')[0] ?? ''))];
  return all.filter((action) => !BESIDE.has(action) || REASONS_OF[action] === reason).sort();
}

export function createDecisionTable(): DecisionTable {
  const rows = new Map<string, Row>();
  const names = Object.keys(DIMENSIONS) as Dimension[];
  // Called for some hundred thousand worlds: values are bits here.
  const bits = names.map((name) => new Map(DIMENSIONS[name].map((value, index): [unknown, number] => [value, 1 << index])));
  return {
    add(world, reason, done) {
      const known = `${reason} ${done.join()}`;
      const row = rows.get(known) ?? { reason, actions: actionsOf(reason, done), worlds: 0, seen: names.map(() => 0) };
      rows.set(known, row);
      row.worlds++;
      names.forEach((name, index) => {
        row.seen[index] = (row.seen[index] ?? 0) | (bits[index]?.get(world[name]) ?? 0);
      });
    },
    text() {
      const merged = new Map<string, Row>();
      for (const row of rows.values()) {
        const key = `${row.reason} ${row.actions}`;
        const other = merged.get(key);
        const seen = row.seen.map((value, index) => value | (other?.seen[index] ?? 0));
        merged.set(key, { ...row, worlds: row.worlds + (other?.worlds ?? 0), seen });
      }
      const sorted = [...merged.values()].toSorted((a, b) => (`${a.reason} ${a.actions}` < `${b.reason} ${b.actions}` ? -1 : 1));
      const total = sorted.reduce((sum, { worlds: count }) => sum + count, 0);
      const lines = sorted.map(({ reason, actions, seen: values }) => {
        const seen = new Map(
          names.map((name, index) => [
            name,
            new Set(DIMENSIONS[name].filter((_, bit) => ((values[index] ?? 0) & (1 << bit)) !== 0).map(String)),
          ]),
        );
        const conditions = names.flatMap((name) => (isImplied(name, seen, reason) ? [] : condition(name, seen.get(name) ?? new Set())));
        return `| \`${reason}\` | ${actions.map((action) => ACTIONS[action] ?? action).join(', ') || '—'} | ${conditions.join('; ')} |`;
      });
      return [...HEAD(total, sorted.length), ...lines, ''].join('\n');
    },
  };
}

/** Empty where every value leads there. */
function condition(name: Dimension, seen: ReadonlySet<string>): string[] {
  const all = DIMENSIONS[name].map(String);
  if (all.every((value) => seen.has(value))) return [];
  const words = WORDS[name];
  const missing = all.filter((value) => !seen.has(value));
  if (missing.length < seen.size && missing.length <= 2) return [`**${words.name}** not: ${inWords(name, missing)}`];
  return [
    `**${words.name}** ${inWords(
      name,
      all.filter((value) => seen.has(value)),
    )}`,
  ];
}

function inWords(name: Dimension, values: readonly string[]): string {
  const found: string[] = [];
  let left = values;
  for (const group of GROUPS[name] ?? []) {
    if (!group.values.every((value) => left.includes(value))) continue;
    found.push(group.name);
    left = left.filter((value) => !group.values.includes(value));
  }
  return [...found, ...left.map((value) => WORDS[name].values[value] ?? value)].join(' / ');
}

const HEAD = (total: number, rows: number): string[] => [
  '# What is decided, and when',
  '',
  '<!-- Written by "node scripts/decision-table.ts"; a test keeps it up to date. -->',
  '',
  `The rules of one workload, tried in ${total.toLocaleString('en')} worlds: every value of an observation crossed with every memory that matters. Each of the ${rows} rows is`,
  'a reason, as it stands in the status, the log and the metrics, and what is done for it. The conditions are what the worlds of a row have in common: the values that',
  'occur there. What is not named can be anything, or is as it mostly is: the runtime answers, a kubelet is there, nobody has edited or broken the active copy, no',
  'spec is marked failing, no parent crashes by itself, the checkpointer stays, and nothing is known of the owner. Where two rows have the same conditions, the order of',
  'the rules tells them apart (src/checkpoint/decide.ts).',
  '',
  'Besides, whatever the reason: a parent that changed is saved, one that was Ready long enough is proven, a proven spec that is marked failing gives way to the one',
  'proven before it, and generations that nothing needs any more are deleted.',
  '',
  '| Reason | Done | When |',
  '|---|---|---|',
];

/** Of the code as it is. */
export function decisionTable(): string {
  const table = createDecisionTable();
  for (const world of worlds()) {
    if (!possible(world) || (world.leaving && !apiOk(world))) continue;
    const { memory, seen } = build(world);
    const { actions, reports } = decide(memory, seen, POLICY);
    const own = actions.filter((action) => 'workload' in action && action.workload.name === OF.name && !BESIDES.has(action.kind));
    const report = reports.get(workloadKey(OF));
    if (report !== undefined) table.add(world, report.reason, own.map(actionName));
  }
  return table.text();
}
