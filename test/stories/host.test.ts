/** The checkpointer on the host, beside the one in a pod, on an embedded node; and the whole way from power on to an API server under a real systemd. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DaemonLine, type DaemonLog, followDaemons } from '../../src/embedded/demo/daemon-log.ts';
import { install, rotateSecret } from '../../src/embedded/demo/story.ts';
import { checkpointerFlags } from '../../src/embedded/node/control-plane.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';
import { readLeader } from '../../src/status.ts';
import { logOf, missingForSystemd, powerOn, type Systemd, writeTargets } from '../support/host/systemd.ts';
import { skipLoudly } from '../support/skip.ts';

const ROOT = join(import.meta.dirname, '../..');
const EMBEDDED = [process.execPath, join(ROOT, 'dist/embedded.js')];
const CHECKPOINTER = [process.execPath, join(ROOT, 'dist/checkpointer.js')];
const SELF = '--self=kube-system/DaemonSet/pod-checkpointer';

describe('the checkpointer on the host', () => {
  let root: string;
  let node: EmbeddedNode;
  let pods: DaemonLog;
  let systemd: Systemd | undefined;

  beforeAll(async () => {
    root = mkdtempSync('/var/lib/cp-test-');
    node = await createNode({
      dir: join(root, 'node'),
      embedded: EMBEDDED,
      checkpointer: CHECKPOINTER,
      checkpointerFlags: ['--prove-after=2s', '--stable-for=2s'],
    });
    pods = followDaemons(node, () => undefined);
    await install(node);
  }, 120_000);
  afterAll(async () => {
    systemd?.powerOff();
    await pods.stop();
    await node.destroy();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  });

  const leader = () => readLeader(node.layout.checkpointDir);
  const onHost = (): DaemonLine[] =>
    node.timeline.all().flatMap((event) => {
      if (event.kind !== 'log' || event.program !== 'checkpointer' || !event.line.startsWith('{')) return [];
      const fields: { time: string; msg: string } = JSON.parse(event.line);
      return [{ at: Date.parse(fields.time), msg: fields.msg, fields }];
    });
  const saves = (lines: readonly DaemonLine[], since: number) => lines.filter(({ at, msg }) => msg === 'save' && at >= since).length;

  test('waits while one in a pod leads, leads when those are killed, and one of them writes at a time', async () => {
    const first = await node.waitFor('a leader in a pod', leader);
    expect(first.where).toContain('pod');
    // As under systemd, which says so to its services.
    const host = node.start(
      'checkpointer',
      [...CHECKPOINTER, 'run', '--node-name=master-1', ...checkpointerFlags(node.layout, node.ports), SELF],
      {
        INVOCATION_ID: 'x',
      },
    );
    await node.waitFor('the host waits', () => onHost().some(({ msg }) => msg.includes('another checkpointer leads')));
    const together = Date.now();
    await rotateSecret(node, 3);
    await node.waitFor('the pod has saved', () => saves(pods.lines(), together) > 0);
    expect(saves(onHost(), 0)).toBe(0);

    // In its pod and in its static copy: the host is the third, at the latest.
    const leading = (since: number) => [...pods.lines(), ...onHost()].find(({ at, msg }) => msg === 'leading' && at >= since);
    const took: number[] = [];
    while (!onHost().some(({ msg }) => msg === 'leading') && took.length < 3) {
      const { pid } = await node.waitFor('a leader', leader);
      const killed = Date.now();
      process.kill(pid, 'SIGKILL');
      const next = await node.waitFor('the next one leads', () => leading(killed));
      took.push(next.at - killed);
      await node.waitFor('it says so', async () => (await leader())?.pid !== pid);
    }
    expect(onHost().filter(({ msg }) => msg === 'leading')).toHaveLength(1);
    expect(Math.max(...took)).toBeLessThanOrEqual(1_000);
    const alone = Date.now();
    await rotateSecret(node, 2);
    await node.waitFor('the one that leads has saved', () => saves(onHost(), alone) + saves(pods.lines(), alone) > 0);
    expect(Math.min(saves(onHost(), alone), saves(pods.lines(), alone))).toBe(0);

    const ended = Date.now();
    await host.end('SIGKILL');
    await node.waitFor('one in a pod leads again', async () => (await leader())?.where !== 'host');
    took.push((leading(ended)?.at ?? ended) - ended);
    console.log(`leader killed → the next one leads, in pods and on the host: ${took.join(', ')} ms`);
    const again = Date.now();
    await rotateSecret(node, 2);
    await node.waitFor('the pod has saved', () => saves(pods.lines(), again) > 0);
  }, 90_000);

  test('goes on with a kubeconfig that is replaced while it runs, to wherever that leads', async () => {
    const text = await readFile(node.layout.kubeletConf, 'utf8');
    await writeFile(`${node.layout.kubeletConf}.new`, text.replace('https://127.0.0.1:', 'https://localhost:'));
    const replaced = Date.now();
    await rename(`${node.layout.kubeletConf}.new`, node.layout.kubeletConf);
    const { fields } = await node.waitFor('the daemon says so', () =>
      pods.lines().find(({ at, msg }) => at >= replaced && msg.startsWith('the kubeconfig changed')),
    );
    expect(fields['to']).toMatch(/^https:\/\/localhost:/);
    // What changes in the API is seen over the new connections, and saved.
    await rotateSecret(node, 2);
  }, 60_000);

  describe.skipIf(skipLoudly('from power on to the API server on a real systemd', missingForSystemd()))('under systemd', () => {
    const show = (unit: string, property: string) => systemd?.systemctl('show', unit, '--value', '-p', property) ?? '';
    const at = (unit: string, event: string) => Number(show(unit, `ExecMain${event}TimestampMonotonic`)) / 1000;

    test('power on → boot unit → kubelet → API server: its copy lies there before the kubelet is started, and those that only ask it stay away', async () => {
      await node.powerOff();
      await node.waitFor('/readyz is down', () => node.readyz.up() === false);
      const { layout } = node;
      // What a boot finds in memory.
      await rm(layout.run, { recursive: true });
      await mkdir(join(layout.run, 'lock'), { recursive: true });
      await writeFile(layout.bootIdFile, `${crypto.randomUUID()}\n`);
      const units = join(root, 'units');
      installUnits(units);
      const before = Date.now();
      systemd = await powerOn(root, units);
      await node.waitFor('/readyz answers', () => node.readyz.up() === true, 60_000);
      const ready = node.readyz.transitions().find((transition) => transition.up && transition.at >= before)?.at ?? Number.NaN;

      const boot = 'pod-checkpointer-boot.service';
      expect([show(boot, 'Result'), show(boot, 'ExecMainStatus')]).toEqual(['success', '0']);
      const [bootEnds, kubeletStarts] = [at(boot, 'Exit'), at('kubelet.service', 'Start')];
      expect(kubeletStarts).toBeGreaterThan(bootEnds);
      // What lay there at that moment, written in this boot: by the time of this line copies may have made way for their parents.
      const saw = (await readFile(join(root, 'kubelet-saw'), 'utf8')).trim().split('\n');
      const [file, changed] = saw.find((line) => line.includes('.kube-apiserver-'))?.split(' ') ?? [];
      expect(file).toBeDefined();
      expect(Number(changed) * 1000, file).toBeGreaterThan(before - 50);
      expect(saw.filter((line) => /controller-manager|scheduler/.test(line))).toEqual([]);
      console.log(
        `under systemd: boot unit ${(bootEnds - at(boot, 'Start')).toFixed(0)} ms, its end → kubelet's start ${(kubeletStarts - bootEnds).toFixed(0)} ms, power on → API server ${ready - before} ms`,
      );
    }, 120_000);

    test('the daemon of the unit was there first, and lets the one in a pod lead', async () => {
      const log = () => readFile(join(root, 'pod-checkpointer.service.log'), 'utf8');
      await node.waitFor('the unit waits', async () => (await log()).includes('another checkpointer leads'));
      expect(await log()).toContain('it may lead');
      expect(await log()).not.toContain('"msg":"leading"');
      await node.waitFor('one in a pod leads', async () => (await leader())?.where.includes('pod'));
    }, 60_000);

    /** The units of an installation, and the runtime and the kubelet as such. */
    function installUnits(units: string): void {
      const { layout, name } = node;
      execFileSync(process.execPath, ['scripts/executable.ts', `--out=${root}`], { cwd: ROOT, stdio: 'pipe' });
      const executable = join(root, `checkpointer-linux-${process.arch}`);
      const stage = join(root, 'stage');
      execFileSync('mkdir', ['-p', join(stage, root)]);
      execFileSync(executable, [
        'install-host',
        `--host-root=${stage}`,
        `--install-path=${root}/installed`,
        `--node-name=${name}`,
        ...checkpointerFlags(layout, node.ports).filter((flag) => !flag.startsWith('--metrics-address')),
      ]);
      execFileSync('mv', [join(stage, root, 'installed'), join(root, 'installed')]);
      execFileSync('mv', [join(stage, 'etc/systemd/system'), units]);
      const unit = (file: string, section: string, command: readonly string[]) =>
        writeFileSync(join(units, file), `[Unit]\n${section}\n[Service]\nExecStart=${command.join(' ')}\n`);
      unit('containerd.service', '', [
        ...[...EMBEDDED, 'cri'],
        ...[`--socket=${layout.criSocket}`, `--state-dir=${layout.criState}`, `--images=${layout.images}`],
      ]);
      unit('kubelet.service', 'After=containerd.service', [
        ...[...EMBEDDED, 'kubelet', `--kubeconfig=${layout.kubeletConf}`, `--node-name=${name}`, `--pod-manifest-path=${layout.manifests}`],
        ...[`--container-runtime-endpoint=unix://${layout.criSocket}`, `--root-dir=${layout.kubelet}`, `--pod-logs-dir=${layout.podLogs}`],
        ...[`--boot-id-file=${layout.bootIdFile}`, `--lock-file=${layout.kubeletLockFile}`],
      ]);
      const look = join(root, 'look.sh');
      writeFileSync(look, `find ${layout.manifests} -name 'pod-checkpointer.*' -printf '%f %C@\\n' > ${root}/kubelet-saw\n`);
      writeTargets(units, ['containerd.service', 'kubelet.service', 'pod-checkpointer.service']);
      for (const file of ['containerd.service', 'kubelet.service', 'pod-checkpointer-boot.service', 'pod-checkpointer.service']) {
        mkdirSync(join(units, `${file}.d`), { recursive: true });
        writeFileSync(
          join(units, `${file}.d/test.conf`),
          `${logOf(root, file)}Environment=CHECKPOINTER_BOOT_ID_FILE=${layout.bootIdFile} PATH=/usr/sbin:/usr/bin:/sbin:/bin\n`,
        );
      }
      writeFileSync(join(units, 'kubelet.service.d/look.conf'), `[Service]\nExecStartPre=/bin/sh ${look}\n`);
    }
  });
});
