/**
 * What a save costs: `node bench/store.ts [directory]`, in the system's temporary directory where none is given. Prints one JSON object.
 *
 * A typical generation of a control plane pod has 8 files (its manifest, its index, 6 files of a Secret) and 20 KiB. Times of a disk mean little by
 * themselves, so the save is compared with one file of the same 20 KiB written and fsynced in the same run, alternating with it. Exits with 1 when a save
 * needs more than 12 fsyncs, or takes longer than its share of 40 ms on the disk that the limit was set for.
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Copy } from '../src/checkpoint/copy-types.ts';
import { prepareStore } from '../src/checkpoint/store/layout.ts';
import { workloadPath } from '../src/checkpoint/store/paths.ts';
import { generationNumbers } from '../src/checkpoint/store/read.ts';
import { pruneGenerations, saveGeneration } from '../src/checkpoint/store/write.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../test/support/store/sample.ts';

const RUNS = 60;
const FSYNC_LIMIT = 12;
/** A save has 12 fsyncs that follow one another at the worst; the rest is what a process needs for 60 other system calls. */
const RATIO_LIMIT = 20;
const TIME_LIMIT_MS = 40;

/** 6 files of a Secret in one volume; with manifest and index 8 files. */
function typicalCopy(content: string): Copy {
  const copy = sampleCopy(content, { files: 6, bytesEach: 2_900 });
  return {
    ...copy,
    files: copy.files.filter(({ path }) => path.startsWith('secrets/')),
    directories: copy.directories.filter(({ path }) => path === 'secrets'),
  };
}

async function oneSave(store: string, content: string): Promise<number> {
  const started = performance.now();
  await saveGeneration(store, SCHEDULER, typicalCopy(content), ABOUT);
  return performance.now() - started;
}

async function oneWrite(path: string, bytes: Buffer): Promise<number> {
  const started = performance.now();
  const file = await open(path, 'wx');
  await file.write(bytes);
  await file.sync();
  await file.close();
  return performance.now() - started;
}

/** By strace, in a process of its own; undefined without it. */
function countFsyncs(store: string): number | undefined {
  try {
    const trace = execFileSync(
      'strace',
      [
        '-f',
        '-qq',
        '-e',
        'trace=fsync,fdatasync,sync,syncfs',
        '-o',
        '/dev/stdout',
        process.execPath,
        import.meta.filename,
        '--save',
        store,
      ],
      {
        encoding: 'utf8',
      },
    );
    return trace.split('\n').filter((line) => /(fsync|fdatasync|sync|syncfs)\(/.test(line)).length;
  } catch {
    return undefined;
  }
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const round = (value: number): number => Math.round(value * 1000) / 1000;

async function bench(where: string): Promise<number> {
  const dir = await mkdtemp(join(where, 'store-bench-'));
  try {
    const store = join(dir, 'store');
    await prepareStore(store);
    const saves: number[] = [];
    const writes: number[] = [];
    const bytes = Buffer.alloc(20 * 1024, 'x');
    for (let number = -5; number < RUNS; number++) {
      const write = await oneWrite(join(dir, `single-${number}`), bytes);
      const save = await oneSave(store, `content ${number}`);
      // The first ones load code and make directories.
      if (number < 0) continue;
      writes.push(write);
      saves.push(save);
      const numbers = await generationNumbers(workloadPath(store, SCHEDULER));
      await pruneGenerations(store, SCHEDULER, numbers.slice(0, -3));
    }
    const fsyncs = countFsyncs(store);
    const copy = typicalCopy('x');
    const result = {
      files: copy.files.length + 2,
      fsyncs: fsyncs ?? 'strace is not installed',
      saveMs: round(median(saves)),
      fsyncedWriteMs: round(median(writes)),
      ratio: round(median(saves) / median(writes)),
      runs: RUNS,
      fileSystem: `0x${(await statfs(dir)).type.toString(16)}`,
      limits: { fsyncs: FSYNC_LIMIT, ratio: RATIO_LIMIT, saveMs: TIME_LIMIT_MS },
    };
    console.log(JSON.stringify(result, undefined, 2));
    const slow = result.ratio > RATIO_LIMIT && result.saveMs > TIME_LIMIT_MS;
    return (fsyncs ?? 0) > FSYNC_LIMIT || slow ? 1 : 0;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

if (process.argv[2] === '--save') await oneSave(process.argv[3] ?? '', 'counted');
else process.exitCode = await bench(process.argv[2] ?? tmpdir());
