import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PLACES, hostUnits } from '../../src/host/units.ts';
import { readLeader } from '../../src/status.ts';
import { CriServer } from '../support/cri/server.ts';
import { type Host, testHost } from '../support/host/host.ts';
import { logOf, missingForSystemd, powerOn, type Systemd, writeTargets } from '../support/host/systemd.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const ROOT = join(import.meta.dirname, '../..');
const KUBELET = join(ROOT, 'test/support/host/kubelet.sh');
const WORKLOADS = ['kube-apiserver', 'kube-proxy', 'kube-vip'];

describe.skipIf(skipLoudly('the boot order on a real systemd', missingForSystemd()))('on a host that boots', () => {
  let root: string;
  let host: Host;
  /** Another disk, for a unit of its own. */
  let second: Host;
  let runtime: CriServer;
  let systemd: Systemd;
  let kubeletLock: string;

  const show = (unit: string, property: string) => systemd.systemctl('show', unit, '--value', '-p', property);
  const at = (unit: string, event: string) => Number(show(unit, `ExecMain${event}TimestampMonotonic`)) / 1000;

  beforeAll(async () => {
    root = mkdtempSync('/var/lib/pod-checkpointer-test-');
    execFileSync(process.execPath, ['scripts/executable.ts', `--out=${root}`], { cwd: ROOT, stdio: 'pipe' });
    const executable = join(root, `checkpointer-linux-${process.arch}`);
    host = await testHost(root);
    second = await testHost(root);
    for (const name of WORKLOADS) await host.save(name);
    await second.save('kube-apiserver');
    // As the kubelet's own, beside everything else that the units may write to.
    await mkdir(join(root, 'kubernetes'));
    await rename(host.manifests, join(root, 'kubernetes/manifests'));
    kubeletLock = join(host.dir, 'kubelet.lock');
    runtime = new CriServer(join(root, 'cri.sock'));
    await runtime.start();
    const config = {
      'current-context': 'c',
      contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
      // Nothing listens at port 1: the only control plane is down.
      clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:1' } }],
      users: [{ name: 'u', user: { token: 't' } }],
    };
    writeFileSync(join(host.dir, 'kubelet.conf'), JSON.stringify(config));

    // The executable installs itself, as from a container with the host's root mounted.
    const stage = join(root, 'stage');
    execFileSync('mkdir', ['-p', join(stage, root)]);
    execFileSync(executable, [
      'install-host',
      `--host-root=${stage}`,
      `--install-path=${executable}-installed`,
      '--node-name=n1',
      '--guard',
      `--kubelet-lock-file=${kubeletLock}`,
      `--container-runtime-endpoint=unix://${runtime.socket}`,
      `--checkpoint-dir=${host.store}`,
      `--pod-manifest-path=${manifests()}`,
      `--lock-file=${host.lockFile}`,
      `--kubeconfig=${host.dir}/kubelet.conf`,
    ]);
    execFileSync('mv', [join(stage, `${executable}-installed`), `${executable}-installed`]);
    const units = join(stage, 'etc/systemd/system');
    const [credential] = hostUnits(
      {
        ...DEFAULT_PLACES,
        executable: `${executable}-installed`,
        checkpointDir: second.store,
        podManifestPath: second.manifests,
        lockFile: second.lockFile,
        kubeconfig: join(second.dir, 'missing.conf'),
        loadCredential: true,
      },
      false,
    );
    writeFileSync(join(units, 'with-credential.service'), credential?.text ?? '');
    writeTargets(units, ['kubelet.service', 'pod-checkpointer.service', 'kubelet-guard.service']);
    // There is no journal here.
    for (const name of ['pod-checkpointer-boot.service', 'pod-checkpointer.service', 'kubelet-guard.service', 'with-credential.service'])
      dropIn(units, name, logOf(root, name));
    // This systemd is in a PID namespace of its own.
    dropIn(units, 'kubelet-guard.service', '[Service]\nEnvironment=CHECKPOINTER_SAME_PID_NAMESPACE=1 CHECKPOINTER_FREE_FOR=1s\n');
    const saw = `ls -A ${manifests()} > ${root}/kubelet-saw; exec ${KUBELET} ${kubeletLock}`;
    writeFileSync(
      join(units, 'kubelet.service'),
      `[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/bin/sh -c '${saw}'\nRestart=on-failure\n`,
    );
    systemd = await powerOn(root, units);
  }, 120_000);
  afterAll(() => {
    systemd?.powerOff();
    runtime?.stop();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  });

  const manifests = () => join(root, 'kubernetes/manifests');

  test('every copy is in place before the kubelet reads its directory', async () => {
    const seen = await until(() => readFile(join(root, 'kubelet-saw'), 'utf8'), 20_000);
    expect(seen.trim().split('\n')).toEqual(WORKLOADS.map((name) => `pod-checkpointer.kube-system.${name}-ds-g1-a1.json`));
    const unit = 'pod-checkpointer-boot.service';
    expect([show(unit, 'Result'), show(unit, 'ActiveState'), show(unit, 'ExecMainStatus')]).toEqual(['success', 'active', '0']);
    expect(at('kubelet.service', 'Start')).toBeGreaterThan(at(unit, 'Exit'));
    console.log(`recover --boot under systemd: ${(at(unit, 'Exit') - at(unit, 'Start')).toFixed(0)} ms for ${WORKLOADS.length} workloads`);
  });

  test('the daemon works within its unit, and is started again when it is killed', async () => {
    const leader = await until(() => readLeader(host.store), 20_000);
    expect(leader.where).toBe('host');
    expect(systemd.systemctl('is-active', 'pod-checkpointer.service')).toBe('active');
    systemd.systemctl('kill', '--signal=SIGKILL', 'pod-checkpointer.service');
    await until(async () => {
      const next = await readLeader(host.store);
      return next !== undefined && next.since !== leader.since;
    }, 20_000);
  });

  test('the daemon writes into a manifest directory that was removed and made anew under it', async () => {
    const copies = () => readdir(manifests()).then((files) => files.filter((file) => file.startsWith('pod-checkpointer.')));
    const pid = await until(async () =>
      (await copies()).length === WORKLOADS.length ? show('pod-checkpointer.service', 'MainPID') : false,
    );
    await rm(manifests(), { recursive: true });
    await mkdir(manifests());
    await until(async () => (await copies()).length === WORKLOADS.length, 20_000);
    // It was not started anew for that.
    expect(show('pod-checkpointer.service', 'MainPID')).toBe(pid);
  });

  test('the guard starts the kubelet again, which left with status 0, as one does by contention', async () => {
    const pid = await until(() => (show('kubelet.service', 'ActiveState') === 'active' ? show('kubelet.service', 'MainPID') : false));
    systemd.systemctl('kill', '--signal=SIGTERM', 'kubelet.service');
    await until(() => show('kubelet.service', 'ActiveState') === 'inactive');
    expect(show('kubelet.service', 'Result')).toBe('success');
    await until(() => !['0', pid].includes(show('kubelet.service', 'MainPID')), 20_000);
    const log = await until(async () => {
      const text = await readFile(join(root, 'kubelet-guard.service.log'), 'utf8');
      return text.includes('a kubelet holds the lock') ? text : false;
    });
    expect(log).toMatch(/no kubelet holds the lock: starting one/);
    expect(show('kubelet-guard.service', 'NRestarts')).toBe('0');
  });

  test('with a credential that is not there the copies are put in place all the same', async () => {
    systemd.systemctl('start', 'with-credential.service');
    expect(show('with-credential.service', 'Result')).toBe('success');
    expect(await second.active()).toEqual(['pod-checkpointer.kube-system.kube-apiserver-ds-g1-a1.json']);
    expect(await readFile(join(root, 'with-credential.service.log'), 'utf8')).toMatch(/no control plane answers \(.*kubeconfig/);
  });
});

function dropIn(units: string, name: string, text: string): void {
  mkdirSync(join(units, `${name}.d`), { recursive: true });
  writeFileSync(join(units, `${name}.d/${text.length}.conf`), text);
}
