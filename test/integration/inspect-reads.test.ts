/** What inspect finds out about a host and a store, from real files. */
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { WorkloadKey } from '../../src/checkpoint/workload.ts';
import { staticDirectoryFindings } from '../../src/inspect/foresight/static-directory.ts';
import { readKubelet } from '../../src/inspect/read-kubelet.ts';
import { readGenerations } from '../../src/inspect/read-store.ts';
import { readUnit } from '../../src/inspect/read-units.ts';
import { createDiskSource } from '../../src/sources/disk.ts';
import { checkpointer, type Host, testHost } from '../support/host/host.ts';

const KEY = 'kube-system/DaemonSet/kube-scheduler' as WorkloadKey;

describe('on a host', () => {
  let root: string;
  const put = (path: string, text: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), text);
  };
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'root-'));
    onTestFinished(() => rm(root, { recursive: true, force: true }));
  });

  it("what the kubelet's drop-ins set counts over its configuration, the last one most, and what they do not set stays", async () => {
    const policy = 'imagePullCredentialsVerificationPolicy: AlwaysVerify\n';
    put('proc/7/cmdline', '/usr/bin/kubelet\0--config=/etc/kubelet.yaml\0--config-dir\0/etc/kubelet.d\0');
    put('etc/kubelet.yaml', `staticPodPath: /etc/first\n${policy}`);
    expect(await readKubelet(root, undefined)).toMatchObject({ staticPodPath: undefined, detail: expect.stringContaining('kubelet.yaml') });
    put('etc/kubelet.d/20-more.conf', 'staticPodPath: /etc/third\n');
    put('etc/kubelet.d/10-more.conf', 'staticPodPath: /etc/second\n');
    put('etc/kubelet.d/30-ignored.yaml', 'staticPodPath: /etc/none\n');
    const { staticPodPath, imagePullVerification } = await readKubelet(root, undefined);
    expect([staticPodPath, imagePullVerification]).toEqual([{ path: '/etc/third', from: '/etc/kubelet.yaml' }, 'AlwaysVerify']);
  });

  it('a configuration without a static pod path says that the kubelet reads none', async () => {
    put('var/lib/kubelet/config.yaml', 'kind: KubeletConfiguration\n');
    expect((await readKubelet(root, undefined)).staticPodPath).toEqual({ path: '', from: '/var/lib/kubelet/config.yaml' });
  });

  it('and says nothing of it where the processes of the host are hidden: a flag may set it', async () => {
    const [file, proc] = [join(root, 'config.yaml'), join(root, 'proc')];
    put('config.yaml', 'kind: KubeletConfiguration\n');
    put('proc/7/cmdline', '/bin/checkpointer\0run\0');
    expect((await readKubelet(undefined, file, undefined, proc)).staticPodPath).toBeUndefined();
    put('proc/8/cmdline', '/usr/bin/kubelet\0');
    expect((await readKubelet(undefined, file, undefined, proc)).staticPodPath).toEqual({ path: '', from: file });
  });

  it('the directory that the kubelet reads is known by any of its names', async () => {
    const ours = join(root, 'etc/manifests');
    mkdirSync(ours, { recursive: true });
    mkdirSync(join(root, 'etc/other'));
    symlinkSync('manifests', join(root, 'etc/link'));
    const findings = async (path: string) => {
      put('var/lib/kubelet/config.yaml', `staticPodPath: ${path}\n`);
      return staticDirectoryFindings(ours, await readKubelet(root, undefined, ours)).map(({ code }) => code);
    };
    expect(await findings('/etc/link')).toEqual([]);
    expect(await findings('/etc/other')).toEqual(['NotTheKubeletsDirectory']);
    expect(await findings('/etc/gone')).toEqual(['NotTheKubeletsDirectory']);
    expect(await findings('')).toEqual(['NoStaticPodPath']);
  });

  it('a unit is armed only if something brings it along, and what it runs is there', async () => {
    const name = 'pod-checkpointer-boot.service';
    const unit = `etc/systemd/system/${name}`;
    expect(await readUnit(root, name)).toEqual({ state: 'not armed', detail: `${name} is not installed` });
    put(unit, '[Service]\nExecStart=-/opt/bin/checkpointer recover --boot\n');
    expect(await readUnit(root, name)).toEqual({
      state: 'not armed',
      detail: `${name} would run /opt/bin/checkpointer, which does not exist`,
    });
    put('opt/bin/checkpointer', '');
    expect(await readUnit(root, name)).toEqual({ state: 'not armed', detail: `${name} is installed and not enabled` });
    mkdirSync(join(root, 'etc/systemd/system/kubelet.service.requires'));
    symlinkSync(`../${name}`, join(root, `etc/systemd/system/kubelet.service.requires/${name}`));
    expect(await readUnit(root, name)).toEqual({ state: 'armed', by: 'kubelet.service' });
    expect((await readUnit(undefined, name)).state).toBe('unknown');
  });
});

describe('in a store', () => {
  let host: Host;
  beforeEach(async () => {
    host = await testHost();
    onTestFinished(() => host[Symbol.asyncDispose]());
  });
  const read = async () => readGenerations(host.store, await createDiskSource(host.store, host.manifests).read(), () => false);

  it('the generation that is active is looked into, although a reboot would get another one', async () => {
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:1');
    await checkpointer('recover', '--boot', '--probe-timeout=0', ...host.flags());
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:3');
    const { generations } = await read();
    const looked = [...(generations.get(KEY)?.values() ?? [])].map(({ number, pod }) => [number, pod !== undefined]);
    expect(looked).toEqual([
      [1, true],
      [2, false],
      [3, true],
    ]);
  });

  it('what is retired counts for the size and the damage of the store, too', async () => {
    await host.save('kube-scheduler');
    const before = await read();
    renameSync(
      join(host.store, 'workloads/kube-system.ds.kube-scheduler'),
      join(host.store, 'retired/kube-system.ds.kube-scheduler.1760000000000'),
    );
    const after = await read();
    if (before.store.state !== 'ok' || after.store.state !== 'ok') throw new Error('the store can be read');
    expect([after.store.bytes, after.store.damaged]).toEqual([before.store.bytes, 0]);
    writeFileSync(join(host.store, 'retired/kube-system.ds.kube-scheduler.1760000000000/generations/1/files/keys/tls.key'), 'x');
    expect((await read()).store).toMatchObject({ state: 'ok', damaged: 1 });
  });
});
