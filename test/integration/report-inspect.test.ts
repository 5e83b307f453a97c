/** The verdict of inspect, asked of the real command as a process on a node's disk; and of processes that give no answer. */
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import type { Digest } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { createInspector, type Inspector, inspectArguments } from '../../src/report/ask-inspect.ts';
import { conditionOf, type NodeCondition } from '../../src/report/condition.ts';
import { ASK_EVERY, NOT_BEFORE } from '../../src/report/outlook.ts';
import type { Status } from '../../src/status.ts';
import { type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { until } from '../support/until.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));
const AT = '2026-01-01T00:00:00.000Z';

let now: number;
let answers: number;
let lines: { readonly msg: string; readonly error?: string }[];
let ending: AbortController;

beforeEach(() => {
  now = 0;
  answers = 0;
  lines = [];
  ending = new AbortController();
  onTestFinished(() => ending.abort());
});

function inspector(command: readonly string[], timeoutMs?: number): Inspector {
  return createInspector({
    command,
    ...(timeoutMs !== undefined && { timeoutMs }),
    onAnswer: () => {
      answers += 1;
    },
    log: pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) }),
    signal: ending.signal,
    clock: () => now,
  });
}

async function temporary(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'inspect-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** A program of one line, in the place of the command. */
const script = (code: string): string[] => [process.execPath, '-e', code];

function status(...names: string[]): Status {
  const generation = { generation: 1, digest: 'd' as Digest };
  const workloads = Object.fromEntries(
    names.map((name) => {
      const { namespace, kind } = workloadNamed(name);
      const proven = { ...generation, at: AT };
      return [
        workloadKey(workloadNamed(name)),
        { namespace, kind, name, reason: 'Protected' as const, message: '', since: AT, newest: generation, proven },
      ];
    }),
  );
  return { api: 'ok', runtime: 'ok', disk: 'ok', bootId: 'b', workloads };
}

/** Turns of the loop of a leader that is a minute old, and older each time. */
async function heard(of: Inspector, seen: Status, age = NOT_BEFORE): Promise<NodeCondition> {
  of.outlook(seen);
  const before = answers;
  now += age;
  of.outlook(seen);
  await until(() => answers > before, 20_000);
  return conditionOf(seen, of.outlook(seen));
}

describe('of the real command', () => {
  let host: Host;
  let root: string;
  let command: string[];

  beforeEach(async () => {
    host = await testHost();
    onTestFinished(() => host[Symbol.asyncDispose]());
    root = join(host.dir, 'root');
    await mkdir(join(root, 'var/lib/kubelet'), { recursive: true });
    await mkdir(join(root, 'etc/systemd/system'), { recursive: true });
    await writeFile(join(root, 'var/lib/kubelet/config.yaml'), `staticPodPath: ${host.manifests}\n`);
    const places = inspectArguments({
      checkpointDir: host.store,
      podManifestPath: host.manifests,
      lockFile: host.lockFile,
      kubeletLockFile: join(host.dir, 'kubelet.lock'),
      kubeconfig: join(host.dir, 'kubelet.conf'),
      containerRuntimeEndpoint: `unix://${join(host.dir, 'nothing.sock')}`,
      runtimeRequestTimeout: 10_000,
      bootIdFile: host.bootIdFile,
      self: 'kube-system/DaemonSet/pod-checkpointer',
    });
    command = [process.execPath, CLI, ...places, `--host-root=${root}`];
    await host.save('kube-scheduler');
  });

  async function armBootUnit(): Promise<void> {
    const units = join(root, 'etc/systemd/system');
    await mkdir(join(units, 'kubelet.service.wants'));
    await mkdir(join(root, 'bin'));
    await writeFile(join(root, 'bin/checkpointer'), '');
    await writeFile(join(units, 'pod-checkpointer-boot.service'), '[Service]\nExecStart=/bin/checkpointer recover --boot\n');
    await symlink('../pod-checkpointer-boot.service', join(units, 'kubelet.service.wants/pod-checkpointer-boot.service'));
  }

  test('a node on which nobody would activate the copies is not checkpointed, and nothing of it is written to', async () => {
    const files = await readdir(host.dir, { recursive: true });
    expect(await heard(inspector(command), status('kube-scheduler'))).toMatchObject({
      status: 'False',
      reason: 'NobodyActivates',
      message: expect.stringContaining('no unit is armed on the host'),
    });
    expect(await readdir(host.dir, { recursive: true })).toEqual(files);
    expect(lines).toEqual([]);
  }, 30_000);

  test("copies that lie in another directory than the kubelet's, too; repaired, it recovers with warnings", async () => {
    await writeFile(join(root, 'var/lib/kubelet/config.yaml'), 'staticPodPath: /etc/other\n');
    const one = inspector(command);
    const seen = status('kube-scheduler');
    const { status: said, reason } = await heard(one, seen);
    expect([said, reason]).toEqual(['False', 'NobodyActivates,NotTheKubeletsDirectory']);

    await writeFile(join(root, 'var/lib/kubelet/config.yaml'), `staticPodPath: ${host.manifests}\n`);
    await armBootUnit();
    expect(await heard(one, seen, ASK_EVERY)).toMatchObject({
      status: 'True',
      reason: 'RecoversWithWarnings',
      message: expect.stringContaining('(RuntimeUnknown)'),
    });
  }, 40_000);
});

describe('an answer that cannot be used', () => {
  const fine = JSON.stringify({
    version: 2,
    node: { findings: [{ code: 'NobodyActivates', level: 'fatal', message: 'nobody' }] },
    workloads: [],
  });

  test.each<[string, string, RegExp]>([
    ['is no document', 'console.log("hello")', /not a document/],
    [
      'comes with a failure',
      `console.log(${JSON.stringify(fine)}); console.error("error: no store"); process.exitCode = 1`,
      /exit code 1: error: no store/,
    ],
    ['does not come in time', 'setInterval(() => undefined, 1000)', /SIGKILL/],
    ['has no end', 'const more = () => process.stdout.write("x".repeat(1048576), more); more()', /more than 4194304 bytes/],
  ])(
    'because it %s changes nothing, and is said once',
    async (_, code, error) => {
      const dir = await temporary();
      // The second and the third of them give no usable answer.
      const count = `const fs = require('fs'); const d = ${JSON.stringify(dir)}; const n = fs.readdirSync(d).length; fs.writeFileSync(d + '/' + n, '');`;
      const usable = `console.log(${JSON.stringify(fine)}); process.exitCode = 3`;
      const one = inspector(script(`${count} if (n === 1 || n === 2) { ${code} } else { ${usable} }`), 5_000);
      const seen = status('kube-scheduler');
      const known = await heard(one, seen);
      expect(known).toMatchObject({ status: 'False', reason: 'NobodyActivates' });
      now += ASK_EVERY;
      one.outlook(seen);
      await until(() => lines.length > 0, 20_000);
      expect(conditionOf(seen, one.outlook(seen))).toEqual(known);
      expect(answers).toBe(1);
      await until(() => {
        now += ASK_EVERY;
        one.outlook(seen);
        return answers === 2;
      }, 20_000);
      expect((await readdir(dir)).length).toBeGreaterThanOrEqual(4);
      expect(lines).toEqual([expect.objectContaining({ error: expect.stringMatching(error) })]);
    },
    40_000,
  );

  test('is not known: the condition is the one that the daemon knows', async () => {
    const one = inspector([join('/nonexistent', 'checkpointer')]);
    const seen = status('kube-scheduler');
    one.outlook(seen);
    now += NOT_BEFORE;
    one.outlook(seen);
    await until(() => lines.length > 0);
    expect(lines[0]?.error).toContain('ENOENT');
    expect(conditionOf(seen, one.outlook(seen))).toMatchObject({ status: 'True', reason: 'AllProven' });
  });
});

test('one process at a time; not in the first minute; and none once the daemon ends', async () => {
  const dir = await temporary();
  const pids = async () => (await readdir(dir)).map(Number);
  const one = inspector(
    script(`require('fs').writeFileSync(${JSON.stringify(dir)} + '/' + process.pid, ''); setInterval(() => undefined, 1000)`),
  );
  const seen = status('kube-scheduler');
  for (; now < NOT_BEFORE; now += 20_000) one.outlook(seen);
  expect(await pids()).toEqual([]);
  for (let i = 0; i < 5; i++, now += ASK_EVERY) one.outlook(seen);
  const pid = await until(async () => (await pids())[0]);
  one.outlook(seen);
  expect(await pids()).toEqual([pid]);
  ending.abort();
  await until(() => {
    try {
      return !process.kill(pid, 0);
    } catch {
      return true;
    }
  });
  now += ASK_EVERY;
  one.outlook(seen);
  expect(lines).toEqual([]);
});
