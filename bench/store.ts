/**
 * What a save costs: `node bench/store.ts [directory]`, in the system's temporary directory where none is given. Prints one JSON object.
 *
 * A typical generation of a control plane pod has 8 files (its manifest, its index, 6 files of a Secret) and 20 KiB. Times of a disk mean little by
 * themselves, so the save is compared with one file of the same 20 KiB written and fsynced in the same run, alternating with it. Exits with 1 when a save
 * needs more than 12 fsyncs, or takes longer than 20 such writes: 40 ms where one takes 2 ms.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, open, readFile, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Copy } from '../src/checkpoint/copy-types.ts';
import { prepareStore } from '../src/checkpoint/store/layout.ts';
import { workloadPath } from '../src/checkpoint/store/paths.ts';
import { generationNumbers } from '../src/checkpoint/store/read-workload.ts';
import { pruneGenerations, saveGeneration } from '../src/checkpoint/store/write.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../test/support/store/sample.ts';

const RUNS = 60;
const FSYNC_LIMIT = 12;
/** 12 fsyncs, at the worst one after the other, and what a process needs for its 60 other system calls. */
const RATIO_LIMIT = 20;

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

/** By strace, in a process of its own; undefined where strace is not installed. */
async function countFsyncs(dir: string, store: string): Promise<number | undefined> {
  const trace = join(dir, 'trace');
  const calls = 'fsync,fdatasync,sync,syncfs,sync_file_range';
  const { error } = spawnSync('strace', [
    '-f',
    '-qq',
    '-e',
    `trace=${calls}`,
    '-o',
    trace,
    process.execPath,
    import.meta.filename,
    '--save',
    store,
  ]);
  return error === undefined ? (await readFile(trace, 'utf8')).split('\n').filter((line) => line.includes('sync(')).length : undefined;
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
    const fsyncs = await countFsyncs(dir, store);
    const copy = typicalCopy('x');
    const result = {
      files: copy.files.length + 2,
      fsyncs: fsyncs ?? 'strace is not installed',
      saveMs: round(median(saves)),
      fsyncedWriteMs: round(median(writes)),
      ratio: round(median(saves) / median(writes)),
      runs: RUNS,
      fileSystem: `0x${(await statfs(dir)).type.toString(16)}`,
      limits: { fsyncs: FSYNC_LIMIT, ratio: RATIO_LIMIT },
    };
    console.log(JSON.stringify(result, undefined, 2));
    return (fsyncs ?? 0) > FSYNC_LIMIT || result.ratio > RATIO_LIMIT ? 1 : 0;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

if (process.argv[2] === '--save') await oneSave(process.argv[3] ?? '', 'counted');
else process.exitCode = await bench(process.argv[2] ?? tmpdir());
