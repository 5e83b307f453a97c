/** The report as text for a terminal. Pure: the same report and time give the same text. */
import { age, printable, size, table } from '../commands/table.ts';
import type { Finding } from './finding.ts';
import type { Verdict } from './power-cut.ts';
import type { GenerationRef, Inspection, LeaderReport, NodeReport, StoreReport, WorkloadReport } from './report.ts';

export type Tone = 'good' | 'doubtful' | 'bad' | 'faint';
export type Colour = (tone: Tone, text: string) => string;

const CODES: Readonly<Record<Tone, number>> = { good: 32, doubtful: 33, bad: 31, faint: 2 };

/** SGR sequences of ECMA-48, which terminals know. */
export const ANSI: Colour = (tone, text) => `\x1b[${CODES[tone]}m${text}\x1b[0m`;
export const PLAIN: Colour = (_tone, text) => text;

/** https://no-color.org: any value but an empty one turns colours off. */
export function wantsColour(terminal: boolean, env: Readonly<Record<string, string | undefined>>): boolean {
  return terminal && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb';
}

const TONES: Readonly<Record<Verdict, Tone>> = { recovers: 'good', 'recovers with warnings': 'doubtful', 'does not recover': 'bad' };

export function renderInspection(given: Inspection, wide: boolean, colour: Colour = PLAIN): string {
  const report = printable(given);
  const now = Date.parse(report.at);
  const parts = [
    `${pairs(nodeLines(report.node, report, now, wide, colour))}\n`,
    workloadTable(report.workloads, now, wide, colour),
    ...retiredLines(report, now),
    ...findingLines(report, colour),
    ...hintLines(report),
  ];
  return parts.join('');
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

/** Names and values in two columns. */
export function pairs(lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, value]) => `${name.padEnd(width)}   ${value}\n`).join('');
}

function nodeLines(node: NodeReport, { verdict }: Inspection, now: number, wide: boolean, colour: Colour): [string, string][] {
  const { kubelets, ours } = node.staticPodPath;
  return [
    ['Power cut now', colour(TONES[verdict], verdict)],
    ['Leader', leaderText(node.leader, node.bootId, now, colour)],
    ['Kubelet lock', lockText(node.kubeletLock)],
    ['API server', node.api.state === 'ok' ? 'answers' : `${node.api.state}${'detail' in node.api ? `: ${node.api.detail}` : ''}`],
    ['Runtime', node.runtime.state === 'ok' ? (node.runtime.name ?? 'answers') : `unknown: ${node.runtime.detail}`],
    ['Store', storeText(node.store, colour)],
    [
      'Boot unit',
      node.bootUnit.state === 'armed' ? `armed, before ${node.bootUnit.by}` : `${node.bootUnit.state}: ${node.bootUnit.detail}`,
    ],
    ...(wide
      ? ([
          [
            'Host unit',
            node.hostUnit.state === 'armed' ? `armed, with ${node.hostUnit.by}` : `${node.hostUnit.state}: ${node.hostUnit.detail}`,
          ],
          [
            'Static pods',
            kubelets === undefined
              ? `${ours}; the kubelet's own setting is unknown`
              : kubelets === ours
                ? ours
                : `${ours}; the kubelet's: ${kubelets}`,
          ],
        ] as [string, string][])
      : []),
    ['Boot', node.bootId ?? 'unknown'],
  ];
}

function leaderText(
  { state, where, pid, since, bootId, detail, version }: LeaderReport,
  boot: string | undefined,
  now: number,
  colour: Colour,
): string {
  const who = where === undefined ? undefined : `${where} (pid ${pid}, version ${version})`;
  const when = since === undefined ? '' : bootId === boot ? `, for ${age(since, now)}` : ', in an earlier boot';
  if (state === 'leads') return who === undefined ? 'leads; who, is not written down' : `${who}${when}`;
  if (state === 'nobody') return `${colour('bad', 'nobody')}${who === undefined ? '' : `; the last one was ${who}${when}`}`;
  return `${who === undefined ? 'unknown' : `unknown; the last one written down is ${who}${when}`} (${detail})`;
}

function lockText(lock: NodeReport['kubeletLock']): string {
  switch (lock.state) {
    case 'held':
      return `held by pid ${lock.pid}${lock.waiting.length === 0 ? '' : `, waited for by ${lock.waiting.join(', ')}`}`;
    case 'free':
      return 'free: no kubelet holds it';
    case 'unknown':
      return `unknown: ${lock.detail}`;
  }
}

function storeText(store: StoreReport, colour: Colour): string {
  if (store.state === 'missing') return `${store.path}: ${colour('bad', 'there is none')}`;
  if (store.state === 'unknown') return `${store.path}: unknown: ${store.detail}`;
  const { generations, damaged, bytes, freeBytes, sizeBytes, quarantined } = store;
  const health = damaged === 0 ? 'whole' : colour('bad', `${damaged} damaged`);
  const kept = quarantined.length === 0 ? '' : `, ${quarantined.length} in quarantine`;
  return `${store.path}: ${counted(generations, 'generation')}, ${size(bytes)}, ${health}${kept}; ${size(freeBytes)} of ${size(sizeBytes)} free`;
}

const HEAD = ['WORKLOAD', 'REASON', 'FOR', 'PARENT', 'COPY', 'PROVEN', 'NEWEST', 'POWER CUT', 'MESSAGE'];
const WIDE = [
  'WORKLOAD',
  'REASON',
  'FOR',
  'PARENT',
  'POD',
  'RESTARTS',
  'COPY',
  'PROVEN',
  'PREVIOUS',
  'NEWEST',
  'STORED',
  'POWER CUT',
  'WHY',
  'MESSAGE',
];

function workloadTable(workloads: readonly WorkloadReport[], now: number, wide: boolean, colour: Colour): string {
  if (workloads.length === 0) return 'No copies. Mark a pod with the annotation checkpointer.alpha.coreos.com/checkpoint: "true".\n';
  const rows = workloads.map((one) => {
    const { workload, reason, since, parent, proven, previous, newest, generations, powerCut, message } = one;
    const up = parent.state === 'running' ? `up ${age(parent.runningSince ?? '', now)}` : parent.state === 'unknown' ? 'unknown' : 'down';
    const cells = [workload, reason, since === undefined ? '-' : age(since, now), up];
    const tail = [powerCut.verdict, ...(wide ? [powerCut.why] : []), message];
    if (!wide) return [...cells, copyText(one, now), generation(proven, now), generation(newest, now), ...tail];
    return [
      ...cells,
      parent.name ?? '-',
      parent.restarts === undefined ? '-' : String(parent.restarts),
      copyText(one, now),
      generation(proven, now),
      generation(previous, now),
      generation(newest, now),
      generations.map((number) => `g${number}`).join(',') || '-',
      ...tail,
    ];
  });
  return table(wide ? WIDE : HEAD, rows, (padded, text) => (text in TONES ? colour(TONES[text as Verdict], padded) : padded));
}

function copyText({ active }: WorkloadReport, now: number): string {
  const texts = active.map(({ generation, activation, state, runningSince }) => {
    const up = state === 'running' ? ` up ${age(runningSince ?? '', now)}` : state === 'unknown' ? '' : ' down';
    return `g${generation}-a${activation}${up}`;
  });
  return texts.join(',') || '-';
}

function generation(of: GenerationRef | undefined, now: number): string {
  if (of === undefined) return '-';
  return of.createdAt === undefined ? `g${of.generation}` : `g${of.generation} (${age(of.createdAt, now)})`;
}

function retiredLines({ retired }: Inspection, now: number): string[] {
  if (retired.length === 0) return [];
  const lines = retired.map(
    ({ workload, retiredAt, generations }) =>
      `  ${workload}   ${age(retiredAt, now)} ago, ${counted(generations.length, 'generation')} kept\n`,
  );
  return ['\nRetired:\n', ...lines];
}

function findingLines({ node, workloads }: Inspection, colour: Colour): string[] {
  const lines = node.findings.map((finding) => findingText('', finding, colour));
  const seen = new Set(node.findings.map(({ code }) => code));
  // What concerns the whole node stands once, not once for every workload.
  for (const { workload, findings } of workloads)
    for (const finding of findings)
      if (!seen.has(finding.code) || finding.level === 'warning') lines.push(findingText(workload, finding, colour));
  return lines.length === 0 ? [] : ['\nBefore the next power cut:\n', ...lines];
}

function findingText(about: string, { code, level, message, advice }: Finding, colour: Colour): string {
  const title = `${colour(level === 'fatal' ? 'bad' : 'doubtful', code)}${about === '' ? '' : `   ${about}`}`;
  return `  ${title}\n      ${message.replace(/\.?$/, '.')}\n      ${advice}\n`;
}

function hintLines({ workloads }: Inspection): string[] {
  const hints = workloads.flatMap(({ workload, powerCut }) => powerCut.hints.map((hint) => `  ${workload}: ${hint}\n`));
  return hints.length === 0 ? [] : ['\nWhat could be better:\n', ...hints];
}
