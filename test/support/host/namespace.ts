/** The command line in a mount namespace of its own, where a test can mount what it likes and nothing of it is left. Needs root. */
import { spawn, spawnSync } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { PROGRAM_PATH } from '../packages.ts';
import type { Ran } from './host.ts';

const CLI = fileURLToPath(new URL('../../../src/cli.ts', import.meta.url));
const env = { ...process.env, PATH: PROGRAM_PATH };

/** Undefined where one can be had; else what is missing. */
export function missingForMounts(): string | undefined {
  const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /mnt'], { env });
  return status === 0 ? undefined : 'mount namespaces need root and util-linux';
}

/** Runs the shell script `mounts`, to which `args` are $1, $2 …, and then `checkpointer <argv>` to its end; also how long that took, in milliseconds. */
export async function checkpointerWith(mounts: string, args: readonly string[], argv: readonly string[]): Promise<Ran & { ms: number }> {
  const script = `set -e; node=$1 cli=$2 count=$3; shift 3; ${mounts}\nshift $count; exec "$node" "$cli" "$@"`;
  const started = performance.now();
  const child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', process.execPath, CLI, String(args.length), ...args, ...argv], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env,
  });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err, ms: performance.now() - started };
}
