/** The command as a process, on a node's disk with a store that the daemon's own code wrote, a runtime on a socket, and an API server where one is asked. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Inspection } from '../../src/inspect/report.ts';
import { acquireLeaderLock } from '../../src/lock/leader.ts';
import { appendHistory } from '../../src/report/history.ts';
import { Container, PodSandbox } from '../../src/sources/cri/generated/runtime.ts';
import { nodeKubeconfig, startServer } from '../support/api/setup.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { startRuntime } from '../support/inspect/runtime.ts';
import { container, markedPod } from '../support/marked-pods.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
const image = (name: string) => `registry.example.org/${name}:1`;

let host: Host;
let root: string;
let socket: string;
let flags: string[];

beforeEach(async () => {
  host = await testHost();
  onTestFinished(() => host[Symbol.asyncDispose]());
  root = join(host.dir, 'root');
  socket = join(host.dir, 'cri.sock');
  flags = [...host.flags(), `--host-root=${root}`, `--container-runtime-endpoint=unix://${socket}`, '--runtime-request-timeout=20s'];
  const units = join(root, 'etc/systemd/system');
  mkdirSync(join(units, 'kubelet.service.wants'), { recursive: true });
  writeFileSync(join(units, 'pod-checkpointer-boot.service'), '[Service]\nExecStart=/bin/checkpointer recover --boot\n');
  symlinkSync('../pod-checkpointer-boot.service', join(units, 'kubelet.service.wants/pod-checkpointer-boot.service'));
  mkdirSync(join(root, 'bin'));
  writeFileSync(join(root, 'bin/checkpointer'), '');
  mkdirSync(join(root, 'var/lib/kubelet'), { recursive: true });
  writeFileSync(join(root, 'var/lib/kubelet/config.yaml'), `kind: KubeletConfiguration\nstaticPodPath: ${host.manifests}\n`);
});

async function runtimeWith(...images: string[]): Promise<void> {
  const runtime = await startRuntime(socket, {
    images,
    sandboxes: [
      PodSandbox.fromPartial({
        id: 's1',
        metadata: { name: 'kube-scheduler-x7k2f', namespace: 'kube-system', uid: 'pod-kube-scheduler', attempt: 0 },
        annotations: { 'kubernetes.io/config.source': 'api', 'checkpointer.alpha.coreos.com/checkpoint': 'true' },
      }),
    ],
    containers: [
      Container.fromPartial({
        id: 'c1',
        podSandboxId: 's1',
        metadata: { name: 'kube-scheduler', attempt: 3 },
        state: 1,
        createdAt: BigInt(Date.parse('2026-11-21T10:00:00Z')) * 1_000_000n,
      }),
    ],
  });
  onTestFinished(() => runtime.stop());
}

async function leading(): Promise<void> {
  const lock = await acquireLeaderLock({ path: host.lockFile, signal: new AbortController().signal, onWaiting: () => undefined });
  onTestFinished(() => lock.release());
}

async function report(...args: string[]): Promise<{ code: number | null; report: Inspection & { detail?: Record<string, unknown> } }> {
  const { code, out, err } = await checkpointer('inspect', '-o', 'json', ...flags, ...args);
  if (out === '') throw new Error(err);
  return { code, report: JSON.parse(out) };
}

describe('inspect', () => {
  it('ends with 0 where everything that is stored would come back', async () => {
    await host.save('kube-scheduler');
    await leading();
    await runtimeWith(image('kube-scheduler'));
    const { code, report: found } = await report();
    expect(found).toMatchObject({
      version: 2,
      verdict: 'recovers',
      node: {
        leader: { state: 'leads' },
        runtime: { state: 'ok', name: 'scripted 1' },
        api: { state: 'unreachable' },
        store: { state: 'ok', generations: 1, damaged: 0 },
        bootUnit: { state: 'armed', by: 'kubelet.service' },
        hostUnit: { state: 'not armed', detail: 'pod-checkpointer.service is not installed' },
        staticPodPath: { ours: host.manifests, kubelets: host.manifests },
        findings: [],
      },
      workloads: [
        {
          workload: 'kube-system/DaemonSet/kube-scheduler',
          reason: 'Unknown',
          parent: { state: 'running', name: 'kube-scheduler-x7k2f', runningSince: '2026-11-21T10:00:00.000Z', restarts: 3 },
          powerCut: { verdict: 'recovers', generation: 1, why: 'generation 1 is activated' },
        },
      ],
    });
    expect(code).toBe(0);
  });

  it('says of an active copy what recover --boot made of it, and the same in YAML as in JSON', async () => {
    await host.save('kube-scheduler');
    await checkpointer('recover', '--boot', '--probe-timeout=0', ...host.flags());
    await runtimeWith(image('kube-scheduler'));
    const { report: found } = await report();
    expect(found.workloads[0]?.active).toMatchObject([{ generation: 1, activation: 1, state: 'not running' }]);
    expect(found.workloads[0]?.powerCut.why).toBe('the active copy of generation 1 starts again');
    const yaml = load((await checkpointer('inspect', '-o', 'yaml', ...flags)).out) as Inspection;
    expect(yaml).toEqual({ ...found, at: yaml.at, node: { ...found.node, store: yaml.node.store } });
  });

  it('ends with 3, says why and names the generation before, where the proven one is damaged', async () => {
    await host.save('kube-scheduler');
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
    await runtimeWith(image('kube-scheduler'), 'registry.example.org/kube-scheduler:2');
    const directory = join(host.store, 'workloads/kube-system.ds.kube-scheduler/generations');
    writeFileSync(join(directory, '2/files/keys/tls.key'), 'key of kube-schedulex');
    const before = readdirSync(directory);
    const { code, report: found } = await report();
    expect(found.workloads[0]).toMatchObject({
      damaged: [{ generation: 2, detail: 'files/keys/tls.key has another SHA-256 than when it was written' }],
      powerCut: { verdict: 'recovers with warnings', generation: 1 },
      findings: [{ code: 'Damaged' }],
    });
    expect(code).toBe(3);
    expect(readdirSync(directory)).toEqual(before);
    await checkpointer('recover', '--boot', '--probe-timeout=0', ...host.flags());
    expect((await host.active()).map((name) => /-g[0-9]+-/.exec(name)?.[0])).toEqual(['-g1-']);
  });

  it('works where there is nothing at all', async () => {
    const nothing = join(host.dir, 'none');
    const places = [
      `--checkpoint-dir=${nothing}`,
      `--pod-manifest-path=${nothing}`,
      `--lock-file=${nothing}/l`,
      `--boot-id-file=${nothing}`,
    ];
    const { code, out, err } = await checkpointer(
      'inspect',
      ...places,
      `--kubeconfig=${nothing}`,
      `--container-runtime-endpoint=unix://${nothing}`,
      `--host-root=${nothing}`,
    );
    expect(out).toMatch(/^Power cut now +does not recover$/m);
    expect(out).toContain(`there is no store at ${nothing}`);
    expect([code, err]).toEqual([3, '']);
  });

  it('says what it sees of a store without the manifest directory, and of a masked unit', async () => {
    await host.save('kube-scheduler');
    const masked = join(root, 'etc/systemd/system/pod-checkpointer.service');
    symlinkSync('/dev/null', masked);
    const { report: found } = await report(`--pod-manifest-path=${host.dir}/gone`);
    expect(found.node.findings.map(({ code }) => code)).toContain('NoManifestDirectory');
    expect(found.node.findings.map(({ code }) => code)).toContain('NotTheKubeletsDirectory');
    expect(found.node.hostUnit).toEqual({ state: 'not armed', detail: 'pod-checkpointer.service is masked' });
    expect(found.workloads[0]?.powerCut.verdict).toBe('does not recover');
  });

  it("looks at the kubelet's lock where the kubelet's command line says that it is", async () => {
    mkdirSync(join(root, 'proc/812'), { recursive: true });
    mkdirSync(join(root, 'run/lock'), { recursive: true });
    writeFileSync(
      join(root, 'proc/812/cmdline'),
      '/usr/bin/kubelet\0--lock-file=/run/lock/kubelet.lock\0--pod-manifest-path=/etc/elsewhere\0',
    );
    const { report: found } = await report();
    expect(JSON.stringify(found.node.kubeletLock)).toContain(join(root, 'run/lock/kubelet.lock'));
    expect(found.node.staticPodPath).toMatchObject({ kubelets: '/etc/elsewhere', from: "the kubelet's --pod-manifest-path" });
  });

  it('warns of an image that the runtime does not have', async () => {
    await host.save('kube-scheduler');
    await runtimeWith();
    const { report: found } = await report();
    expect(found.workloads[0]?.findings.map(({ code }) => code)).toEqual(['ImageMissing']);
  });

  it('shows nothing of what lies in the store but names, modes and sizes', async () => {
    await host.save('kube-scheduler');
    for (const args of [['-o', 'wide'], ['-o', 'json'], ['kube-scheduler'], ['kube-scheduler', '-o', 'yaml']]) {
      const { out } = await checkpointer('inspect', ...args, ...flags);
      expect(out).not.toContain('key of kube-scheduler');
      expect(out).not.toContain(Buffer.from('key of kube-scheduler').toString('base64'));
    }
  });
});

it('what others wrote stays on its line and does nothing to the terminal', async () => {
  await host.save('kube-scheduler', 'registry.example.org/kube\x1b[2Jscheduler\nowned:1');
  const odd = 'first\nsecond\x1b]0;owned\x07\x9b2J';
  const key = 'kube-system/DaemonSet/kube-scheduler';
  const status = { namespace: 'kube-system', kind: 'DaemonSet', name: 'kube-scheduler', reason: 'Refused', message: odd, since: odd };
  writeFileSync(join(host.store, 'status.json'), JSON.stringify({ api: 'ok', workloads: { [key]: status } }));
  await appendHistory(host.store, [
    { at: odd, workload: key, namespace: 'kube-system', to: 'Refused', state: 'saved', milestones: [], message: odd },
  ]);
  await runtimeWith();
  for (const args of [['inspect'], ['inspect', '-o', 'wide'], ['inspect', 'kube-scheduler']]) {
    const { out } = await checkpointer(...args, ...flags);
    expect(out).toContain('first second ]0;owned 2J');
    expect(out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  }
  const { out } = await checkpointer('history', `--checkpoint-dir=${host.store}`);
  expect(out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  const doctor = await checkpointer('doctor', ...flags, `--container-runtime-endpoint=unix://${host.dir}/\x1b[2J`);
  expect(doctor.out.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
});

describe('inspect of one workload', () => {
  it('shows its past, its generations, their files and how they differ', async () => {
    await host.save('kube-scheduler');
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
    const workload = 'kube-system/DaemonSet/kube-scheduler';
    await appendHistory(host.store, [
      {
        at: '2026-11-21T10:00:00Z',
        workload,
        namespace: 'kube-system',
        from: 'Saved',
        to: 'Protected',
        state: 'proven',
        milestones: ['Proven'],
        message: 'generation 2 is proven',
      },
      { at: '2026-11-21T10:00:01Z', workload: 'other', namespace: 'x', state: 'saved', milestones: [], message: 'of another' },
    ]);
    const { out } = await checkpointer('inspect', 'DaemonSet/kube-scheduler', ...flags);
    expect(out).toContain('0644 0:0             21 files/keys/tls.key');
    expect(out).toContain(
      'changed spec.containers[kube-scheduler].image: "registry.example.org/kube-scheduler:1" → "registry.example.org/kube-scheduler:2"',
    );
    expect(out).toContain('Saved → Protected [Proven]   generation 2 is proven');
    expect(out).not.toContain('of another');
    expect(out).toContain('not compared: the API server is unreachable');
  });

  it('compares the newest generation with the parent that the API server has, and says by which rules a copy differs', async () => {
    const server = await startServer();
    writeFileSync(join(host.dir, 'kubelet.conf'), await nodeKubeconfig(server.url));
    await host.save('kube-scheduler');
    const parent = (name: string) =>
      markedPod(
        {
          hostNetwork: true,
          containers: [container({ name: 'kube-scheduler', image: name, volumeMounts: [{ name: 'keys', mountPath: '/keys' }] })],
          volumes: [{ name: 'keys', secret: { secretName: 'keys' } }],
        },
        {
          name: 'kube-scheduler-x7k2f',
          uid: 'pod-kube-scheduler',
          ownerReferences: [
            { apiVersion: 'apps/v1', kind: 'DaemonSet', name: workloadNamed('kube-scheduler').name, uid: 'd', controller: true },
          ],
        },
      ) as unknown as Parameters<typeof server.put>[0];
    const encoded = (text: string) => Buffer.from(text).toString('base64');
    const data = { 'tls.key': encoded('another key'), 'tls.crt': encoded('certificate of kube-scheduler') };
    server.put({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'keys', namespace: 'kube-system', uid: 'u' }, data });
    server.hook = ({ path }, response) => {
      if (path !== '/api/v1/namespaces/default/services/kubernetes') return false;
      response.end(JSON.stringify({ kind: 'Service', spec: { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] } }));
      return true;
    };
    server.put(parent('registry.example.org/kube-scheduler:2'));
    const { report: found } = await report('kube-scheduler', '--probe-timeout=5s');
    const parentDetail = found.detail?.['parent'] as { state: string; changes: { field: string }[]; differences: object[] };
    expect(parentDetail.differences).toEqual([
      {
        where: 'spec.containers[kube-scheduler].image',
        change: 'changed',
        before: '"registry.example.org/kube-scheduler:1"',
        after: '"registry.example.org/kube-scheduler:2"',
      },
      { where: 'files/keys/tls.key', change: 'changed' },
    ]);
    expect(parentDetail.changes.map(({ field }) => field)).toContain('spec.tolerations');
    expect(JSON.stringify(found)).not.toContain('another key');
    // Asked, and nothing else than asked.
    expect(new Set(server.requests.map(({ verb }) => verb))).not.toContain('watch');
  });
});

describe.skipIf(skipLoudly('what inspect opens', findProgram('strace') === undefined ? 'install strace' : undefined))(
  'inspect, traced,',
  () => {
    it('opens neither lock file, and nothing for writing', async () => {
      await host.save('kube-scheduler');
      await leading();
      await runtimeWith(image('kube-scheduler'));
      const kubeletLock = join(host.dir, 'kubelet.lock');
      writeFileSync(kubeletLock, '');
      const store = join(host.dir, 'as-it-was');
      cpSync(host.store, store, { recursive: true });
      const trace = join(host.dir, 'trace');
      const calls =
        'open,openat,openat2,creat,truncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,chmod,fchmodat,chown,fchownat,mknod,mknodat';
      for (const args of [['inspect'], ['inspect', 'kube-scheduler'], ['doctor']]) {
        const more = args[0] === 'inspect' ? [`--kubelet-lock-file=${kubeletLock}`] : [];
        const child = spawn(
          'strace',
          ['-f', '-qq', '-o', trace, '-e', `trace=?${calls.replaceAll(',', ',?')}`, process.execPath, CLI, ...args, ...flags, ...more],
          {
            stdio: ['ignore', 'ignore', 'inherit'],
          },
        );
        await new Promise((resolve) => child.once('close', resolve));
        const lines = readFileSync(trace, 'utf8').split('\n');
        expect(lines.filter((line) => line.includes('pod.json')).length).toBeGreaterThan(args[0] === 'doctor' ? -1 : 0);
        expect(lines.filter((line) => line.includes(kubeletLock) || line.includes(host.lockFile))).toEqual([]);
        const changing = lines.filter(
          (line) =>
            /O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|^\d+ +(?!open| )/.test(line) &&
            !/ENOENT|"\/dev\/(null|tty)"|\+\+\+|---|resumed|exited/.test(line),
        );
        expect(changing).toEqual([]);
      }
      expect(readdirSync(host.store, { recursive: true }).sort()).toEqual(readdirSync(store, { recursive: true }).sort());
    });
  },
);

describe('inspect --watch', () => {
  it('prints what changed, and ends with the signal', async () => {
    await host.save('kube-scheduler');
    const child = spawn(process.execPath, [CLI, 'inspect', '--watch', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    const shown = () => out.split('Power cut now').length - 1;
    await until(() => shown() === 1, 15_000);
    await host.save('kube-proxy');
    await until(() => shown() === 2 && out.includes('kube-proxy'), 15_000);
    // No terminal: nothing is printed in place, and no colours.
    expect(out).not.toContain('\x1b');
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    child.kill('SIGTERM');
    expect(await ended).toBe(3);
  });
});

it('--watch says once that a runtime does not answer, while the disk fills', async () => {
  await host.save('kube-scheduler');
  let looks = 0;
  const silent = createServer(() => {
    looks++;
    writeFileSync(join(host.dir, `filling-${looks}`), Buffer.alloc(1024 * 1024));
  });
  await new Promise<void>((resolve) => silent.listen(socket, resolve));
  onTestFinished(() => void silent.close());
  const child = spawn(process.execPath, [CLI, 'inspect', '--watch', ...flags, '--runtime-request-timeout=300ms'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  await until(() => looks >= 3, 30_000);
  expect(out.match(/^Runtime .*$/gm)).toEqual([expect.stringContaining('did not answer within 300 ms')]);
});

describe('the commands of docs/inspect.md', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/inspect.md'), 'utf8');
  const lines = [...text.matchAll(/^ {4}checkpointer (inspect[^#\n]*)/gm)]
    .map(([, line = '']) => line.trim())
    .filter((line) => !line.includes('--watch'));

  it('all do something', async () => {
    expect(lines.length).toBeGreaterThan(3);
    await host.save('kube-apiserver');
    for (const line of lines) {
      const { code, out, err } = await checkpointer(...line.split(/ +/), ...flags);
      expect([line, code, err]).toEqual([line, line.endsWith('kube-apiserver') ? 0 : 3, '']);
      expect(out).toContain('kube-apiserver');
    }
  });
});

describe('on a terminal', () => {
  const script = findProgram('script');
  it.skipIf(skipLoudly('colours on a terminal', script === undefined ? 'install bsdutils (script)' : undefined))(
    'there are colours, unless NO_COLOR is set',
    async () => {
      await host.save('kube-scheduler');
      const run = (env: Record<string, string>) =>
        spawnSync('script', ['-qec', `"${process.execPath}" "${CLI}" inspect ${flags.map((flag) => `"${flag}"`).join(' ')}`, '/dev/null'], {
          encoding: 'utf8',
          env: { PATH: process.env['PATH'] ?? '', TERM: 'xterm', ...env },
        }).stdout;
      expect(run({})).toContain('\x1b[33mrecovers with warnings\x1b[0m');
      expect(run({ NO_COLOR: '1' })).not.toContain('\x1b');
    },
  );

  it.skipIf(script === undefined)('--watch stays in its place', async () => {
    await host.save('kube-scheduler');
    // timeout(1) ends it with the signal that a person's Ctrl-C is, whatever becomes of script(1).
    const command = `timeout -s INT 20 "${process.execPath}" "${CLI}" inspect --watch ${flags.map((flag) => `"${flag}"`).join(' ')}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => {
      child.kill();
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    await until(() => out.split('\x1b[H\x1b[2J').length > 2, 15_000);
  });
});
