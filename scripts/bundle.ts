// What every build of the daemon has in common, so that the bundle and the executable hold the same code.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { BuildOptions, Plugin } from 'esbuild';

/** The version in package.json: the one place where it stands. */
export async function readVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  return version;
}

/**
 * gRPC reads .proto files at run time for its own channelz and ORCA services, which nothing here offers. Without the parser that it has for them a fifth
 * of the bundle is not there to be loaded; whoever called for it would be told.
 */
const withoutProtoFiles: Plugin = {
  name: 'without-proto-files',
  setup(build) {
    build.onResolve({ filter: /^@grpc\/proto-loader$/ }, ({ path }) => ({ path, namespace: 'left-out' }));
    build.onLoad({ filter: /.*/, namespace: 'left-out' }, ({ path }) => ({
      contents: `exports.loadSync = () => { throw new Error('${path} is not part of this program'); };`,
      loader: 'js',
    }));
  },
};

export function bundleOptions(version: string) {
  return {
    bundle: true,
    platform: 'node',
    target: 'node24',
    minify: true,
    keepNames: true,
    legalComments: 'none',
    define: { __VERSION__: JSON.stringify(version) },
    logLevel: 'warning',
    plugins: [withoutProtoFiles],
  } as const satisfies BuildOptions;
}

/**
 * Seconds since the epoch that stand for "when" in everything a build writes (https://reproducible-builds.org/specs/source-date-epoch/):
 * SOURCE_DATE_EPOCH, else the date of the commit. Throws where there is neither.
 */
export function sourceDateEpoch(): number {
  const given = process.env['SOURCE_DATE_EPOCH'];
  if (given !== undefined && !/^[0-9]{1,12}$/.test(given)) throw new Error(`SOURCE_DATE_EPOCH=${given}: expected seconds since the epoch`);
  return Number(given ?? git('log', '-1', '--format=%ct', 'HEAD'));
}

/** The commit that is checked out. */
export function sourceRevision(): string {
  return process.env['SOURCE_REVISION'] ?? git('rev-parse', 'HEAD');
}

function git(...args: readonly string[]): string {
  try {
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
  } catch {
    throw new Error('not a git work tree: set SOURCE_DATE_EPOCH (seconds) and SOURCE_REVISION (commit)');
  }
}
