/** `checkpointer history`: what happened on this node, from the store. Reads only. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { parseDuration } from '../platform/duration.ts';
import type { HistoryEntry } from '../report/history.ts';
import { count, parsedBy } from './options.ts';
import { checkpointDirFlag, openStore, WORKLOAD_ARGUMENT } from './stored.ts';
import { table } from './table.ts';

interface HistoryOptions {
  readonly checkpointDir: string;
  readonly lines: number;
  readonly output: 'table' | 'json';
  /** Milliseconds, wall clock. */
  readonly since?: number;
}

export function historyCommand(): Command {
  return new Command('history')
    .argument('[workload]', `only of this one: ${WORKLOAD_ARGUMENT}`)
    .description('Show what happened to the workloads of this node.')
    .addOption(new Option('-n, --lines <count>', 'the latest ones, at most so many; 0 for all').argParser(count).default(50))
    .addOption(new Option('--since <duration|time>', 'not before: 2h, or 2026-11-21T12:00:00Z').argParser(parsedBy(parseSince)))
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .addOption(checkpointDirFlag())
    .addHelpText(
      'after',
      `
A line is a change of a workload's reason code, or something that happened to it: Copied, Proven, Activated, Yielded, RolledBack, Refused,
Retired. Oldest first. Of a pivot: checkpointer history pivot. The store keeps at least the latest half MiB of them.

Examples:
  checkpointer history
  checkpointer history kube-apiserver --since=24h
  checkpointer history -n 0 -o json | jq '.entries[] | select(.milestones | index("RolledBack"))'`,
    )
    .action(history);
}

async function history(given: string | undefined, { checkpointDir, lines, output, since }: HistoryOptions): Promise<void> {
  const { workloads } = await openStore(checkpointDir);
  const { readHistory } = await import('../report/history.ts');
  const all = await readHistory(checkpointDir);
  const key = given === undefined ? undefined : await named(given, new Set([...workloads.keys(), ...all.map(({ workload }) => workload)]));
  const entries = all.filter(
    ({ workload, at }) => (key === undefined || workload === key) && (since === undefined || Date.parse(at) >= since),
  );
  const shown = lines === 0 ? entries : entries.slice(-lines);
  if (output === 'json') process.stdout.write(`${JSON.stringify({ version: 1, entries: shown }, undefined, 2)}\n`);
  else process.stdout.write(shown.length === 0 ? 'Nothing happened.\n' : asTable(shown));
}

async function named(given: string, keys: ReadonlySet<string>): Promise<string> {
  // Also where there was none.
  if (given === 'pivot') return (await import('../pivot/history.ts')).PIVOT_HISTORY;
  const { resolveWorkload } = await import('../inspect/detail.ts');
  return resolveWorkload([...keys] as WorkloadKey[], given);
}

function asTable(entries: readonly HistoryEntry[]): string {
  const rows = entries.map(({ at, workload, from, to, generation, milestones, message }) => [
    at.replace(/\.[0-9]+Z$/, 'Z'),
    workload,
    generation === undefined ? '-' : `g${generation}`,
    `${from ?? '-'} -> ${to ?? '-'}`,
    milestones?.join(',') || '-',
    // One line for each, whatever an API server or a runtime answered.
    (message ?? '').replaceAll(/\p{Cc}+/gu, ' '),
  ]);
  return table(['TIME', 'WORKLOAD', 'GEN', 'REASON', 'WHAT', 'MESSAGE'], rows);
}

/** Milliseconds, wall clock. */
function parseSince(text: string): number {
  if (/^[0-9]{4}-[0-9]{2}-[0-9]{2}(T|$)/.test(text)) {
    const time = Date.parse(text);
    if (!Number.isNaN(time)) return time;
  }
  try {
    return Date.now() - parseDuration(text);
  } catch {
    throw new InvalidArgumentError(`"${text}" is neither a duration, such as 2h, nor a time, such as 2026-11-21T12:00:00Z.`);
  }
}
