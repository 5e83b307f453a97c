/** forgive, history, diff, prune: the real command line on a real store, with a daemon at work where the command changes it. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Digest } from '../../src/checkpoint/model.ts';
import { markFailing } from '../../src/checkpoint/store/failing.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { quarantineGeneration, retireWorkload } from '../../src/checkpoint/store/retention.ts';
import { pointAt, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { withTransaction } from '../../src/lock/transaction.ts';
import { appendHistory } from '../../src/report/history.ts';
import type { Transition } from '../../src/report/transitions.ts';
import { Container, PodSandbox } from '../../src/sources/cri/generated/runtime.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { startRuntime } from '../support/inspect/runtime.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { ABOUT, APISERVER, SCHEDULER, type Shape, sampleCopy } from '../support/store/sample.ts';
import { until } from '../support/until.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
const DAEMON = join(import.meta.dirname, '../support/store/daemon.ts');
const KEY = workloadKey(SCHEDULER);

let host: Host;
let dir: string;

beforeEach(async () => {
  host = await testHost();
  onTestFinished(() => host[Symbol.asyncDispose]());
  dir = `--checkpoint-dir=${host.store}`;
});

const stored = async () => (await readStore(host.store)).workloads.get(KEY)?.stored;
const save = (content: string, workload = SCHEDULER, shape: Shape = {}) =>
  withTransaction(host.store, () => saveGeneration(host.store, workload, sampleCopy(content, shape), ABOUT));

async function prove(generation: number, workload = SCHEDULER): Promise<void> {
  const { indexSha256 } = await loadGeneration(host.store, workload, generation);
  await withTransaction(host.store, () => pointAt(host.store, workload, 'proven', generation, indexSha256));
}

/** The daemon's loop, which saves whatever content it is told. */
function daemonAtWork() {
  const child = spawn(process.execPath, [DAEMON, host.store, host.manifests, host.lockFile], { stdio: ['pipe', 'pipe', 'ignore'] });
  let observed = 0;
  child.stdout.on('data', (bytes: Buffer) => {
    observed += bytes.toString().split('\n').length - 1;
  });
  onTestFinished(async () => {
    child.kill();
    if (child.exitCode === null) await once(child, 'close');
  });
  return {
    content: (text: string) => child.stdin.write(`${text}\n`),
    observes: async () => {
      const before = observed;
      await until(() => observed > before + 1, 10_000);
    },
  };
}

async function runtimeRunning(...generations: number[]): Promise<string> {
  const socket = join(host.dir, 'cri.sock');
  const runtime = await startRuntime(socket, {
    images: [],
    sandboxes: generations.map((generation) =>
      PodSandbox.fromPartial({
        id: `s${generation}`,
        metadata: { name: `copy-${generation}`, namespace: 'kube-system', uid: `u${generation}`, attempt: 0 },
        annotations: {
          'kubernetes.io/config.source': 'file',
          'pod-checkpointer.io/workload': KEY,
          'pod-checkpointer.io/generation': `${generation}`,
        },
      }),
    ),
    containers: generations.map((generation) =>
      Container.fromPartial({ id: `c${generation}`, podSandboxId: `s${generation}`, metadata: { name: 'main', attempt: 0 }, state: 1 }),
    ),
  });
  onTestFinished(() => runtime.stop());
  return `--container-runtime-endpoint=unix://${socket}`;
}

describe('a workload that is not stored', () => {
  it.each([['forgive'], ['history'], ['diff'], ['export', '-f', '-']])('is bad input for %s', async (...args) => {
    await save('one');
    const { code, out, err } = await checkpointer(...args, 'bogus', dir);
    expect([code, out]).toEqual([2, '']);
    expect(err).toBe(`error: bogus: no such workload: there is ${KEY}\n`);
  });
});

describe('forgive', () => {
  it('clears the marks while the daemon works, says which, and has nothing to do the second time', async () => {
    const daemon = daemonAtWork();
    await daemon.observes();
    await withTransaction(host.store, async () => {
      await markFailing(host.store, SCHEDULER, 'aaa1' as Digest, 'it crashed twice', Date.parse('2026-11-21T12:00:00Z'));
      await markFailing(host.store, SCHEDULER, 'aab2' as Digest, 'no trial', Date.parse('2026-11-21T13:00:00Z'));
    });
    const ambiguous = await checkpointer('forgive', 'kube-scheduler', '--digest=aa', dir);
    expect([ambiguous.code, ambiguous.err]).toEqual([2, 'error: --digest aa: more than one begins so: aaa1, aab2\n']);
    const one = await checkpointer('forgive', 'kube-scheduler', '--digest=aaa', dir);
    expect(one).toEqual({ code: 0, out: `${KEY}: cleared aaa1, marked 2026-11-21T12:00:00.000Z: it crashed twice\n`, err: '' });
    expect([...((await stored())?.failing.keys() ?? [])]).toEqual(['aab2']);
    daemon.content('two');
    expect((await checkpointer('forgive', 'DaemonSet/kube-scheduler', dir)).out).toContain('cleared aab2');
    await daemon.observes();
    expect((await stored())?.failing.size).toBe(0);
    const again = await checkpointer('forgive', 'kube-scheduler', dir);
    expect([again.code, again.out]).toEqual([0, `${KEY}: no spec is marked failing\n`]);
  });
});

describe('history', () => {
  const at = (minute: number, more: Partial<Transition> = {}): Transition => ({
    at: `2026-11-21T12:0${minute}:00.000Z`,
    workload: KEY,
    namespace: 'kube-system',
    from: 'Saved',
    to: 'Protected',
    state: 'proven',
    milestones: ['Proven'],
    message: `minute ${minute}`,
    generation: minute,
    ...more,
  });

  it('shows the latest, of one workload, from a time on, as a table or as a document', async () => {
    await appendHistory(host.store, [at(1), at(2, { workload: workloadKey(APISERVER) }), at(3), at(4, { message: 'two\nlines' })]);
    const all = await checkpointer('history', dir);
    expect(all.code).toBe(0);
    expect(all.out.split('\n')).toHaveLength(6);
    expect(all.out).toMatch(/^2026-11-21T12:01:00Z +kube-system\/DaemonSet\/kube-scheduler +g1 +Saved -> Protected +Proven +minute 1$/m);
    expect(all.out).toMatch(/two lines$/m);
    // Gone from the store, but not from what happened.
    expect((await checkpointer('history', 'kube-apiserver', dir)).out).toContain('minute 2');
    const { out } = await checkpointer('history', 'kube-scheduler', '-n', '1', '--since=2026-11-21T12:02:00Z', '-o', 'json', dir);
    expect(JSON.parse(out)).toMatchObject({ version: 1, entries: [{ generation: 4, message: 'two\nlines' }] });
    expect((await checkpointer('history', '--since=1s', dir)).out).toBe('Nothing happened.\n');
    const wrong = await checkpointer('history', '--since=yesterday', dir);
    expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('neither a duration, such as 2h, nor a time')]);
  });
});

describe('what is printed', () => {
  const longHistory = async () => {
    const entry = {
      at: '2026-11-21T12:00:00Z',
      workload: KEY,
      namespace: '',
      to: 'Saved',
      state: 'saved',
      milestones: [],
      message: 'm'.repeat(1_000),
    } as const;
    await appendHistory(
      host.store,
      Array.from({ length: 400 }, () => entry),
    );
  };
  const piped = (into: string) =>
    spawnSync('bash', ['-c', `"$0" "$1" history -n 0 -o json "$2" | ${into}; exit \${PIPESTATUS[0]}`, process.execPath, CLI, dir], {
      encoding: 'utf8',
    });

  it('reaches a slow reader, however much it is', async () => {
    await longHistory();
    const { status, stdout } = piped('(sleep 0.2; cat)');
    expect([status, JSON.parse(stdout).entries.length]).toEqual([0, 400]);
  });

  it('may be read in part, without a word about that', async () => {
    await longHistory();
    const { status, stdout, stderr } = piped('head -c 1');
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '{', stderr: '' });
  });
});

describe('diff', () => {
  it('names what differs field by field, and shows neither what files hold nor the values of variables', async () => {
    await save('planted-one', SCHEDULER, { files: 2 });
    await prove(1);
    const changed = sampleCopy('planted-two', { files: 3 });
    const [main] = changed.pod.spec?.containers ?? [];
    if (main === undefined) throw new Error('no container');
    main.image = 'registry.example/scheduler:2';
    main.env = [{ name: 'PASSWORD', value: 'planted-value' }];
    delete changed.pod.metadata?.annotations?.['content'];
    await withTransaction(host.store, () => saveGeneration(host.store, SCHEDULER, changed, ABOUT));

    const { code, out } = await checkpointer('diff', 'kube-scheduler', dir);
    expect(code).toBe(0);
    expect(out).toContain('--- generation 1, proven\t');
    expect(out).toContain('+++ generation 2, newest\t');
    expect(out).toContain('@@ spec.containers[main].image @@\n-"registry.example/scheduler:1"\n+"registry.example/scheduler:2"\n');
    expect(out).toContain('@@ spec.containers[main].env @@\n+(not shown)\n');
    expect(out).toMatch(/@@ files\/secrets\/key-0 @@\n-0400 0:0 300 bytes sha256:[0-9a-f]{64}\n\+0400 0:0 300 bytes sha256:[0-9a-f]{64}\n/);
    expect(out).toMatch(/@@ files\/secrets\/key-2 @@\n\+0400 0:0 300 bytes/);
    const json = await checkpointer('diff', 'kube-scheduler', '2', 'g1', '-o', 'json', dir);
    const document = JSON.parse(json.out);
    expect(document).toMatchObject({
      version: 1,
      workload: KEY,
      from: { generation: 2, roles: ['newest'] },
      to: { generation: 1, roles: ['proven'] },
    });
    expect(document.differences).toContainEqual({ where: 'spec.containers[main].env', change: 'removed' });
    expect(out + JSON.stringify(document.differences)).not.toMatch(/planted-(value|two key|one key)/);
    expect((await checkpointer('diff', 'kube-scheduler', '1', '1', dir)).out).toMatch(/No difference\.\n$/);
  });

  it('of a generation that there is not is bad input, of a damaged one it fails', async () => {
    await save('one');
    const only = await checkpointer('diff', 'kube-scheduler', dir);
    expect([only.code, only.err]).toEqual([2, `error: ${KEY} has only generation 1: there is nothing to compare it with\n`]);
    const none = await checkpointer('diff', 'kube-scheduler', '1', '7', dir);
    expect([none.code, none.err]).toEqual([2, `error: 7: ${KEY} has no such generation; there is 1\n`]);
    await save('two');
    writeFileSync(join(host.store, 'workloads/kube-system.ds.kube-scheduler/generations/1/files/secrets/key-0'), 'other');
    const damaged = await checkpointer('diff', 'kube-scheduler', dir);
    expect([damaged.code, damaged.err]).toEqual([1, expect.stringContaining(`generation 1 of ${KEY} is damaged: files/secrets/key-0`)]);
  });
});

describe('prune', () => {
  const numbers = async () => [...((await stored())?.generations.keys() ?? [])].sort((a, b) => a - b);
  const generations = async (count: number) => {
    for (let number = 1; number <= count; number++) await save(`content ${number}`);
  };

  it('keeps the proven one, the one before it, the newest, and what is active or runs', async () => {
    await generations(8);
    await prove(2);
    await prove(4);
    // Nobody's but our own file names count: the kubelet has generation 5.
    writeFileSync(
      join(host.manifests, 'pod-checkpointer.kube-system.kube-scheduler-ds-g5-a1.json'),
      await readFile(join(host.store, 'workloads/kube-system.ds.kube-scheduler/generations/5/pod.json')),
    );
    const runtime = await runtimeRunning(6);
    const args = [dir, `--pod-manifest-path=${host.manifests}`, runtime];
    const shown = await checkpointer('prune', '--dry-run', ...args);
    expect(shown).toMatchObject({
      code: 0,
      out: [1, 3, 7].map((number) => `would delete ${KEY}: generation ${number}\n`).join(''),
    });
    expect(await numbers()).toHaveLength(8);
    const nobody = await checkpointer('prune', ...args);
    expect([nobody.code, nobody.err]).toEqual([2, 'error: there is no terminal to ask at: give --yes, or --dry-run to look only\n']);
    const done = await checkpointer('prune', '--yes', ...args);
    expect([done.code, done.out]).toEqual([0, expect.stringContaining('3 of 3 deleted\n')]);
    expect(await numbers()).toEqual([2, 4, 5, 6, 8]);
    expect((await checkpointer('prune', '--yes', ...args)).out).toBe('Nothing to delete.\n');
    expect((await checkpointer('verify', dir)).code).toBe(0);
  });

  it.skipIf(skipLoudly('prune at a terminal', findProgram('script') === undefined ? 'install bsdutils (script)' : undefined))(
    'asks at a terminal, and takes nothing but a yes for one',
    async () => {
      await generations(3);
      await prove(3);
      const flags = [dir, `--pod-manifest-path=${host.manifests}`, await runtimeRunning()];
      const at = async (answer: string) => {
        const child = spawn('script', ['-qec', ['node', CLI, 'prune', ...flags].join(' '), '/dev/null'], {
          stdio: ['pipe', 'pipe', 'ignore'],
          env: { PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}` },
        });
        child.stdin.write(`${answer}\n`);
        const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
        return { code, said };
      };
      expect(await at('no')).toEqual({ code: 1, said: expect.stringMatching(/Delete this\? \[y\/N\][\s\S]*nothing was deleted/) });
      expect(await numbers()).toEqual([1, 2, 3]);
      expect(await at('y')).toEqual({ code: 0, said: expect.stringContaining('2 of 2 deleted') });
      expect(await numbers()).toEqual([3]);
    },
  );

  it('keeps eight more while the runtime does not answer', async () => {
    await generations(12);
    await prove(12);
    const args = [dir, `--pod-manifest-path=${host.manifests}`, `--container-runtime-endpoint=unix://${host.dir}/none`];
    expect((await checkpointer('prune', '--yes', ...args)).code).toBe(0);
    expect(await numbers()).toEqual([4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });

  it('deletes retired workloads and the quarantine only when asked, and not while they are what would bring back the API server', async () => {
    await generations(2);
    await save('api', APISERVER, { servesApi: true });
    await save('proxy', workloadNamed('kube-proxy'));
    const now = Date.now();
    await retireWorkload(host.store, APISERVER, now - 7_200_000);
    await retireWorkload(host.store, workloadNamed('kube-proxy'), now - 7_200_000);
    await quarantineGeneration(host.store, SCHEDULER, 1, 'a test', now);
    const args = [dir, `--pod-manifest-path=${host.manifests}`, await runtimeRunning()];
    expect((await checkpointer('prune', '--yes', ...args)).out).toBe('Nothing to delete.\n');
    expect((await checkpointer('prune', '--yes', '--retired', ...args)).out, 'younger than a day').toBe('Nothing to delete.\n');
    const kept = await checkpointer('prune', '--yes', '--retired', '--retain=1h', '--quarantine', ...args);
    expect([kept.code, kept.out]).toEqual([0, expect.stringContaining('1 of 1 deleted')]);
    expect(await readdir(join(host.store, 'quarantine'))).toEqual([]);
    expect(await readdir(join(host.store, 'retired')), 'they would come back together').toHaveLength(2);
    await save('another api', APISERVER, { servesApi: true });
    const { code, out } = await checkpointer('prune', '--yes', '--retired', '--retain=1h', ...args);
    expect([code, out]).toEqual([0, expect.stringContaining('2 of 2 deleted')]);
    expect(await readdir(join(host.store, 'retired'))).toEqual([]);
  });

  it('leaves a store whole that a daemon changes at the same time', { timeout: 60_000 }, async () => {
    await generations(6);
    await prove(6);
    const daemon = daemonAtWork();
    await daemon.observes();
    const args = [dir, `--pod-manifest-path=${host.manifests}`, await runtimeRunning()];
    for (const round of [1, 2, 3]) {
      daemon.content(`round ${round}`);
      expect((await checkpointer('prune', '--yes', ...args)).code).toBe(0);
    }
    await daemon.observes();
    const { code, out } = await checkpointer('verify', dir);
    expect([code, out]).toEqual([0, expect.stringContaining('Everything is whole.')]);
    const left = await stored();
    expect(left?.generations.has(left.proven ?? 0)).toBe(true);
    expect(left?.proven).toBeGreaterThanOrEqual(6);
  });
});

it('no command on the store makes one where there is none', async () => {
  await rm(host.store, { recursive: true });
  mkdirSync(join(host.dir, 'empty'));
  for (const args of [['forgive', 'x'], ['history'], ['diff', 'x'], ['prune', '--yes'], ['export', 'x', '-f', '-']]) {
    const { code, err } = await checkpointer(...args, dir);
    expect([code, err]).toEqual([2, `error: ${dir.replace('=', ' ')}: there is no such directory; give the one that the daemon uses\n`]);
  }
  expect(await readdir(host.dir)).not.toContain('store');
});
