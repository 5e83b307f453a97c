/** `recover` where the network, the disk or a person has been unkind. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { retireWorkload } from '../../src/checkpoint/store/retention.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { withTransaction } from '../../src/lock/transaction.ts';
import { addressesWithoutGetent, askControlPlane } from '../../src/recovery/probe.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { checkpointerWith, missingForMounts } from '../support/host/namespace.ts';
import { skipLoudly } from '../support/skip.ts';

const CLI = fileURLToPath(new URL('../../src/cli.ts', import.meta.url));

let host: Host;
beforeEach(async () => {
  host = await testHost();
});
afterEach(() => host[Symbol.asyncDispose]());

const boot = (...more: string[]) => checkpointer('recover', '--boot', '--probe-timeout=0', ...host.flags(), ...more);
const manifest = (name: string, generation: number, activation: number) =>
  `pod-checkpointer.kube-system.${name}-ds-g${generation}-a${activation}.json`;
const filesOf = (name: string, generation: number) => generationPath(workloadPath(host.store, workloadNamed(name)), generation);
const damage = (name: string, generation: number) => writeFile(join(filesOf(name, generation), 'files/keys/tls.key'), 'other');

async function kubeconfig(server: string): Promise<string> {
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server } }],
    users: [{ name: 'u', user: { token: 't' } }],
  };
  const file = join(host.dir, 'kubelet.conf');
  await writeFile(file, JSON.stringify(config));
  return file;
}

const ignoring = (socket: Socket) => socket.resume().on('error', () => undefined);

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const unmountable = skipLoudly('recover with other mounts', missingForMounts());

describe('the question whether a control plane answers', () => {
  /** Of the process around it: Node, and the sources as TypeScript. Without a deadline it would take 10 s and more. */
  const AROUND = 6_000;

  test.skipIf(unmountable)('ends in its time when the name server is dead, and so does the process', async () => {
    await host.save('kube-apiserver');
    await kubeconfig('https://api.example.org:6443');
    // Takes every question and answers none.
    const dns = createSocket('udp4');
    await new Promise<void>((resolve) => dns.bind(53, '127.0.83.1', resolve));
    await writeFile(join(host.dir, 'resolv.conf'), 'nameserver 127.0.83.1\n');
    const { code, out, ms } = await checkpointerWith(
      'mount --bind "$1" "$(readlink -f /etc/resolv.conf)"',
      [join(host.dir, 'resolv.conf')],
      ['recover', '--boot', '--probe-timeout=500ms', ...host.flags()],
    );
    await new Promise<void>((resolve) => dns.close(() => resolve()));
    expect(code).toBe(0);
    expect(out).toContain('no answer within 500 ms');
    expect(ms).toBeLessThan(500 + AROUND);
    expect(await host.active()).toHaveLength(1);
  });

  const within = async (server: string, ms: number) => {
    const file = await kubeconfig(server);
    const started = performance.now();
    const answer = await askControlPlane(file, ms);
    return { answer, took: performance.now() - started };
  };

  test('ends in its time when packets go nowhere', async () => {
    const hole = await blackHole();
    const { answer, took } = await within(`https://127.0.0.1:${hole.port}`, 300);
    hole.child.kill('SIGKILL');
    expect(answer).toEqual({ state: 'unreachable', detail: 'no answer within 300 ms' });
    expect(took).toBeLessThan(600);
  });

  test('ends in its time when TLS does, or does not, begin', async () => {
    for (const server of [createServer(ignoring), createServer((socket) => ignoring(socket).write('\x16\x03\x03'))]) {
      const { answer, took } = await within(`https://127.0.0.1:${await listening(server)}`, 300);
      server.close();
      expect(answer).toEqual({ state: 'unreachable', detail: 'no answer within 300 ms' });
      expect(took).toBeLessThan(600);
    }
  });

  test('a time that is longer than any timer is no time that is over at once', async () => {
    const server = createServer((socket) => ignoring(socket).end());
    const { answer } = await within(`https://127.0.0.1:${await listening(server)}`, 2 ** 40);
    server.close();
    expect(answer).toMatchObject({ state: 'unreachable', detail: expect.not.stringContaining('no answer within') });
  });

  test('asks at the name that the machine knows, and says so when it knows none', async () => {
    const server = createServer((socket) => ignoring(socket).end());
    const port = await listening(server);
    expect((await within(`https://localhost:${port}`, 2_000)).answer).toMatchObject({
      detail: expect.stringContaining(`127.0.0.1:${port}`),
    });
    server.close();
    expect((await within('https://name.invalid:6443', 5_000)).answer).toMatchObject({
      detail: expect.stringMatching(/name\.invalid|no answer/),
    });
  });

  test('without getent(1) the hosts file counts', async () => {
    const hosts = join(host.dir, 'hosts');
    await writeFile(hosts, '# 10.0.0.8 api\n10.0.0.9 other api # both\nfd00::9 api\n');
    expect(await addressesWithoutGetent('api', new AbortController().signal, hosts)).toEqual(['10.0.0.9', 'fd00::9']);
  });

  /** A port that takes no connection and refuses none: its queue is full. */
  async function blackHole(): Promise<{ port: number; child: ChildProcess }> {
    const script = `
      use Socket; use Fcntl;
      socket(my $s, PF_INET, SOCK_STREAM, 0) or die; bind($s, sockaddr_in(0, inet_aton("127.0.0.1"))) or die; listen($s, 0) or die;
      my ($port) = sockaddr_in(getsockname($s)); my @full;
      for (1 .. 4) { socket(my $c, PF_INET, SOCK_STREAM, 0); fcntl($c, F_SETFL, O_NONBLOCK); connect($c, sockaddr_in($port, inet_aton("127.0.0.1"))); push @full, $c; }
      $| = 1; print "$port\\n"; sleep 600;`;
    const child = spawn('perl', ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [port] = await once(child.stdout, 'data');
    return { port: Number(String(port)), child };
  }
});

describe.skipIf(unmountable)('a store that cannot be written to', () => {
  const READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"';
  const FULL =
    'cp -a "$1" "$1.copy"; mount -t tmpfs -o size=1m,nr_inodes=100 tmpfs "$1"; cp -a "$1.copy/." "$1"; rm -r "$1.copy"; cat /dev/zero > "$1/fill" 2>/dev/null || for i in $(seq 100); do mkdir "$1/x$i" 2>/dev/null || break; done';
  const recovering = (mounts: string) =>
    checkpointerWith(mounts, [host.store], ['recover', '--boot', '--probe-timeout=0', ...host.flags()]);

  test.each([
    ['read-only', READ_ONLY, /Read-only|EROFS|read-only/],
    ['full', FULL, /ENOSPC|no space/],
  ])('is used as it is while it is %s: every copy is activated', async (_, mounts, why) => {
    for (const name of ['kube-apiserver', 'kube-vip']) await host.save(name);
    const { code, out, err } = await recovering(mounts);
    expect(code, out + err).toBe(0);
    expect(err).toMatch(why);
    expect((await host.active()).map((name) => name.replace(/-a\d+\.json$/, ''))).toEqual([
      'pod-checkpointer.kube-system.kube-apiserver-ds-g1',
      'pod-checkpointer.kube-system.kube-vip-ds-g1',
    ]);
  });

  test.each([
    ['read-only', READ_ONLY],
    ['full', FULL],
  ])('and %s: a damaged generation is passed over in the same run, and it is said', async (_, mounts) => {
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:1');
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:2');
    await damage('kube-apiserver', 2);
    // Of another one the index itself is damaged, which the plan sees before.
    await host.save('kube-vip', 'registry.example.org/kube-vip:1');
    await host.save('kube-vip', 'registry.example.org/kube-vip:2');
    await writeFile(join(filesOf('kube-vip', 2), 'index.json'), '{');
    const { code, out, err } = await recovering(mounts);
    expect(code, out + err).toBe(0);
    expect((await host.active()).map((name) => name.replace(/-a\d+\.json$/, ''))).toEqual([
      'pod-checkpointer.kube-system.kube-apiserver-ds-g1',
      'pod-checkpointer.kube-system.kube-vip-ds-g1',
    ]);
    // What is full may still take a rename.
    if (mounts === READ_ONLY) {
      expect(err).toMatch(/kube-apiserver: generation 2 is damaged .* could not be quarantined/);
      expect(err).toMatch(/kube-vip: generation 2 is damaged .* could not be quarantined/);
    }
  });
});

test('a store that somebody else is changing is waited for, not for long: the copies are activated without it', async () => {
  for (const name of ['kube-apiserver', 'kube-vip']) await host.save(name);
  const bootId = (await readFile(host.bootIdFile, 'utf8')).trim();
  await withTransaction(
    host.store,
    async () => {
      const { code, out, err } = await boot();
      expect(code, out + err).toBe(0);
      expect(err).toMatch(/^warning: .*being changed by another process/);
      expect(await host.active()).toHaveLength(2);
    },
    { bootId },
  );
});

test('output that goes to a full disk does not stop it: every copy is activated, and then it is a failure', async () => {
  for (const name of ['kube-apiserver', 'kube-vip']) await host.save(name);
  const child = spawn(process.execPath, [CLI, 'recover', '--boot', '--probe-timeout=0', ...host.flags()], {
    stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [err, code] = await Promise.all([child.stderr === null ? '' : text(child.stderr), ended]);
  expect(await host.active()).toHaveLength(2);
  expect([code, err]).toEqual([1, expect.stringMatching(/^error: not all of the output could be written: ENOSPC.*\n$/)]);
});

test('a store that cannot be looked at is not one that is not there', async () => {
  // Too long for a name: what a disk that fails says is an error of stat(2), too.
  const { code, out, err } = await boot(`--checkpoint-dir=/${'x'.repeat(300)}`);
  expect([code, out, err]).toEqual([1, '', expect.stringContaining('ENAMETOOLONG')]);
});

describe('what was retired', () => {
  const retire = async (...names: string[]) => {
    for (const name of names) {
      await host.save(name);
      await retireWorkload(host.store, workloadNamed(name), Date.now());
    }
  };

  test('comes back and is activated when it served the API server that is gone', async () => {
    await retire('kube-apiserver', 'kube-vip');
    await host.save('kube-proxy');
    const shown = await boot('--dry-run');
    expect(shown.out).toMatch(/kube-apiserver +bring kube-system\.ds\.kube-apiserver\.\d+ back into use/);
    expect(await host.active()).toEqual([]);
    const { code, out, err } = await boot();
    expect(code, out + err).toBe(0);
    expect(await host.active()).toEqual(['kube-apiserver', 'kube-proxy', 'kube-vip'].map((name) => manifest(name, 1, 1)));
  });

  test('stays away while the API server has a copy of its own', async () => {
    await retire('kube-vip');
    await host.save('kube-apiserver');
    expect((await boot()).code).toBe(0);
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 1)]);
  });
});

describe('an active manifest at a cold boot', () => {
  beforeEach(async () => {
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:1');
    await host.save('kube-apiserver', 'registry.example.org/kube-apiserver:2');
    await boot();
    expect(await host.active()).toEqual([manifest('kube-apiserver', 2, 1)]);
    await host.powerOn();
  });

  test('whose generation is damaged makes way for a good one', async () => {
    await damage('kube-apiserver', 2);
    expect((await boot('--dry-run')).out).toMatch(/activate g1-a2, remove pod-checkpointer\S+-g2-a1\.json/);
    const { code, out } = await boot();
    expect(code, out).toBe(0);
    expect(out).toContain('quarantine g2');
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 2)]);
    expect(await readdir(join(host.store, 'quarantine'))).toHaveLength(2);
  });

  test('whose generation is gone makes way for a good one, the new manifest first', async () => {
    await rm(filesOf('kube-apiserver', 2), { recursive: true });
    const { code, out } = await boot();
    expect(code, out).toBe(0);
    expect(out.indexOf('activate g1-a2')).toBeLessThan(out.indexOf('remove pod-checkpointer'));
    expect(await host.active()).toEqual([manifest('kube-apiserver', 1, 2)]);
  });

  test('whose generation is damaged stays where there is no other, and it is an error', async () => {
    for (const generation of [1, 2]) await damage('kube-apiserver', generation);
    await rm(filesOf('kube-apiserver', 1), { recursive: true });
    const { code, err } = await boot();
    expect(code).toBe(1);
    expect(err).toMatch(/kube-apiserver: generation 2 of the active copy is damaged or gone, and no copy is stored/);
    expect(await host.active()).toEqual([manifest('kube-apiserver', 2, 1)]);
  });

  test('that somebody made into something else is restored, whatever is left of it', async () => {
    const path = join(host.manifests, manifest('kube-apiserver', 2, 1));
    const written = await readFile(path, 'utf8');
    let activation = 1;
    for (const edited of [
      `# do not touch\n${written}`,
      written.slice(0, written.length / 2),
      '',
      written.replace('/generation": "2"', '/generation": "1"'),
    ]) {
      await writeFile(path, edited);
      for (const other of await host.active()) if (other !== manifest('kube-apiserver', 2, 1)) await rm(join(host.manifests, other));
      await host.powerOn();
      expect((await boot()).code).toBe(0);
      activation++;
      expect(await host.active()).toEqual([manifest('kube-apiserver', 2, activation)]);
    }
    expect((await readStore(host.store)).workloads.get(workloadKey(workloadNamed('kube-apiserver')))?.stored.activations).toBe(activation);
  });
});
