/**
 * Every command line in README.md and docs/ is run, as it stands there, or held against the commands that there are. They are run on a node's disk with two
 * workloads in its store; the environment says where that is, as it may for every flag.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { program } from '../../src/program.ts';
import { appendHistory } from '../../src/report/history.ts';
import { type Host, testHost } from '../support/host/host.ts';
import { findProgram } from '../support/packages.ts';

const ROOT = join(import.meta.dirname, '../..');
const CLI = join(ROOT, 'src/cli.ts');

/** Not run: what they need is not on a disk. Each program with the reason; what of a line is `checkpointer` is held against its commands all the same. */
const NOT_RUN: Readonly<Record<string, string>> = {
  kubectl: 'needs a cluster',
  systemctl: 'needs the machine’s own systemd',
  journalctl: 'needs the machine’s own systemd',
  crictl: 'needs a container runtime, and is not installed with one',
  openssl: 'reads a certificate of a kubelet',
  dmesg: 'reads the kernel’s log of the machine',
  df: 'of a directory that tests must not make',
  findmnt: 'of a directory that tests must not make',
  lsattr: 'of a directory that tests must not make',
  iostat: 'measures the machine for five seconds',
  semanage: 'needs SELinux',
  restorecon: 'needs SELinux',
  ls: 'of a directory that tests must not make',
  rm: 'deletes directories of the machine',
  npm: 'the gate runs these',
  npx: 'the gate runs these',
  node: 'scripts and benchmarks have tests of their own; that the file is there is checked',
  tar: 'unpacks what npm would have fetched',
  docker: 'the image has a test of its own, with what builds it',
};

/** Lines with `checkpointer` that are only held against the commands and their flags. */
const ONLY_PARSED: Readonly<Record<string, string>> = {
  'checkpointer inspect --watch': 'never ends',
  'checkpointer install-host --host-root=/host --executable=/checkpointer --node-name=master-1': 'names files of a container',
  'checkpointer uninstall-host': 'would reach for the units of the machine where --host-root is not given',
  'checkpointer uninstall-host --purge-store': 'the same',
  'checkpointer install-host --node-name=master-1': 'installs a built executable: test/integration/install-host.test.ts',
  'checkpointer install-host --dry-run': 'the same',
  'checkpointer kubelet-lock wait --for=free --timeout=30s': 'waits',
  'checkpointer kubelet-lock contend --hold=10s': 'waits',
};

/** Commands of a cluster, whose own tests run them on an embedded node. */
const NEEDS_CLUSTER = /^checkpointer (run|pivot|unpivot)\b/;

/** Exit codes other than 0 that a line may have here. */
const CODES: readonly [RegExp, readonly number[], string][] = [
  [/^checkpointer inspect/, [0, 3], 'nobody leads on a disk alone'],
  [/^checkpointer doctor/, [0, 3], 'a disk alone has neither kubelet nor runtime'],
  [/^checkpointer kubelet-lock status/, [0, 3, 4], 'there is no kubelet'],
  [/^checkpointer recover --dry-run/, [0, 1], 'there is no runtime'],
  [/^checkpointer sanitize -f pod.yaml/, [0, 1], 'whether there is a copy is the answer'],
];

interface Line {
  readonly file: string;
  readonly number: number;
  readonly text: string;
}

const documents = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

/** The first word of whatever may be a command line. */
const PROGRAMS = new Set(['checkpointer', 'source', ...Object.keys(NOT_RUN)]);

/** Of fenced blocks that are `sh` or say nothing, all; of indented ones those that begin with a program. */
function linesOf(file: string): Line[] {
  let fence: string | undefined;
  return readFileSync(join(ROOT, file), 'utf8')
    .split('\n')
    .flatMap((text, i): Line[] => {
      const fenced = /^ *```(\S*)/.exec(text);
      if (fenced !== null) {
        fence = fence === undefined ? (fenced[1] ?? '') : undefined;
        return [];
      }
      const line = { file, number: i + 1, text: text.trim().replace(/ {2,}#.*$/, '') };
      if (fence !== undefined) return ['', 'sh'].includes(fence) && line.text !== '' ? [line] : [];
      return /^ {4}/.test(text) && PROGRAMS.has(firstOf(line.text)) ? [line] : [];
    });
}

const firstOf = (text: string): string => text.split(/[\s]/)[0] ?? '';
const lines = documents.flatMap(linesOf);

/** Commands between pipes and `&&`; `<(…)` is one too. What is in quotes stays together. */
function commandsOf(text: string): string[][] {
  const words =
    text
      .replaceAll(/<\((.*?)\)/g, ' ; $1')
      .replaceAll(/ > \S+/g, '')
      .replaceAll(/"\$\((.*)\)"/g, 'X')
      .match(/'[^']*'|"[^"]*"|[^\s|;&]+|\|+|&&|;/g) ?? [];
  const commands: string[][] = [[]];
  for (const word of words) {
    if (/^(\|+|&&|;)$/.test(word)) commands.push([]);
    else commands.at(-1)?.push(word.replace(/^(['"])(.*)\1$/, '$2'));
  }
  return commands.filter(([first]) => first !== undefined && first !== 'source');
}

/** The arguments of `checkpointer` in a command, also where another program runs it. */
function ours(command: readonly string[]): string[] | undefined {
  if (command[0] === 'checkpointer') return command.slice(1);
  // In the image it has no other name.
  const at = command.indexOf('/checkpointer');
  return command.includes('exec') && at > 0 ? command.slice(at + 1) : undefined;
}

/** Parses as the command line does, and does nothing. Throws what commander says of an unknown command, flag or value. */
async function parse(args: readonly string[]): Promise<void> {
  const root = await program();
  const quiet = (command: typeof root): void => {
    command.exitOverride().configureOutput({ writeErr: () => undefined });
    if (command.commands.length === 0) command.action(() => undefined);
    for (const child of command.commands) quiet(child);
  };
  quiet(root);
  await root.parseAsync(args, { from: 'user' });
}

let host: Host;

beforeAll(async () => {
  host = await testHost();
  for (const name of ['kube-apiserver', 'kube-scheduler']) {
    await host.save(name, `registry.example.org/${name}:1`);
    await host.save(name, `registry.example.org/${name}:2`);
  }
  await appendHistory(host.store, [
    {
      at: '2026-11-21T12:00:00Z',
      workload: 'kube-system/DaemonSet/kube-apiserver',
      namespace: 'kube-system',
      to: 'Protected',
      state: 'proven',
      milestones: [],
      message: '',
    },
  ]);
  const bin = join(host.dir, 'bin');
  mkdirSync(bin);
  writeFileSync(join(bin, 'checkpointer'), `#!/bin/sh\nexec ${process.execPath} ${CLI} "$@"\n`);
  chmodSync(join(bin, 'checkpointer'), 0o755);
  const here = join(host.dir, 'here');
  mkdirSync(join(here, 'secrets'), { recursive: true });
  writeFileSync(
    join(here, 'pod.yaml'),
    'apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {checkpointer.alpha.coreos.com/checkpoint: "true"}}\nspec: {containers: [{name: c, image: i}]}\n',
  );
  return () => host[Symbol.asyncDispose]();
});

function run(text: string) {
  const env = {
    PATH: `${join(host.dir, 'bin')}:${process.env['PATH'] ?? ''}`,
    HOME: host.dir,
    CHECKPOINTER_CHECKPOINT_DIR: host.store,
    CHECKPOINTER_POD_MANIFEST_PATH: host.manifests,
    CHECKPOINTER_LOCK_FILE: host.lockFile,
    CHECKPOINTER_BOOT_ID_FILE: host.bootIdFile,
    CHECKPOINTER_KUBECONFIG: join(host.dir, 'kubelet.conf'),
    CHECKPOINTER_KUBELET_LOCK_FILE: join(host.dir, 'kubelet.lock'),
    CHECKPOINTER_CONTAINER_RUNTIME_ENDPOINT: `unix://${join(host.dir, 'cri.sock')}`,
    CHECKPOINTER_RUNTIME_REQUEST_TIMEOUT: '200ms',
    CHECKPOINTER_PROBE_TIMEOUT: '200ms',
    CHECKPOINTER_HOST_ROOT: join(host.dir, 'here'),
  };
  return spawnSync('bash', ['-c', text], { cwd: join(host.dir, 'here'), env, encoding: 'utf8', timeout: 20_000 });
}

it('there are command lines in every document that should have some', () => {
  const having = new Set(lines.map(({ file }) => file));
  for (const file of [
    'README.md',
    'docs/runbook.md',
    'docs/host.md',
    'docs/copy.md',
    'docs/inspect.md',
    'docs/migration.md',
    'docs/faq.md',
  ])
    expect(having).toContain(file);
});

it('every line is of programs that are known here', () => {
  const unknown = lines.filter(({ text }) => commandsOf(text).some(([first = '']) => !PROGRAMS.has(first)));
  expect(unknown).toEqual([]);
});

it('in the container it is called by the name that it has there', () => {
  const inContainers = lines.filter(({ text }) => / exec /.test(text));
  expect(inContainers.length).toBeGreaterThan(0);
  for (const { text } of inContainers) expect(text).toContain(' /checkpointer ');
});

it('no exception is left over', () => {
  const texts = lines.map(({ text }) => text);
  expect(Object.keys(ONLY_PARSED).filter((text) => !texts.includes(text))).toEqual([]);
  expect(CODES.filter(([pattern]) => !texts.some((text) => pattern.test(text))).map(([pattern]) => pattern)).toEqual([]);
});

describe('has only commands, flags and values that there are:', () => {
  const given = lines.flatMap((line) =>
    commandsOf(line.text).flatMap((command) => {
      const args = ours(command);
      return args === undefined ? [] : [{ ...line, args }];
    }),
  );
  it.each(given)('$file:$number $text', async ({ args }) => {
    await parse(args);
  });

  it('an unknown one would be noticed', async () => {
    await expect(parse(['inspect', '--bogus'])).rejects.toThrow("unknown option '--bogus'");
    await expect(parse(['kubelet-lock', 'bogus'])).rejects.toThrow("unknown command 'bogus'");
    await expect(parse(['inspect', '-o', 'xml'])).rejects.toThrow('Allowed choices are');
  });
});

// In the order in which they stand: one exports what another one imports.
describe('runs as it stands there:', () => {
  const texts = [...new Set(lines.map(({ text }) => text))].filter(
    (text) => !(text in ONLY_PARSED) && !NEEDS_CLUSTER.test(text) && commandsOf(text).every(([first = '']) => !(first in NOT_RUN)),
  );
  it.each(texts)('%s', (text) => {
    const { status, stderr } = run(text);
    const [, codes = [0]] = CODES.find(([pattern]) => pattern.test(text)) ?? [];
    expect(codes, stderr).toContain(status);
  });
});

it('the examples in the help have only commands, flags and values that there are', async () => {
  const examples: string[] = [];
  const collect = (command: Awaited<ReturnType<typeof program>>): void => {
    let help = '';
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    examples.push(...[...help.matchAll(/^ {2}(\S.*\bcheckpointer .*|checkpointer .*)$/gm)].map(([, text = '']) => text));
    for (const child of command.commands) collect(child);
  };
  collect(await program());
  const commands = examples.flatMap(commandsOf).filter(([first]) => first === 'checkpointer');
  expect(commands.length).toBeGreaterThan(25);
  for (const [, ...args] of commands) await parse(args);
});

describe('names files of this repository that are there:', () => {
  const files = [...new Set(lines.flatMap(({ text }) => text.match(/(?:^|\s)(?:scripts|bench|test|manifests)\/[^\s]+/g) ?? []))];
  it.each(files.map((file) => file.trim()))('%s', (file) => {
    expect(existsSync(join(ROOT, file))).toBe(true);
  });
});

it('every link between the documents leads somewhere', () => {
  const anchors = (file: string) =>
    [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
      title
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    );
  const broken = documents.flatMap((file) =>
    [...readFileSync(join(ROOT, file), 'utf8').matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = '']) => {
      if (/^https?:/.test(target)) return [];
      const [path = '', anchor] = target.split('#');
      const at = path === '' ? join(ROOT, file) : join(ROOT, file, '..', path);
      const leads = existsSync(at) && (anchor === undefined || anchors(at).includes(anchor));
      return leads ? [] : [`${file}: ${target}`];
    }),
  );
  expect(broken).toEqual([]);
});

it('bash, by which the lines are run, is there', () => {
  expect(findProgram('bash')).toBeDefined();
});
