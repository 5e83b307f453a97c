import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_PLACES, hostUnits } from '../../src/host/units.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

/** Overall exposure by `systemd-analyze security`, 0 to 10, at the most. systemd 252 gives these; another version weighs a little differently. */
const EXPOSURE: Readonly<Record<string, number>> = {
  'pod-checkpointer-boot.service': 2.2,
  'pod-checkpointer.service': 2.4,
  'kubelet-guard.service': 0.9,
};
const TOLERANCE = 0.5;

const analyze = findProgram('systemd-analyze');
const missing = analyze === undefined ? 'no systemd-analyze; apt-get install systemd' : undefined;

test.each(hostUnits(DEFAULT_PLACES, true))('manifests/systemd/$name is what install-host writes', ({ name, text }) => {
  expect(readFileSync(join(import.meta.dirname, '../../manifests/systemd', name), 'utf8')).toBe(text);
});

test('every unit takes settings of the operator from the same file', () => {
  for (const { name, text } of hostUnits(DEFAULT_PLACES, true))
    expect(text, name).toContain('\nEnvironmentFile=-/etc/default/pod-checkpointer\n');
});

test('with --load-credential the kubeconfig comes from systemd', () => {
  for (const { name, text } of hostUnits({ ...DEFAULT_PLACES, loadCredential: true }, false)) {
    expect(text, name).toContain('LoadCredential=kubeconfig:/etc/kubernetes/kubelet.conf');
    expect(text, name).toContain('--kubeconfig=%d/kubeconfig');
    // Of one that is missing it is the default: systemd would not start the unit otherwise.
    expect(text, name).toContain('SetCredential=kubeconfig:');
  }
});

test('every option of a unit is one that the command has', () => {
  for (const { text } of hostUnits(DEFAULT_PLACES, true)) {
    const [, command = '', rest = ''] = /^ExecStart=\S+ (\S+)(.*)$/m.exec(text) ?? [];
    const help = execFileSync(process.execPath, [join(import.meta.dirname, '../../src/cli.ts'), command, '--help'], { encoding: 'utf8' });
    for (const [, option] of rest.matchAll(/ (--[a-z-]+)/g)) expect(help, `${command} ${option}`).toContain(`${option} `);
  }
});

describe.skipIf(skipLoudly('systemd-analyze of the units', missing))('systemd', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'units-'));
    const executable = join(dir, 'checkpointer');
    writeFileSync(executable, '');
    chmodSync(executable, 0o755);
    for (const { name, text } of hostUnits({ ...DEFAULT_PLACES, executable }, true)) writeFileSync(join(dir, name), text);
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test.each(hostUnits(DEFAULT_PLACES, true))('finds nothing wrong with $name', ({ name }) => {
    const { status, stderr } = spawnSync(analyze ?? '', ['verify', '--man=no', join(dir, name)], { encoding: 'utf8' });
    expect(stderr.split('\n').filter((line) => line.includes(name))).toEqual([]);
    expect(status).toBe(0);
  });

  test.each(hostUnits(DEFAULT_PLACES, true))('finds $name as little exposed as recorded', ({ name }) => {
    const { stdout } = spawnSync(analyze ?? '', ['security', '--offline=true', '--no-pager', join(dir, name)], { encoding: 'utf8' });
    const exposure = Number(/Overall exposure level for \S+: ([0-9.]+)/.exec(stdout)?.[1]);
    console.log(`systemd-analyze security ${name}: ${exposure}`);
    expect(exposure).toBeLessThanOrEqual((EXPOSURE[name] ?? 0) + TOLERANCE);
  });
});
