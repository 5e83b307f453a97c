import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1DaemonSet } from '@kubernetes/client-node';
import { load } from 'js-yaml';
import { describe, expect, onTestFinished, test } from 'vitest';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

const ROOT = join(import.meta.dirname, '../..');
const daemonSet = load(readFileSync(join(ROOT, 'manifests/base/daemonset.yaml'), 'utf8')) as V1DaemonSet;
const GIVEN = daemonSet.spec?.template.spec?.containers[0]?.securityContext?.capabilities?.add ?? [];

/** Undefined where a program can be started with fewer capabilities. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  if (findProgram('setpriv') === undefined) return 'no setpriv(1): install util-linux';
  const { status, stderr } = spawnSync('setpriv', ['--bounding-set=-all', 'true'], { encoding: 'utf8' });
  return status === 0 ? undefined : `setpriv: ${stderr.trim()}`;
}

/** Saves, verifies, retires and removes files that belong to somebody else, as root with these capabilities alone. */
function wholeLife(capabilities: readonly string[]): { readonly status: number | null; readonly out: string; readonly err: string } {
  const directory = mkdtempSync(join(tmpdir(), 'capabilities-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  const bounding = ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',');
  const program = [process.execPath, join(ROOT, 'test/support/store/whole-life.ts'), join(directory, 'store')];
  const { status, stdout, stderr } = spawnSync('setpriv', [`--bounding-set=${bounding}`, '--inh-caps=-all', ...program], {
    encoding: 'utf8',
  });
  return { status, out: stdout, err: stderr };
}

describe.skipIf(skipLoudly('the capabilities of the DaemonSet', missing()))('the capabilities that the DaemonSet gives', () => {
  test('are enough to keep files whoever they belong to', () => {
    expect(wholeLife(GIVEN)).toEqual({ status: 0, out: '2750 1000:2000, 400 1000:2000', err: '' });
  });

  test.each([
    ['CHOWN', 'EPERM: operation not permitted, fchown'],
    ['DAC_OVERRIDE', 'tls.key cannot be read: EACCES'],
    ['FOWNER', 'EPERM: operation not permitted, fchmod'],
    ['FSETID', 'keys has another mode or owner than when it was written'],
  ])('without %s it fails', (name, error) => {
    expect(GIVEN).toContain(name);
    const { status, err } = wholeLife(GIVEN.filter((other) => other !== name));
    expect(status).not.toBe(0);
    expect(err).toContain(error);
  });
});
