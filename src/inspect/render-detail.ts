/** One workload as text. Pure. */
import { age, printable, size } from '../commands/table.ts';
import type { GenerationDetail, ParentDetail, WorkloadDetail } from './detail.ts';
import type { Difference } from './diff.ts';
import { type Colour, PLAIN, pairs } from './render.ts';
import type { WorkloadReport } from './report.ts';

export function renderDetail(of: WorkloadReport, close: WorkloadDetail, now: number, colour: Colour = PLAIN): string {
  const [report, detail] = [printable(of), printable(close)];
  const parent = report.parent.name ?? 'unknown';
  const restarts = report.parent.restarts === undefined ? '' : `, ${report.parent.restarts} restarts`;
  const up = report.parent.runningSince === undefined ? report.parent.state : `running for ${age(report.parent.runningSince, now)}`;
  const lines: [string, string][] = [
    ['Workload', report.workload],
    ['Reason', `${report.reason}${report.since === undefined ? '' : `, for ${age(report.since, now)}`}: ${report.message}`],
    ['Parent', `${parent}: ${up}${restarts}`],
    ['Copy', report.active.map(({ file, state }) => `${file}: ${state}`).join(', ') || 'not active'],
    ['Power cut now', `${report.powerCut.verdict}: ${report.powerCut.why}`],
  ];
  return [
    pairs(lines),
    ...report.findings.map(
      ({ code, level, message, advice }) =>
        `\n  ${colour(level === 'fatal' ? 'bad' : 'doubtful', code)}: ${message.replace(/\.?$/, '.')}\n  ${advice}\n`,
    ),
    ...report.powerCut.hints.map((hint) => `\n  ${hint}\n`),
    parentText(detail.parent),
    ...detail.generations.toReversed().map((one) => generationText(one, now, colour)),
    historyText(detail, now),
  ].join('');
}

function parentText(parent: ParentDetail): string {
  const head = '\nParent and copy:\n';
  if (parent.state === 'unknown') return `${head}  not compared: ${parent.detail}\n`;
  if (parent.state === 'no copy')
    return `${head}  no copy can be made of it now:\n${parent.reasons.map((reason) => `    ${reason}\n`).join('')}`;
  const current = parent.differences.length === 0;
  const rules = parent.changes.map(({ field, rule }) => `    ${field}: ${rule}\n`).join('');
  return `${head}  the newest generation ${current ? 'is what a copy made now would be' : 'differs from a copy made now:'}\n${differences(parent.differences)}  by rule, a copy differs from its parent in\n${rules}`;
}

function generationText(one: GenerationDetail, now: number, colour: Colour): string {
  const { generation, roles, createdAt, bytes, damage, files, ends } = one;
  const about = [...roles, ...(createdAt === undefined ? [] : [`${age(createdAt, now)} old`]), size(bytes)];
  const title = `\nGeneration ${generation} (${about.join(', ')})${damage === undefined ? '' : `: ${colour('bad', 'damaged')}: ${damage}`}\n`;
  const listed = files.map(
    ({ path, mode, uid, gid, size: length }) => `  ${mode} ${`${uid}:${gid}`.padEnd(9)} ${String(length).padStart(8)} ${path}\n`,
  );
  const ending = ends.map(
    ({ path, kind, to }) => `  ${kind} in ${path} ${Date.parse(to) <= now ? colour('bad', `ended on ${to}`) : `ends on ${to}`}\n`,
  );
  const changed =
    one.differences === undefined
      ? []
      : one.differences.length === 0
        ? ['  the same as the generation before it, but for what belongs to one pod\n']
        : ['  otherwise than the generation before it:\n', differences(one.differences)];
  return [title, ...listed, ...ending, ...changed].join('');
}

function differences(all: readonly Difference[]): string {
  return all
    .map(({ where, change, before, after }) => {
      const values =
        before === undefined && after === undefined ? '' : `: ${[before, after].filter((value) => value !== undefined).join(' → ')}`;
      return `    ${change} ${where}${values}\n`;
    })
    .join('');
}

function historyText({ history }: WorkloadDetail, now: number): string {
  if (history.length === 0) return '';
  const lines = history.map(({ at, from, to, milestones, message }) => {
    const named = (milestones ?? []).length === 0 ? '' : ` [${(milestones ?? []).join(', ')}]`;
    return `  ${at} (${age(at, now)} ago)   ${from ?? '-'} → ${to ?? 'gone'}${named}   ${message ?? ''}\n`;
  });
  return `\nHistory:\n${lines.join('')}`;
}
