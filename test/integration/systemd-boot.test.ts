import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readLeader } from '../../src/status.ts';
import { type Host, testHost } from '../support/host/host.ts';
import { missingForSystemd, powerOn, type Systemd, writeTargets } from '../support/host/systemd.ts';
import { skipLoudly } from '../support/skip.ts';
import { until } from '../support/until.ts';

const ROOT = join(import.meta.dirname, '../..');
const WORKLOADS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];

describe.skipIf(skipLoudly('the boot order on a real systemd', missingForSystemd()))('on a host that boots', () => {
  let root: string;
  let host: Host;
  let systemd: Systemd | undefined;
  let executable: string;

  beforeAll(async () => {
    root = mkdtempSync('/var/lib/pod-checkpointer-test-');
    execFileSync(process.execPath, ['scripts/executable.ts', `--out=${root}`], { cwd: ROOT, stdio: 'pipe' });
    executable = join(root, `checkpointer-linux-${process.arch}`);
    host = await testHost(root);
    for (const name of WORKLOADS) await host.save(name);
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
    const places = host.flags().filter((flag) => !flag.startsWith('--boot-id-file'));
    execFileSync('mkdir', ['-p', join(stage, root)]);
    execFileSync(executable, [
      'install-host',
      `--host-root=${stage}`,
      `--install-path=${executable}-installed`,
      '--node-name=n1',
      ...places,
    ]);
    execFileSync('mv', [join(stage, `${executable}-installed`), `${executable}-installed`]);
    const units = join(stage, 'etc/systemd/system');
    writeTargets(units, ['kubelet.service', 'pod-checkpointer.service']);
    // There is no journal here.
    for (const name of ['pod-checkpointer-boot.service', 'pod-checkpointer.service']) {
      mkdirSync(join(units, `${name}.d`));
      writeFileSync(join(units, `${name}.d/log.conf`), `[Service]\nStandardOutput=append:${root}/log\nStandardError=append:${root}/log\n`);
    }
    const saw = `ls -A ${host.manifests} > ${root}/kubelet-saw; exec sleep 600`;
    writeFileSync(
      join(units, 'kubelet.service'),
      `[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/bin/sh -c '${saw}'\n`,
    );
    systemd = await powerOn(root, units);
  }, 120_000);
  afterAll(() => {
    systemd?.powerOff();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  });

  test('every copy is in place before the kubelet reads its directory', async () => {
    const seen = await until(() => readFile(join(root, 'kubelet-saw'), 'utf8'), 20_000);
    expect(seen.trim().split('\n')).toEqual(WORKLOADS.map((name) => `pod-checkpointer.kube-system.${name}-ds-g1-a1.json`));
    const properties = systemd?.systemctl('show', 'pod-checkpointer-boot.service', '-p', 'Result,ActiveState,ExecMainStatus') ?? '';
    expect(properties.split('\n').sort()).toEqual(['ActiveState=active', 'ExecMainStatus=0', 'Result=success']);
    const at = (name: string) =>
      Number(systemd?.systemctl('show', 'pod-checkpointer-boot.service', '--value', '-p', `ExecMain${name}TimestampMonotonic`)) / 1000;
    console.log(`recover --boot under systemd: ${(at('Exit') - at('Start')).toFixed(0)} ms for ${WORKLOADS.length} workloads`);
  });

  test('the daemon works within its unit, and is started again when it is killed', async () => {
    const leader = await until(() => readLeader(host.store), 20_000);
    expect(leader.where).toBe('host');
    expect(systemd?.systemctl('is-active', 'pod-checkpointer.service')).toBe('active');
    systemd?.systemctl('kill', '--signal=SIGKILL', 'pod-checkpointer.service');
    await until(async () => {
      const next = await readLeader(host.store);
      return next !== undefined && next.since !== leader.since;
    }, 20_000);
  });
});
