// A release made of the work tree as it is, in a directory of its own.
import { execFile, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { missingForContainerd } from './containerd/containerd.ts';
import { findProgram, missingPackages, PROGRAM_PATH } from './packages.ts';

const execute = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');

/** What keeps an image from being built here, undefined when nothing does. */
export function missingForRelease(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  const missing = missingPackages(['buildah', 'busybox-static']).map(({ name }) => name);
  if (missing.length > 0) return `not installed: ${missing.join(', ')}`;
  // buildah makes namespaces of its own, and chroots.
  const { status, stderr } = spawnSync('unshare', ['--mount', 'true'], { encoding: 'utf8' });
  return status === 0 ? missingForContainerd() : `no mount namespaces: ${stderr.trim()}`;
}

/** Copies the sources to `directory` and makes a release there, with further options of scripts/release.ts. Returns the directory with what it holds. */
export async function makeRelease(directory: string, ...options: readonly string[]): Promise<string> {
  // Tracked files, and new ones that are not ignored.
  const { stdout } = await execute('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: ROOT });
  for (const file of new Set(stdout.split('\0').filter((name) => name !== '' && name !== 'node_modules'))) {
    if (!existsSync(join(ROOT, file))) continue;
    mkdirSync(join(directory, dirname(file)), { recursive: true });
    cpSync(join(ROOT, file), join(directory, file));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
  const temporary = join(directory, 'tmp');
  mkdirSync(temporary);
  const env = {
    ...process.env,
    PATH: PROGRAM_PATH,
    TMPDIR: temporary,
    BUSYBOX: findProgram('busybox', true),
    SOURCE_DATE_EPOCH: '1760000000',
    SOURCE_REVISION: '0123456789abcdef0123456789abcdef01234567',
  };
  const image = '--image=registry.example.org/tools/pod-checkpointer';
  await execute(process.execPath, ['scripts/release.ts', '--machine-base', '--out=release', image, ...options], { cwd: directory, env });
  return join(directory, 'release');
}
