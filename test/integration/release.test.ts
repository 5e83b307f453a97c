import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withoutSymbols } from '../../scripts/elf.ts';
import { Containerd } from '../support/containerd/containerd.ts';
import { testHost } from '../support/host/host.ts';
import { PROGRAM_PATH } from '../support/packages.ts';
import { makeRelease, missingForRelease } from '../support/release.ts';
import { skipLoudly } from '../support/skip.ts';

const execute = promisify(execFile);
const ARCH = process.arch === 'x64' ? 'amd64' : process.arch;
const RELEASED = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
const MIB = 2 ** 20;

describe.skipIf(skipLoudly('the release and the image', missingForRelease()))('a release', () => {
  let work: string;
  let release: string;
  let again: string;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'release-'));
    const [one, other] = [join(work, 'one'), join(work, 'somewhere/else')];
    for (const directory of [one, other]) mkdirSync(directory, { recursive: true });
    [release, again] = await Promise.all([makeRelease(one), makeRelease(other)]);
  }, 300_000);

  afterAll(() => rmSync(work, { recursive: true, force: true }));

  const file = (name: string) => join(release, name);
  const archive = () => file(`pod-checkpointer-${RELEASED}-linux-${ARCH}.oci.tar`);

  test('holds executable, image, list of parts, manifests, licences and checksums that are right', () => {
    expect(readdirSync(release).sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      `SHA256SUMS-${ARCH}`,
      `checkpointer-${RELEASED}-linux-${ARCH}`,
      `pod-checkpointer-${RELEASED}-linux-${ARCH}.cdx.json`,
      `pod-checkpointer-${RELEASED}-linux-${ARCH}.oci.tar`,
      `pod-checkpointer-${RELEASED}-manifests.tar.gz`,
      'third-party-licenses.txt',
    ]);
    execFileSync('sha256sum', ['--check', '--quiet', `SHA256SUMS-${ARCH}`], { cwd: release });
  });

  test('made in another directory has the same bytes', () => {
    for (const name of readdirSync(release)) expect(readFileSync(join(again, name)).equals(readFileSync(file(name))), name).toBe(true);
  });

  test('its manifests name the image and the version', () => {
    const member = `pod-checkpointer-${RELEASED}/manifests/base/kustomization.yaml`;
    const text = execFileSync('tar', ['-xzOf', file(`pod-checkpointer-${RELEASED}-manifests.tar.gz`), member], { encoding: 'utf8' });
    expect(text).toContain(`newName: registry.example.org/tools/pod-checkpointer\n    newTag: ${RELEASED}\n`);
  });

  test('its list of parts has what is bundled, with version and digest, and nothing that only builds or tests', () => {
    const bill = JSON.parse(readFileSync(file(`pod-checkpointer-${RELEASED}-linux-${ARCH}.cdx.json`), 'utf8')) as {
      components: { name: string; version: string; hashes?: { content: string }[] }[];
    };
    const named = (name: string) => bill.components.find((one) => one.name === name);
    expect(named('node')?.version).toBe(process.versions.node);
    expect(named('@grpc/grpc-js')?.hashes?.[0]?.content).toMatch(/^[0-9a-f]{128}$/);
    expect(named('libc6')?.version).toMatch(/^2\./);
    for (const name of ['vitest', 'esbuild', 'typescript', '@kubernetes/client-node', 'protobufjs']) expect(named(name)).toBeUndefined();
  });

  describe('its image, in a containerd', () => {
    let containerd: Containerd;
    let reference: string;

    beforeAll(async () => {
      containerd = await Containerd.create();
      const { stdout } = await ctr('images', 'import', '--snapshotter', 'native', archive());
      reference = /unpacking (\S+)/.exec(stdout)?.[1] ?? stdout;
      console.log(`image: ${(statSync(archive()).size / MIB).toFixed(1)} MiB`);
    }, 120_000);

    afterAll(async () => {
      await containerd?.destroy();
    });

    const ctr = (...args: string[]) =>
      execute('ctr', ['--address', containerd.socket, '--namespace', 'k8s.io', ...args], { env: { ...process.env, PATH: PROGRAM_PATH } });

    /** As the DaemonSet does: a root that cannot be written to, four capabilities, the host's directories at their own paths. */
    async function run(
      name: string,
      mounts: readonly string[],
      ...args: string[]
    ): Promise<{ code: number | null; out: string; err: string }> {
      const dropped = [
        'MKNOD',
        'NET_RAW',
        'SETGID',
        'SETUID',
        'SETFCAP',
        'SETPCAP',
        'NET_BIND_SERVICE',
        'SYS_CHROOT',
        'KILL',
        'AUDIT_WRITE',
      ];
      const flags = [
        '--rm',
        '--read-only',
        '--seccomp',
        '--snapshotter=native',
        `--cgroup=${containerd.cgroup}/${name}`,
        ...dropped.map((capability) => `--cap-drop=CAP_${capability}`),
        ...mounts.map((path) => `--mount=type=bind,src=${path},dst=${path},options=rbind:rw`),
      ];
      return ctr('run', ...flags, reference, name, '/checkpointer', ...args).then(
        ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
        (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, out: error.stdout, err: error.stderr }),
      );
    }

    test('is named, and small', () => {
      expect(reference).toBe(`registry.example.org/tools/pod-checkpointer:${RELEASED}`);
      expect(statSync(archive()).size).toBeLessThan(64 * MIB);
    });

    test('says its version', async () => {
      expect(await run('version', [], '--version')).toEqual({ code: 0, out: `${RELEASED}\n`, err: '' });
    });

    test('inspects a store, verifies it, and hands its copies to the kubelet', async () => {
      await using host = await testHost(containerd.directory);
      await host.save('kube-apiserver');
      const places = [host.dir];
      const inspected = await run('inspect', places, 'inspect', `--checkpoint-dir=${host.store}`, `--pod-manifest-path=${host.manifests}`);
      expect(inspected.out).toContain('kube-apiserver');
      expect(await run('verify', places, 'verify', `--checkpoint-dir=${host.store}`)).toMatchObject({ code: 0 });
      // flock(1) is in the image: without it nothing could lead.
      const recovered = await run('recover', places, 'recover', '--boot', '--probe-timeout=0', ...host.flags());
      expect(recovered).toMatchObject({ code: 0 });
      expect(await host.active()).toHaveLength(1);
    });

    test('looks at its installation, and says what is wrong with one that has nothing', async () => {
      const { code, out } = await run('doctor', [], 'doctor', '--node-name=master-1');
      expect(out).toContain('/etc/kubernetes/manifests');
      expect(code).not.toBe(0);
    });
  });
});

test('an executable without its symbols still runs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'elf-'));
  try {
    const whole = readFileSync(process.execPath);
    const stripped = withoutSymbols(whole);
    expect(stripped.length).toBeLessThanOrEqual(whole.length);
    const { stdout } = spawnSync('sh', ['-c', 'cat > "$0" && chmod +x "$0" && "$0" --version', join(directory, 'node')], {
      input: stripped,
      encoding: 'utf8',
    });
    expect(stdout.trim()).toBe(process.version);
    expect(() => withoutSymbols(Buffer.from('#!/bin/sh\n'))).toThrow('not a 64-bit');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
