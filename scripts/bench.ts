// Runs the benchmarks one after the other, keeps their results in docs/performance/<name>.json, and writes the tables of docs/performance.md from those.
//
//     npm run build && node scripts/executable.ts && npm run bench [-- --only=save,growth] [--render]
//
// --render runs nothing: tables from the results that are there. What a benchmark needs and this machine lacks is said, and its last result stays.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

interface Bench {
  readonly name: string;
  readonly title: string;
  /** What is measured, and how. */
  readonly about: string;
  /** Shell words for people; undefined for `node bench/<name>.ts`. */
  readonly command?: string;
  /** Field of a row, and what it is called. */
  readonly columns: Readonly<Record<string, string>>;
}

const BENCHES: readonly Bench[] = [
  {
    name: 'real',
    title: 'Power cuts of a real node',
    about: `Seconds after power on, medians. \`static\`: the same control plane as plain static pods, which is the limit. \`exclusive\`: one API server at a time
has the port. \`shared\`: two may share it. \`-units\`: with the host's boot unit; without it the daemon runs in its container alone. \`bootkube\`: the
predecessor's pod-checkpointer. Unanswered: after the first good answer, how long a
request for an object got none. No outage from: it was ready again after the last of those. Not ready, ready from: the same for \`/readyz\` on a new
connection. With a shared port the second server gets its share of the connections before it calls itself ready, and answers them; so does the one that
leaves. Handed back: from here on no copy was active.`,
    command: 'KUBE_BIN=<folder> node bench/real.ts',
    columns: {
      state: '',
      cuts: 'cuts',
      firstReadyS: 'first `/readyz`',
      readyToStatic: '÷ static',
      unansweredS: 'unanswered',
      servedS: 'no outage from',
      servedMinusStaticS: '− static',
      notReadyS: 'not ready',
      stableS: 'ready from',
      handedBackS: 'handed back',
      load: 'load',
    },
  },
  {
    name: 'e2e',
    title: 'Scenarios on a real node',
    about: `What users of the API server saw, asked every 50 ms on a new connection, from the beginning of what is done until the cluster is whole again; and how
long that took.`,
    command: 'KUBE_BIN=<folder> npm run e2e',
    columns: { scenario: '', outage: 'outage (s)', outages: 'one by one (s)', took: 'took (s)', load: 'load' },
  },
  {
    name: 'pivot',
    title: 'A pivot on a real node',
    about: `A control plane of static pods becomes self-hosted, loses its power, is upgraded, and goes back. Seconds in which a request on a new connection,
every 50 ms, was not answered: in the one step that restarts the API server's static pod, and else; of the power cuts all of them. Not ready: the same for
\`/readyz\`; an API server that starts or ends beside another one gets its share of the connections, says that it is not ready, and answers.
Asked as a member of system:masters: a user whose rights come from RBAC can be denied by a server that has not read them yet; seen for 0.1 s.`,
    command: 'KUBE_BIN=<folder> npm run e2e -- pivot',
    columns: {
      scenario: '',
      restart: 'restart: unanswered',
      otherwise: 'else: unanswered',
      outage: 'not ready',
      took: 'took',
      manifestsBy: 'static pods by',
      load: 'load',
    },
  },
  {
    name: 'save',
    title: 'From a change to a durable generation',
    about:
      'On the embedded node, from the moment a Secret is patched until a generation that was fsynced and renamed into place holds its new content.',
    columns: { save: '', changes: 'changes', medianMs: 'p50 (ms)', p99Ms: 'p99 (ms)', load: 'load' },
  },
  {
    name: 'idle',
    title: 'At rest',
    about: 'On the embedded node with a self-hosted control plane: the daemon that leads, and the one that waits for it.',
    columns: {
      daemon: '',
      rssMiB: 'RSS (MiB)',
      anonymousMiB: 'of it its own',
      cpuSeconds: 'CPU (s)',
      cpuPercent: 'CPU (% of a core)',
      bytesWritten: 'bytes written',
    },
  },
  {
    name: 'growth',
    title: 'As the node grows',
    about: `From the start of the daemon with an empty store until every marked pod has its copy. Embedded API server, scripted runtime, bare pods.`,
    columns: {
      pods: 'pods',
      marked: 'marked',
      secretKiB: 'Secret of each (KiB)',
      savedMs: 'all saved (ms)',
      cpuMs: 'CPU (ms)',
      peakMiB: 'peak RSS (MiB)',
      requests: 'API requests',
      load: 'load',
    },
  },
  {
    name: 'start',
    title: 'Start of the program',
    about: 'Wall time with warm caches, and what the program and its children worked.',
    columns: { start: '', medianMs: 'median (ms)', fastestMs: 'fastest (ms)', atWorkMs: 'at work (CPU, ms)' },
  },
];

interface Result {
  readonly machine: string;
  readonly rows?: readonly Readonly<Record<string, unknown>>[];
  readonly results?: readonly Readonly<Record<string, unknown>>[];
  readonly requests?: Readonly<Record<string, number>>;
  readonly seconds?: number;
}

const DIRECTORY = 'docs/performance';
const DOCUMENT = 'docs/performance.md';
const MARK = '<!-- Below here written by npm run bench. -->';

const { values } = parseArgs({ options: { only: { type: 'string' }, render: { type: 'boolean', default: false } } });
const only = values.only?.split(',') ?? BENCHES.map(({ name }) => name);
const unknown = only.filter((name) => !BENCHES.some((bench) => bench.name === name));
if (unknown.length > 0) throw new Error(`--only=${unknown.join(',')}: expected some of ${BENCHES.map(({ name }) => name).join(', ')}`);
mkdirSync(DIRECTORY, { recursive: true });
const place = ({ name }: Bench): string => join(DIRECTORY, `${name}.json`);

const failed: string[] = [];
// The end-to-end tests leave their results themselves.
for (const bench of values.render ? [] : BENCHES.filter(({ name }) => !['e2e', 'pivot'].includes(name) && only.includes(name))) {
  console.log(`== ${bench.name}`);
  const { status, signal } = spawnSync(process.execPath, [`bench/${bench.name}.ts`, `--json=${place(bench)}`], { stdio: 'inherit' });
  if (status !== 0) failed.push(`${bench.name} ended with ${status ?? signal}`);
}
const before = existsSync(DOCUMENT) ? readFileSync(DOCUMENT, 'utf8').split(MARK)[0] : '# Performance\n\n';
writeFileSync(DOCUMENT, `${before}${MARK}\n\n${BENCHES.flatMap(section).join('\n')}`);
// As npm run lint wants them.
spawnSync('node_modules/.bin/biome', ['format', '--write', DIRECTORY], { stdio: ['ignore', 'ignore', 'inherit'] });
for (const failure of failed) console.error(failure);
process.exitCode = failed.length > 0 ? 1 : 0;

function section(bench: Bench): string[] {
  const file = place(bench);
  if (!existsSync(file)) return [];
  const result = JSON.parse(readFileSync(file, 'utf8')) as Result;
  const keys = Object.keys(bench.columns);
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const rows = (result.rows ?? result.results ?? []).map((row) => line(keys.map((key) => cell(row[key]))));
  const asked =
    result.requests === undefined
      ? []
      : [`API requests of it and of the kubelet in ${result.seconds} s: ${requests(result.requests)}.`, ''];
  return [
    `## ${bench.title}`,
    '',
    bench.about,
    '',
    line(Object.values(bench.columns)),
    line(keys.map(() => '---')),
    ...rows,
    '',
    ...asked,
    `\`${bench.command ?? `node bench/${bench.name}.ts`}\` on ${result.machine}. Load: of the machine in the minute before.`,
    '',
  ];
}

function requests(of: Readonly<Record<string, number>>): string {
  return Object.entries(of)
    .map(([verb, count]) => `${count} ${verb}`)
    .join(', ');
}

function cell(value: unknown): string {
  if (value === undefined || value === null) return '–';
  return Array.isArray(value) ? value.join(', ') || '–' : String(value);
}
