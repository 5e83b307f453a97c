// What every build of the daemon has in common, so that the bundle and the executable hold the same code.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import type { BuildOptions, Plugin } from 'esbuild';

/** The version in package.json: the one place where it stands. */
export async function readVersion(): Promise<string> {
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  return version;
}

/** A module of a package that nothing here calls, and by what it would be missed. */
interface LeftOut {
  readonly module: RegExp;
  readonly of: string;
  readonly exports: readonly string[];
}

/**
 * gRPC reads .proto files at run time for its own channelz and ORCA services; prom-client pushes to gateways, gathers the metrics of a cluster of processes and
 * of Node itself; pino writes by way of worker threads. Nothing here does any of it, and what it takes is not loaded. Whoever calls for it is told.
 */
const LEFT_OUT: readonly LeftOut[] = [
  { module: /^@grpc\/proto-loader$/, of: '@grpc/grpc-js', exports: ['loadSync'] },
  { module: /^\.\/lib\/pushgateway$/, of: 'prom-client', exports: [] },
  { module: /^\.\/lib\/cluster$/, of: 'prom-client', exports: [] },
  { module: /^\.\/lib\/defaultMetrics$/, of: 'prom-client', exports: [] },
  { module: /^thread-stream$/, of: 'pino', exports: [] },
];

/** Of gRPC's server the daemon has no use; the embedded node's runtime is one. */
const GRPC_SERVER: LeftOut = { module: /^\.\/server(-credentials|-interceptors)?$/, of: '@grpc/grpc-js', exports: [] };

const leaveOut = (leftOut: readonly LeftOut[]): Plugin => ({
  name: 'leave-out',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path, importer }) => {
      const found = leftOut.find(({ module, of }) => module.test(path) && importer.includes(`/node_modules/${of}/`));
      return found && { path: `${found.of}: ${path}`, namespace: 'left-out', pluginData: found };
    });
    build.onLoad({ filter: /./, namespace: 'left-out' }, ({ path, pluginData }) => {
      const fail = `() => { throw new Error(${JSON.stringify(`${path} is not part of this program`)}); }`;
      const { exports } = pluginData as LeftOut;
      return { contents: `module.exports = ${fail};${exports.map((name) => `module.exports.${name} = ${fail};`).join('')}`, loader: 'js' };
    });
  },
});

/** @param serves whether the program is a gRPC server itself. */
export function bundleOptions(version: string, serves: 'nothing' | 'gRPC' = 'nothing') {
  return {
    bundle: true,
    platform: 'node',
    target: 'node24',
    minify: true,
    keepNames: true,
    legalComments: 'none',
    define: {
      __VERSION__: JSON.stringify(version),
      ...whereKnown('__REVISION__', sourceRevision),
      ...whereKnown('__BUILD_DATE__', () => new Date(sourceDateEpoch() * 1000).toISOString()),
    },
    logLevel: 'warning',
    plugins: [leaveOut(serves === 'gRPC' ? LEFT_OUT : [...LEFT_OUT, GRPC_SERVER])],
  } as const satisfies BuildOptions;
}

/** Outside of a git work tree, and without the variables below, a build does not say what it was made from. */
function whereKnown(name: string, find: () => string): Record<string, string> {
  try {
    return { [name]: JSON.stringify(find()) };
  } catch {
    return {};
  }
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
