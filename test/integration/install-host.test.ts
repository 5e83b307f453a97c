import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkpointer } from '../support/host/host.ts';

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

  test('changes nothing the second time, and only what differs the third', async () => {
    await install();
    expect((await install()).out).toBe('nothing to change\n');
    await writeFile(executable, 'two program', { mode: 0o755 });
    expect((await install('--kubelet-unit=k3s.service')).out.split('\n')).toEqual([
      'replace /opt/pod-checkpointer/bin/checkpointer',
      'replace /etc/systemd/system/pod-checkpointer-boot.service',
      'link    /etc/systemd/system/k3s.service.wants/pod-checkpointer-boot.service -> /etc/systemd/system/pod-checkpointer-boot.service',
      '',
    ]);
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

  test("leaves somebody else's unit of the same name alone", async () => {
    const path = join(root, 'etc/systemd/system/pod-checkpointer.service');
    await writeFile(path, '[Service]\nExecStart=/bin/true\n');
    for (const { code, err } of [await install(), await uninstall()])
      expect([code, err]).toEqual([2, expect.stringContaining('was not written by checkpointer install-host')]);
    expect(await readFile(path, 'utf8')).toContain('/bin/true');
  });

  test.each([
    ['a path that a unit would read in another way', ['--checkpoint-dir=/var/lib/a b'], /--checkpoint-dir/],
    ['a line break', ['--node-name=a\nExecStartPre=/bin/sh'], /--node-name/],
    ['a guard without the lock that it watches', ['--guard'], /--kubelet-lock-file/],
    ['a host that is not there', ['--host-root=/nonexistent'], /--host-root/],
  ])('refuses %s', async (_, flags, message) => {
    const { code, err } = await install(...flags);
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
  });
});
