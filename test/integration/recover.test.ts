import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeFormatLine } from '../../src/checkpoint/store/format.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { settleBoot } from '../../src/checkpoint/store/write.ts';
import { type LeaderLock, tryLeaderLock } from '../../src/lock/leader.ts';
import { Container, ContainerState, PodSandbox } from '../../src/sources/cri/generated/runtime.ts';
import { CriServer } from '../support/cri/server.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

let host: Host;
beforeEach(async () => {
  host = await testHost();
});
afterEach(() => host[Symbol.asyncDispose]());

const boot = (...more: string[]) => checkpointer('recover', '--boot', ...host.flags(), ...more);
const manifest = (name: string, generation: number, activation: number) =>
  `pod-checkpointer.kube-system.${name}-ds-g${generation}-a${activation}.json`;

/** A kubeconfig for an API server at that port of this machine. */
async function kubeconfig(port: number): Promise<void> {
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server: `https://127.0.0.1:${port}` } }],
    users: [{ name: 'u', user: { token: 't' } }],
  };
  await writeFile(join(host.dir, 'kubelet.conf'), JSON.stringify(config));
}

describe('recover --boot', () => {
  test('puts every proven copy in place, counted before it is used, the checkpointer itself among them', async () => {
    for (const name of ['kube-apiserver', 'pod-checkpointer']) await host.save(name);
    const { code, out } = await boot();
    expect(code, out).toBe(0);
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1), manifest('pod-checkpointer', 1, 1)]);
    const { workloads, settledBootId } = await readStore(host.store);
    expect([...workloads.values()].map(({ stored }) => stored.activations)).toEqual([1, 1]);
    // A daemon that comes later still has a cold boot before it.
    expect(settledBootId).toBeUndefined();
  });

  test('leaves what only asks the API server to the daemon, and says so', async () => {
    for (const name of ['kube-apiserver', 'kube-scheduler']) await host.save(name);
    const { code, out } = await boot();
    expect([code, out]).toEqual([0, expect.stringContaining('kube-scheduler: the API server comes first; left to the daemon')]);
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
    const again = await boot();
    expect([again.code, again.out]).toEqual([0, expect.stringContaining('kube-scheduler: the API server comes first')]);
  });

  test('leaves a copy that is active already as it is, and gives the next activation a name of its own', async () => {
    await host.save('kube-apiserver');
    await boot();
    await host.powerOn();
    expect((await boot()).out).toContain('active already');
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
    await rm(join(host.manifests, manifest('kube-apiserver', 1, 1)));
    await host.powerOn();
    await boot();
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 2)]);
  });

  test('a proven generation that does not verify is quarantined and another one is used', async () => {
    const workload = workloadNamed('kube-apiserver');
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:1');
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:2');
    await writeFile(join(generationPath(workloadPath(host.store, workload), 2), 'files/keys/tls.key'), 'other');
    const { code, err } = await boot();
    expect(err).toMatch(/^warning: .*generation 2 .* does not verify and was quarantined: files\/keys\/tls\.key/);
    expect(code).toBe(0);
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
    expect(await readdir(join(host.store, 'quarantine'))).not.toEqual([]);
  });

  test('does nothing in a boot that the daemon has settled', async () => {
    await host.save('kube-apiserver');
    await settleBoot(host.store, (await readFile(host.bootIdFile, 'utf8')).trim());
    expect((await boot()).out).toContain('settled');
    expect(await host.active()).toEqual([]);
  });

  test('does nothing while a checkpointer leads, and does not wait for it', async () => {
    await host.save('kube-apiserver');
    const leader = spawn('flock', ['-x', host.lockFile, 'sh', '-c', 'echo; read line'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(leader.stdout, 'data');
    const { code, out } = await boot();
    leader.stdin.end('\n');
    expect(code).toBe(0);
    expect(out).toContain('leads on this node already');
    expect(await host.active()).toEqual([]);
  });

  test('asks for no longer than it may: an endpoint that takes the connection and says nothing counts as down', async () => {
    await host.save('kube-apiserver');
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const address = silent.address();
    await kubeconfig(typeof address === 'object' && address !== null ? address.port : 0);
    const { out } = await boot('--probe-timeout=200ms');
    silent.close();
    expect(out).toContain('200 ms');
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
  });

  test('recovers without a lock that cannot be had, and says so', async () => {
    await host.save('kube-apiserver');
    const { code, err } = await boot(`--lock-file=${host.dir}/missing/lock`);
    expect(code).toBe(0);
    expect(err).toContain('without the leader lock');
    expect(await host.active()).toHaveLength(1);
  });

  test('a node without a store has nothing to recover; one that cannot be read fails', async () => {
    const { code, out } = await checkpointer('recover', '--boot', `--checkpoint-dir=${host.dir}/none`);
    expect([code, out]).toEqual([0, expect.stringContaining('nothing to recover')]);
    await writeFile(join(host.store, 'format'), encodeFormatLine(99));
    const newer = await boot();
    expect([newer.code, newer.err]).toEqual([1, expect.stringContaining('format 99')]);
  });

  test('a copy that cannot be put in place is reported and does not stop the others', async () => {
    await host.save('kube-apiserver');
    await host.save('kube-scheduler');
    // The only generation is damaged.
    await rm(join(generationPath(workloadPath(host.store, workloadNamed('kube-apiserver')), 1), 'pod.json'));
    const { code, err } = await boot();
    expect(code).toBe(1);
    expect(err).toMatch(/^error: kube-system\/DaemonSet\/kube-apiserver: .*no copy is stored/m);
    expect(await host.active()).toEqual([manifest('kube-scheduler', 1, 1)]);
  });
});

describe('recover by hand', () => {
  const byHand = (...more: string[]) => checkpointer('recover', ...host.flags(), ...more);

  test('starts nothing while the container runtime does not say what runs', async () => {
    await host.save('kube-apiserver');
    const { code, err } = await byHand('--yes', `--container-runtime-endpoint=unix://${host.dir}/none.sock`);
    expect([code, err]).toEqual([1, expect.stringContaining('the container runtime does not answer')]);
    expect(await host.active()).toEqual([]);
  });

  describe('with a runtime', () => {
    let runtime: CriServer;
    beforeEach(async () => {
      runtime = new CriServer(join(host.dir, 'cri.sock'));
      runtime.containerStatus = () => ({ state: ContainerState.CONTAINER_RUNNING });
      await runtime.start();
      for (const name of ['kube-apiserver', 'kube-scheduler']) await host.save(name);
      // Also in a boot that the daemon has settled before it died.
      await settleBoot(host.store, (await readFile(host.bootIdFile, 'utf8')).trim());
      runs('kube-scheduler-x7k2f', 'pod-kube-scheduler');
    });
    afterEach(() => runtime.stop());

    /** A pod from the API server with one running container. */
    function runs(name: string, uid: string): void {
      const labels = { 'io.kubernetes.pod.name': name, 'io.kubernetes.pod.namespace': 'kube-system', 'io.kubernetes.pod.uid': uid };
      const annotations = { 'kubernetes.io/config.source': 'api', 'checkpointer.alpha.coreos.com/checkpoint': 'true' };
      const metadata = { name, namespace: 'kube-system', uid, attempt: 0 };
      runtime.sandboxes.push(PodSandbox.fromPartial({ id: `s-${uid}`, metadata, labels, annotations }));
      runtime.containers.push(
        Container.fromPartial({
          id: `c-${uid}`,
          podSandboxId: `s-${uid}`,
          metadata: { name: 'c', attempt: 0 },
          state: ContainerState.CONTAINER_RUNNING,
          labels,
        }),
      );
    }
    const seeing = (...more: string[]) => byHand(`--container-runtime-endpoint=unix://${runtime.socket}`, ...more);

    test('shows what it would do, and does nothing, with --dry-run', async () => {
      const { code, out } = await seeing('--dry-run');
      expect(code, out).toBe(0);
      expect(out).toMatch(/kube-apiserver +activate g1-a1 +Activating/);
      expect(out).toMatch(/kube-scheduler +- /);
      expect(await host.active()).toEqual([]);
    });

    test('does it with --yes, and leaves alone what runs', async () => {
      const { code, out } = await seeing('--yes');
      expect(code, out).toBe(0);
      expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
      expect((await seeing('--yes')).out).toContain('nothing to do');
    });

    test('does not act without being told to where there is nobody to ask', async () => {
      const { code, err } = await seeing();
      expect([code, err]).toEqual([2, expect.stringContaining('--yes')]);
      expect(await host.active()).toEqual([]);
    });

    const unasked = skipLoudly('recover at a terminal', findProgram('script') === undefined ? 'install bsdutils (script)' : undefined);
    /** At a terminal; `answer` is called at each question, and says what is typed. Resolves to what was shown. */
    async function asked(answer: (question: number) => Promise<string>): Promise<{ code: number | null; out: string }> {
      const argv = [process.execPath, CLI, 'recover', ...host.flags(), `--container-runtime-endpoint=unix://${runtime.socket}`];
      const child = spawn('script', ['-qec', argv.join(' '), '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
      let [out, questions] = ['', 0];
      child.stdout.on('data', async (chunk: Buffer) => {
        out += chunk;
        if (out.split('[y/N]').length - 1 > questions) child.stdin.write(`${await answer(++questions)}\n`);
      });
      return { code: await ended, out };
    }

    test.skipIf(unasked)('asks, and does what was answered; a checkpointer that comes meanwhile could lead', async () => {
      expect(await asked(() => Promise.resolve('n'))).toMatchObject({ code: 1, out: expect.stringContaining('nothing was done') });
      expect(await host.active()).toEqual([]);
      let free = false;
      const { code, out } = await asked(async () => {
        const lock = await tryLeaderLock(host.lockFile);
        free = lock !== undefined;
        lock?.release();
        return 'y';
      });
      expect(code, out).toBe(0);
      expect(free).toBe(true);
      expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
    });

    test.skipIf(unasked)('starts nothing that came up while it asked: it shows what is down now, and asks again', async () => {
      await host.save('kube-controller-manager');
      const { code, out } = await asked((question) => {
        if (question === 1) runs('kube-apiserver-x7k2f', 'pod-kube-apiserver');
        return Promise.resolve('y');
      });
      expect(code, out).toBe(0);
      expect(out).toContain('not what it was');
      expect(await host.active()).toEqual([manifest('kube-controller-manager', 1, 1)]);
    });

    test.skipIf(unasked)('leaves it to a checkpointer that leads by the time of the answer', async () => {
      let leader: LeaderLock | undefined;
      const { code, out } = await asked(async () => {
        leader = await tryLeaderLock(host.lockFile);
        return 'y';
      });
      leader?.release();
      expect([code, out]).toEqual([1, expect.stringContaining('a checkpointer leads on this node')]);
      expect(await host.active()).toEqual([]);
    });

    test('does nothing while a checkpointer leads', async () => {
      const leader = await tryLeaderLock(host.lockFile);
      const { code, err } = await seeing('--yes');
      leader?.release();
      expect([code, err]).toEqual([1, expect.stringContaining('a checkpointer leads on this node')]);
    });
  });

  test('needs a store', async () => {
    const { code, err } = await checkpointer('recover', `--checkpoint-dir=${host.dir}/none`);
    expect([code, err]).toEqual([2, expect.stringContaining('there is no store')]);
  });
});
