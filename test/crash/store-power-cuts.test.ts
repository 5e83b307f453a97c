/**
 * Power cuts at the block level: while a store on ext4 and on XFS is changed without pause, what its disk holds is taken at random instants, mounted, and
 * read. CHECKPOINTER_POWER_CUTS says how many cuts (200 without it), half of them on each file system.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { type CrashDisk, createCrashDisk, type FileSystem, missingForCrashDisks } from '../support/store/crash-disk.ts';
import { type Look, look } from '../support/store/look.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';
import { until } from '../support/until.ts';

const CUTS = Number(process.env['CHECKPOINTER_POWER_CUTS'] ?? 200);
/** Between two cuts, in milliseconds: a change takes a few. */
const PAUSE = 20;

let dir: string;
let program: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'power-cuts-'));
  program = join(dir, 'writer.cjs');
  const entryPoints = [join(import.meta.dirname, '../support/store/writer.ts')];
  await build({ entryPoints, bundle: true, platform: 'node', format: 'cjs', target: 'node24', outfile: program, logLevel: 'error' });
});

afterAll(() => rm(dir, { recursive: true, force: true }));

/** What the writer said was done. */
interface Acknowledged {
  saved: number;
  proven: number;
  activated: number;
}

class Writer {
  readonly acknowledged: Acknowledged = { saved: 0, proven: 0, activated: 0 };
  readonly #child: ChildProcess;

  constructor(store: string, wrapper: readonly string[] = []) {
    const [command, ...args] = [...wrapper, process.execPath, program, store];
    // A group of its own, so that what it wraps ends with it.
    const child = spawn(command ?? '', args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
    createInterface({ input: child.stdout }).on('line', (line) => {
      const [, what, number] = /^(saved|proven|activated) ([0-9]+)$/.exec(line) ?? [];
      if (what !== undefined) this.acknowledged[what as keyof Acknowledged] = Number(number);
    });
    this.#child = child;
  }

  get ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async stop(): Promise<void> {
    if (this.ended || this.#child.pid === undefined) return;
    const closed = once(this.#child, 'close');
    process.kill(-this.#child.pid, 'SIGKILL');
    await closed;
  }
}

/** What was acknowledged and is not there. Throws when anything in the store is not whole. */
function lost({ saved, proven, activated }: Acknowledged, found: Look): string[] {
  return [
    ...(Number(found.newest ?? 0) < saved ? [`save ${saved}: the newest is ${found.newest}`] : []),
    ...(proven > 0 && Number(found.serves ?? 0) < proven ? [`proof ${proven}: what serves is ${found.serves}`] : []),
    ...(found.activations < activated ? [`activation ${activated}: the count is ${found.activations}`] : []),
  ];
}

/**
 * Everything that is there, verified byte by byte, the retired workloads too. The workload is out of the store's `workloads` for the moment between its
 * retirement and its revival: then what was saved is there.
 */
async function lookAfterCut(store: string): Promise<Look> {
  const found = await look(store, SCHEDULER);
  const retired = found.retired.map(Number);
  return found.newest !== undefined || retired.length === 0
    ? found
    : { ...found, newest: String(Math.max(...retired)), serves: String(Math.max(...retired)), activations: Number.POSITIVE_INFINITY };
}

async function cutsOn(disk: CrashDisk, count: number): Promise<{ readonly saves: number; readonly later: number }> {
  const store = join(disk.path, 'store');
  const writer = new Writer(store);
  try {
    await until(() => writer.acknowledged.saved > 0, 20_000);
    const first = writer.acknowledged.saved;
    let later = 0;
    for (let cut = 0; cut < count; cut++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * PAUSE));
      const before = { ...writer.acknowledged };
      await disk.cut(async (path) => {
        const after = join(path, 'store');
        const found = await lookAfterCut(after);
        expect(lost(before, found), `cut ${cut}`).toEqual([]);
        if (Number(found.newest) > before.saved) later++;
        await prepareStore(after);
        await saveGeneration(after, SCHEDULER, sampleCopy('next'), ABOUT);
        expect((await look(after, SCHEDULER)).newest).toBe('next');
      });
      expect(writer.ended, 'the writer works all the time').toBe(false);
    }
    return { saves: writer.acknowledged.saved - first, later };
  } finally {
    await writer.stop();
  }
}

const reason = missingForCrashDisks();

describe.skipIf(skipLoudly('power cuts at the block level, on ext4 and XFS', reason))('a power cut at a random instant', () => {
  test.each<FileSystem>(['ext4', 'xfs'])(
    'on %s: the pointers lead to whole, verified generations, and everything that was acknowledged is there',
    { timeout: 60_000 + CUTS * 1_000 },
    async (fileSystem) => {
      const disk = await createCrashDisk(fileSystem);
      try {
        const count = Math.ceil(CUTS / 2);
        const { saves, later } = await cutsOn(disk, count);
        // Otherwise the cuts did not fall into changes.
        expect(saves).toBeGreaterThan(count / 2);
        console.log(
          `power cuts on ${fileSystem}: ${count} during ${saves} saves, ${later} of them found a save that was not acknowledged yet, nothing lost`,
        );
      } finally {
        await disk.remove();
      }
    },
  );

  const noStrace = findProgram('strace') === undefined ? 'strace is not installed' : undefined;
  test.skipIf(skipLoudly('power cuts without fsync', noStrace)).each<FileSystem>(['ext4', 'xfs'])(
    'on %s, with every fsync left out, loses what was acknowledged: these tests would notice',
    { timeout: 120_000 },
    async (fileSystem) => {
      const disk = await createCrashDisk(fileSystem);
      const strace = ['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=fsync,fdatasync', '-e', 'inject=fsync,fdatasync:retval=0'];
      const writer = new Writer(join(disk.path, 'store'), strace);
      try {
        await until(() => writer.acknowledged.saved > 5, 20_000);
        const missing = await until(async () => {
          const before = { ...writer.acknowledged };
          const found = await disk.cut((path) => look(join(path, 'store'), SCHEDULER)).catch((error: unknown) => String(error));
          const losses = typeof found === 'string' ? [found] : lost(before, found);
          return losses.length > 0 ? losses : undefined;
        }, 60_000);
        expect(missing).not.toEqual([]);
      } finally {
        await writer.stop();
        await disk.remove();
      }
    },
  );
});
