// Makes sure that the programs which tests run are there: installs their Debian packages as root, and says loudly which tests are skipped where it
// cannot. Never fails: a test run without them is worth having.
import { spawnSync } from 'node:child_process';
import { findProgram, missingPackages } from '../test/support/packages.ts';

const APT = ['-q', '-o', 'Dpkg::Use-Pty=0', '-o', 'DPkg::Lock::Timeout=120', '-o', 'Acquire::Retries=3'];

const wanted = missingPackages().map(({ name }) => name);
if (wanted.length > 0) {
  const reason = install(wanted);
  const missing = missingPackages();
  if (missing.length > 0) {
    const tests = [...new Set(missing.map((one) => one.tests))];
    console.error('='.repeat(100));
    console.error(`NOT INSTALLED: ${missing.map(({ name }) => name).join(', ')} (${reason ?? 'the packages do not have the programs'})`);
    for (const test of tests) console.error(`SKIPPED TESTS: ${test}`);
    console.error(`To run them, as root: apt-get install --no-install-recommends ${missing.map(({ name }) => name).join(' ')}`);
    console.error('='.repeat(100));
  }
}

/** Why it could not, undefined if it could. */
function install(packages: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  if (findProgram('apt-get') === undefined) return 'no apt-get on this machine';
  console.error(`Installing for the tests: ${packages.join(' ')}`);
  return apt('update') ?? apt('install', '--yes', '--no-install-recommends', ...packages);
}

function apt(command: string, ...args: readonly string[]): string | undefined {
  const { status, signal, error } = spawnSync('apt-get', [...APT, command, ...args], {
    // Its progress belongs on stderr, as everything that is not the result of a command.
    stdio: ['ignore', 2, 2],
    // In runlevel 1 no package starts its service: of prometheus only promtool is wanted.
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' },
    timeout: 300_000,
  });
  if (error !== undefined) return `apt-get ${command}: ${error.message}`;
  return status === 0 ? undefined : `apt-get ${command} ended with ${status ?? signal}`;
}
