import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { UNIT_MARK } from '../../src/host/units.ts';
import { checkpointer, type Host, testHost } from '../support/host/host.ts';

let root: string;
let executable: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'root-'));
  await mkdir(join(root, 'etc/systemd/system/multi-user.target.wants'), { recursive: true });
  await writeFile(join(root, 'etc/systemd/system/multi-user.target.wants/other.service'), '');
  await mkdir(join(root, 'opt'));
  executable = join(root, 'image-checkpointer');
  await writeFile(executable, 'one program', { mode: 0o755 });
});
afterEach(() => rm(root, { recursive: true }));

const install = (...more: string[]) => checkpointer('install-host', `--host-root=${root}`, `--executable=${executable}`, ...more);
const uninstall = (...more: string[]) => checkpointer('uninstall-host', `--host-root=${root}`, ...more);
const tree = async () => (await readdir(root, { recursive: true })).sort();

describe('install-host', () => {
  test('puts executable, units and the links of the next boot on a host that is mounted', async () => {
    const { code, err } = await install('--node-name=master-1');
    expect(code, err).toBe(0);
    expect(await readlink(join(root, 'etc/systemd/system/kubelet.service.wants/pod-checkpointer-boot.service'))).toBe(
      '/etc/systemd/system/pod-checkpointer-boot.service',
    );
    expect(await readlink(join(root, 'etc/systemd/system/multi-user.target.wants/pod-checkpointer.service'))).toBe(
      '/etc/systemd/system/pod-checkpointer.service',
    );
    expect(await readFile(join(root, 'etc/systemd/system/pod-checkpointer.service'), 'utf8')).toContain('--node-name=master-1');
    expect((await stat(join(root, 'opt/pod-checkpointer/bin/checkpointer'))).mode & 0o777).toBe(0o755);
    expect((await stat(join(root, 'etc/systemd/system/pod-checkpointer.service'))).mode & 0o777).toBe(0o644);
  });

  test('takes a kubeconfig from anywhere where systemd hands it over', async () => {
    const { code, err } = await install('--kubeconfig=/root/.kube/config', '--load-credential');
    expect(code, err).toBe(0);
  });

  test('changes nothing the second time, and only what differs the third', async () => {
    await install();
    expect((await install()).out).toBe('nothing to change\n');
    await writeFile(executable, 'two program', { mode: 0o755 });
    expect((await install('--kubelet-unit=k3s.service')).out.split('\n')).toEqual([
      'replace /opt/pod-checkpointer/bin/checkpointer',
      'replace /etc/systemd/system/pod-checkpointer-boot.service',
      'link    /etc/systemd/system/k3s.service.wants/pod-checkpointer-boot.service -> /etc/systemd/system/pod-checkpointer-boot.service',
      'remove  /etc/systemd/system/kubelet.service.wants/pod-checkpointer-boot.service',
      'remove  /etc/systemd/system/kubelet.service.wants/ if that leaves it empty',
      '',
    ]);
    expect(await tree()).not.toContain('etc/systemd/system/kubelet.service.wants');
  });

  test('replaces an executable of which one byte of the last megabyte is another', async () => {
    const program = Buffer.alloc((2 << 20) + 3, 'x');
    await writeFile(executable, program);
    await install();
    expect((await install()).out).toBe('nothing to change\n');
    const installed = join(root, 'opt/pod-checkpointer/bin/checkpointer');
    await writeFile(installed, program.fill('y', program.length - 1));
    expect((await install()).out).toBe('replace /opt/pod-checkpointer/bin/checkpointer\n');
    expect(await readFile(installed)).toEqual(await readFile(executable));
  });

  test('shows what it would change and changes nothing with --dry-run', async () => {
    const before = await tree();
    expect((await install('--dry-run')).out).toContain('create  /opt/pod-checkpointer/bin/checkpointer');
    expect(await tree()).toEqual(before);
  });

  test('is undone completely', async () => {
    const before = await tree();
    await install('--guard', '--kubelet-lock-file=/run/lock/kubelet.lock');
    expect(await tree()).toContain('etc/systemd/system/kubelet-guard.service');
    expect((await uninstall()).code).toBe(0);
    expect(await tree()).toEqual(before);
    expect((await uninstall()).out).toBe('nothing to change\n');
  });

  test('takes the guard away again where it is not wanted any more', async () => {
    await install('--guard', '--kubelet-lock-file=/run/lock/kubelet.lock');
    await install('--kubelet-lock-file=/run/lock/kubelet.lock');
    expect(await tree()).not.toContain('etc/systemd/system/kubelet-guard.service');
    expect(await tree()).not.toContain('etc/systemd/system/multi-user.target.wants/kubelet-guard.service');
  });

  test('takes the executable of another place away, when it is installed anew and when it is removed', async () => {
    const before = await tree();
    await install('--install-path=/opt/pod-checkpointer-1/checkpointer');
    await install('--install-path=/opt/pod-checkpointer-2/checkpointer');
    expect(await tree()).not.toContain('opt/pod-checkpointer-1');
    // Without being told where it is.
    expect((await uninstall()).code).toBe(0);
    expect(await tree()).toEqual(before);
  });

  test("links of the host's are followed within it, and what leads into the container's own files is an error", async () => {
    await rm(join(root, 'opt'), { recursive: true });
    await mkdir(join(root, 'var/opt'), { recursive: true });
    await symlink('var/opt', join(root, 'opt'));
    expect((await install()).code).toBe(0);
    expect(await tree()).toContain('var/opt/pod-checkpointer/bin/checkpointer');
    expect((await uninstall()).code).toBe(0);
    await rm(join(root, 'opt'));
    const outside = await mkdtemp(join(tmpdir(), 'container-'));
    await symlink(outside, join(root, 'opt'));
    const before = await tree();
    for (const { code, err } of [await install(), await uninstall()])
      expect([code, err]).toEqual([
        2,
        expect.stringMatching(/^error: \/opt\/pod-checkpointer\/bin\/checkpointer: a symbolic link .* leads out of/),
      ]);
    expect([await tree(), await readdir(outside)]).toEqual([before, []]);
    await rm(outside, { recursive: true });
  });

  test("an installation is an error where somebody else's unit of the same name is", async () => {
    const path = join(root, 'etc/systemd/system/pod-checkpointer.service');
    await writeFile(path, '[Service]\nExecStart=/bin/true\n');
    const { code, err } = await install();
    expect([code, err]).toEqual([2, expect.stringContaining('was not written by checkpointer install-host')]);
    expect(await readFile(path, 'utf8')).toContain('/bin/true');
  });

  test('a unit that is masked stays masked, and the others are installed', async () => {
    const path = join(root, 'etc/systemd/system/pod-checkpointer.service');
    await symlink('/dev/null', path);
    // One that is not wanted here, and somebody else's, is no matter.
    await writeFile(join(root, 'etc/systemd/system/kubelet-guard.service'), '[Service]\nExecStart=/bin/true\n');
    const { code, out } = await install();
    expect(code).toBe(0);
    expect(out).toContain('leave   /etc/systemd/system/pod-checkpointer.service: it is masked');
    expect(await readlink(path)).toBe('/dev/null');
    expect(await tree()).toContain('etc/systemd/system/pod-checkpointer-boot.service');
    expect(await tree()).not.toContain('etc/systemd/system/multi-user.target.wants/pod-checkpointer.service');
    expect((await install()).out).toMatch(/^leave .*\nnothing to change\n$/);
  });
});

describe('uninstall-host', () => {
  const at = (path: string) => join(root, 'etc/systemd/system', path);

  test("leaves what is somebody else's, or masked, and removes the rest", async () => {
    await install();
    await rm(at('pod-checkpointer.service'));
    await symlink('/dev/null', at('pod-checkpointer.service'));
    await writeFile(at('kubelet-guard.service'), '[Service]\nExecStart=/bin/true\n');
    await symlink('/etc/systemd/system/kubelet-guard.service', at('multi-user.target.wants/kubelet-guard.service'));
    const { code, out } = await uninstall();
    expect(code).toBe(0);
    expect(out).toContain('leave   /etc/systemd/system/pod-checkpointer.service: it is masked');
    expect(out).toContain('leave   /etc/systemd/system/kubelet-guard.service: it was not written by checkpointer install-host');
    expect(await tree()).not.toContain('etc/systemd/system/pod-checkpointer-boot.service');
    expect(await tree()).not.toContain('opt/pod-checkpointer');
    expect(await readFile(at('kubelet-guard.service'), 'utf8')).toContain('/bin/true');
    expect(await readlink(at('multi-user.target.wants/kubelet-guard.service'))).toContain('kubelet-guard');
  });

  test('removes what other installations, people and power cuts left', async () => {
    const before = await tree();
    await install();
    // Enabled by hand, for another unit as well, by a systemctl that writes relative links; a unit that somebody removed; half a copy.
    await mkdir(at('other.service.requires'));
    await symlink('../pod-checkpointer-boot.service', at('other.service.requires/pod-checkpointer-boot.service'));
    await rm(at('pod-checkpointer.service'));
    // As replaceDurable names them.
    await writeFile(at('.pod-checkpointer.service.4711-0123456789ab.tmp'), 'half');
    await writeFile(at('.pod-checkpointer-boot.service.4711-0123456789ab.tmp'), 'half');
    await writeFile(join(root, 'opt/pod-checkpointer/bin/checkpointer.new'), 'half');
    await mkdir(at('pod-checkpointer.service.d'));
    await writeFile(at('pod-checkpointer.service.d/10-ours.conf'), `${UNIT_MARK}\n[Service]\n`);
    expect((await uninstall()).code).toBe(0);
    expect(await tree()).toEqual(before);
  });

  test("leaves an operator's drop-in", async () => {
    await install();
    await mkdir(at('pod-checkpointer.service.d'));
    await writeFile(at('pod-checkpointer.service.d/override.conf'), '[Service]\nNice=1\n');
    expect((await uninstall()).code).toBe(0);
    expect(await tree()).toContain('etc/systemd/system/pod-checkpointer.service.d/override.conf');
  });
});

describe('uninstall-host --purge-store', () => {
  let host: Host;
  let before: string[];
  const purge = (...more: string[]) =>
    uninstall('--purge-store', `--checkpoint-dir=${hosts(host.store)}`, `--pod-manifest-path=${hosts(host.manifests)}`, ...more);
  /** As a path of the host that is mounted at `root`. */
  const hosts = (path: string) => path.slice(root.length);
  beforeEach(async () => {
    host = await testHost(root);
    await host.save('kube-apiserver');
    before = await tree();
  });

  test('deletes the store with everything in it', async () => {
    await install();
    const { code, out, err } = await purge('--yes');
    expect(code, err).toBe(0);
    expect(out).toContain(`remove  ${hosts(host.store)}/ with every copy in it`);
    expect(await tree()).toEqual(before.filter((path) => !`/${path}`.startsWith(hosts(host.store))));
    expect(await purge('--yes')).toMatchObject({ code: 0, out: 'nothing to change\n' });
  });

  test('keeps it where nobody says so, and with --dry-run', async () => {
    expect((await purge()).code).toBe(2);
    expect((await purge('--dry-run')).out).toContain('with every copy in it');
    expect((await uninstall(`--checkpoint-dir=${hosts(host.store)}`)).code).toBe(0);
    expect(await tree()).toEqual(before);
  });

  test('is refused, and nothing else is done either, while a copy is active', async () => {
    await install();
    const active = join(host.manifests, 'pod-checkpointer.kube-system.kube-apiserver-g1-a1.json');
    await writeFile(active, '{}');
    before = await tree();
    const { code, err } = await purge('--yes');
    expect([code, err]).toEqual([1, expect.stringContaining(hosts(active))]);
    expect(await tree()).toEqual(before);
  });

  test.each<[string, (path: string) => Promise<unknown>]>([
    ['a link to a store', (path) => symlink('store', path)],
    ['a directory of somebody else', (path) => mkdir(path)],
    ['a file', (path) => writeFile(path, '')],
  ])('is refused for %s', async (_, make) => {
    const path = join(host.dir, 'other');
    await make(path);
    before = await tree();
    const { code, err } = await purge(`--checkpoint-dir=${hosts(path)}`, '--yes');
    expect([code, err]).toEqual([2, expect.stringContaining(hosts(path))]);
    expect(await tree()).toEqual(before);
  });

  test('follows no link that is in it', async () => {
    const elsewhere = join(host.dir, 'elsewhere');
    await mkdir(elsewhere);
    await writeFile(join(elsewhere, 'kept'), '');
    await symlink(elsewhere, join(host.store, 'link'));
    expect((await purge('--yes')).code).toBe(0);
    expect(await readdir(elsewhere)).toEqual(['kept']);
  });

  test('goes on where a power cut ended it', async () => {
    await rm(join(host.store, 'workloads'), { recursive: true });
    expect((await purge('--yes')).code).toBe(0);
    expect(await tree()).not.toContain(hosts(host.store).slice(1));
  });

  test('says that the way back of a pivot goes with it', async () => {
    await mkdir(join(host.store, 'pivot'));
    await writeFile(join(host.store, 'pivot/journal.json'), '{}');
    expect((await purge('--dry-run')).out).toContain('with every copy and what unpivot puts back in it');
  });
});

describe('install-host', () => {
  test.each([
    ['a path that a unit would read in another way', ['--checkpoint-dir=/var/lib/a b'], /--checkpoint-dir/],
    ['a line break', ['--node-name=a\nExecStartPre=/bin/sh'], /--node-name/],
    ['a guard without the lock that it watches', ['--guard'], /--kubelet-lock-file/],
    ['a host that is not there', ['--host-root=/nonexistent'], /--host-root/],
    [
      'one file for both locks',
      ['--lock-file=/run/lock/l', '--kubelet-lock-file=/run/lock/l'],
      /--kubelet-lock-file .*expected the kubelet's/,
    ],
  ])('refuses %s', async (_, flags, message) => {
    const { code, err } = await install(...flags);
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
  });
});
