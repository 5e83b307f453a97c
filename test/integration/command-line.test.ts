import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const CLI = join(import.meta.dirname, '../../src/cli.ts');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'command-line-'));
  mkdirSync(join(dir, 'manifests'));
  writeFileSync(join(dir, 'not-a-kubeconfig'), 'kind: Config\n');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function checkpointer(args: readonly string[], env: Record<string, string> = {}) {
  const { PATH = '' } = process.env;
  return spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8', env: { PATH, ...env } });
}

/** Flags with which only what is under test is wrong. */
const run = (...args: string[]) => [
  'run',
  `--kubeconfig=${dir}/not-a-kubeconfig`,
  `--pod-manifest-path=${dir}/manifests`,
  `--checkpoint-dir=${dir}/store`,
  `--lock-file=${dir}/lock`,
  ...args,
];

describe('bad input', () => {
  it.each([
    ['an unknown flag', () => run('--node-name=n', '--bogus'), "unknown option '--bogus'"],
    ['an unknown command', () => ['bogus'], "unknown command 'bogus'"],
    ['a node name that is not set', () => run(), 'the node name is not set'],
    ['a kubeconfig that is not there', () => run('--node-name=n', `--kubeconfig=${dir}/none`), '/none: cannot be read (ENOENT)'],
    ['a kubeconfig that is none', () => run('--node-name=n'), 'not-a-kubeconfig'],
    [
      'a manifest directory that is not there',
      () => run('--node-name=n', `--pod-manifest-path=${dir}/none`),
      '/none cannot be used (ENOENT)',
    ],
    [
      'a manifest directory that is a file',
      () => run('--node-name=n', `--pod-manifest-path=${dir}/not-a-kubeconfig`),
      'is not a directory',
    ],
    [
      'a store whose parent is not there',
      () => run('--node-name=n', `--checkpoint-dir=${dir}/none/store`),
      '/none cannot be used (ENOENT)',
    ],
    ['a duration without a unit', () => run('--node-name=n', '--activate-after=3'), '"3" is not a duration'],
    ['a policy that there is not', () => run('--node-name=n', '--secret-env=maybe'), 'Allowed choices are refuse, inline'],
    [
      'a runtime endpoint that is no unix socket',
      () => run('--node-name=n', '--container-runtime-endpoint=tcp://127.0.0.1:1'),
      '--container-runtime-endpoint',
    ],
    [
      'one file for both locks',
      () => run('--node-name=n', `--kubelet-lock-file=${dir}/../${dir.split('/').at(-1)}/lock`),
      'expected the kubelet',
    ],
    ['an address of the service without a port', () => run('--node-name=n', '--kubernetes-service=10.96.0.1'), 'expected host:port'],
    ['inspect of a workload that there is not', () => ['inspect', 'bogus', `--checkpoint-dir=${dir}/none`], 'bogus: no such workload'],
  ])('%s gets one clear line and exit code 2, and changes nothing', (_what, args, expected) => {
    const { status, stdout, stderr } = checkpointer(args());
    expect(stderr).toContain(expected);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
    expect(stdout).toBe('');
    expect(status).toBe(2);
    expect(readdirSync(dir).sort()).toEqual(['manifests', 'not-a-kubeconfig']);
  });

  it('is found in the environment, too, and a flag goes before it', () => {
    const wrong = { CHECKPOINTER_ACTIVATE_AFTER: 'soon' };
    expect(checkpointer(run('--node-name=n'), wrong).stderr).toContain('"soon" is not a duration');
    expect(checkpointer(run('--activate-after=2s'), wrong).stderr).toContain('the node name is not set');
    expect(checkpointer(run('--activate-after=1s'), { NODE_NAME: 'n' }).stderr).toContain('not-a-kubeconfig');
  });
});

it('the name of the node is in lower case, as the kubelet has it, whatever the host is called', async () => {
  const place = mkdtempSync(join(tmpdir(), 'command-line-run-'));
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:1' } }],
    users: [{ name: 'u', user: { token: 't' } }],
  };
  writeFileSync(join(place, 'kubelet.conf'), JSON.stringify(config));
  const flags = [
    `--kubeconfig=${place}/kubelet.conf`,
    `--lock-file=${place}/lock`,
    `--checkpoint-dir=${place}/store`,
    '--metrics-address=0',
  ];
  const child = spawn(process.execPath, [CLI, ...run('--node-name=Master-1.Example.org', ...flags)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(child, 'close');
  const [first] = await once(createInterface({ input: child.stderr }), 'line');
  child.kill('SIGKILL');
  await ended;
  rmSync(place, { recursive: true, force: true });
  expect(JSON.parse(first)).toMatchObject({ msg: 'starting', node: 'master-1.example.org' });
});

describe('help', () => {
  it.each([[['--help']], [['run', '--help']], [['inspect', '--help']]])('%j goes to standard output, with exit code 0', (args) => {
    const { status, stdout, stderr } = checkpointer(args);
    expect(stdout).toContain('Usage: checkpointer');
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
    expect([stderr, status]).toEqual(['', 0]);
  });

  it('names the flags that bootkube had', () => {
    const { stdout } = checkpointer(['run', '--help']);
    for (const name of [
      '--kubeconfig',
      '--lock-file',
      '--container-runtime-endpoint',
      '--runtime-request-timeout',
      '--checkpoint-grace-period',
    ])
      expect(stdout).toContain(name);
  });
});
