/** `checkpointer verify`: every byte of every generation against its index. Reads only, needs neither API server nor daemon, and may run beside one. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import type { GenerationNumber } from '../checkpoint/model.ts';
import { DamagedError } from '../checkpoint/store/errors.ts';
import { loadGenerationAt } from '../checkpoint/store/load.ts';
import { generationPath, quarantinePath, retiredPath, workloadsPath } from '../checkpoint/store/paths.ts';
import { checkFormat, readWorkload } from '../checkpoint/store/read.ts';
import { generationNumbers, readStored } from '../checkpoint/store/read-workload.ts';
import { type Workload, workloadKey } from '../checkpoint/workload.ts';
import { errnoOf, isErrno, kindOf } from '../platform/durable.ts';
import { InputError } from './input-error.ts';
import { DEFAULT_CHECKPOINT_DIR, flag } from './options.ts';
import { table } from './table.ts';

/** Something in the store is not what was written. */
const EXIT_DAMAGED = 3;

interface VerifyOptions {
  readonly checkpointDir: string;
  readonly output: 'table' | 'json';
}

export function verifyCommand(): Command {
  return new Command('verify')
    .description('Read every generation in the store and compare every byte with what was written.')
    .addOption(flag('--checkpoint-dir <dir>', 'where the copies are kept').default(DEFAULT_CHECKPOINT_DIR))
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .addHelpText(
      'after',
      `
Exit code 0: everything is whole. 3: something is damaged. 1, 2: it could not be checked.
Nothing is changed; the daemon moves damaged generations to the quarantine when it meets them.

Examples:
  checkpointer verify
  checkpointer verify -o json | jq '.generations[] | select(.state == "damaged")'`,
    )
    .action(async ({ checkpointDir, output }: VerifyOptions) => {
      const found = await stat(checkpointDir).catch(() => undefined);
      if (found?.isDirectory() !== true)
        throw new InputError(`--checkpoint-dir ${checkpointDir}: there is no such directory; give the one that the daemon uses`);
      const report = await verify(checkpointDir);
      process.stdout.write(output === 'json' ? `${JSON.stringify(report, undefined, 2)}\n` : asTable(report));
      if (!report.whole) process.exitCode = EXIT_DAMAGED;
    });
}

interface VerifiedGeneration {
  readonly workload: string;
  readonly place: 'workloads' | 'retired';
  readonly generation: GenerationNumber;
  /** What a reboot would get, what was proven before it, the latest. */
  readonly roles: readonly ('proven' | 'previous' | 'newest')[];
  readonly state: 'whole' | 'damaged';
  readonly files: number;
  readonly bytes: number;
  readonly detail?: string;
}

export interface Verification {
  /** Of this document. Fields are added within a version, never changed or removed. */
  readonly version: 1;
  readonly whole: boolean;
  readonly generations: readonly VerifiedGeneration[];
  /** Damage that belongs to no generation: pointers, and directories that the store did not make. */
  readonly problems: readonly { readonly path: string; readonly detail: string }[];
  /** Names in the quarantine: what was found before. */
  readonly quarantined: readonly string[];
}

/** Throws FormatError on a store of another version. */
export async function verify(root: string): Promise<Verification> {
  const generations: VerifiedGeneration[] = [];
  const problems: { path: string; detail: string }[] = [];
  if ((await checkFormat(root)) === 'garbled') problems.push({ path: join(root, 'format'), detail: 'is not a format line' });
  for (const place of ['workloads', 'retired'] as const) {
    const above = place === 'workloads' ? workloadsPath(root) : retiredPath(root);
    for (const name of await namesIn(above, problems)) {
      if (name.startsWith('.')) continue;
      const directory = join(above, name);
      // What the disk answers for one directory says nothing of the others.
      await unlessUnreadable(directory, problems, async () => {
        const workload = await readWorkload(directory, place === 'retired' ? name.replace(/\.[0-9]+$/, '') : name);
        if (workload !== undefined) generations.push(...(await verifyWorkload(directory, place, workload, problems)));
        // Retired, revived or deleted since the names were read.
        else if ((await kindOf(directory)) !== 'absent')
          problems.push({ path: directory, detail: 'is not a workload that the store made' });
      });
    }
  }
  const quarantined = (await namesIn(quarantinePath(root), [])).filter((name) => !name.startsWith('.') && !name.endsWith('.reason.txt'));
  const whole = problems.length === 0 && generations.every(({ state }) => state === 'whole');
  return { version: 1, whole, generations, problems, quarantined };
}

async function unlessUnreadable(directory: string, problems: { path: string; detail: string }[], read: () => Promise<void>): Promise<void> {
  try {
    await read();
  } catch (error) {
    if (errnoOf(error) === undefined || isErrno(error, 'EMFILE', 'ENFILE', 'ENOMEM')) throw error;
    problems.push({ path: directory, detail: error instanceof Error ? error.message : String(error) });
  }
}

async function verifyWorkload(
  directory: string,
  place: VerifiedGeneration['place'],
  workload: Workload,
  problems: { path: string; detail: string }[],
): Promise<VerifiedGeneration[]> {
  const verified: VerifiedGeneration[] = [];
  const { proven, previous, newest, damagedPointers } = await readStored(directory, workload);
  for (const number of await generationNumbers(directory)) {
    const result = await verifyGeneration(generationPath(directory, number), workload, number);
    if (result === 'gone') continue;
    const roles = (['proven', 'previous', 'newest'] as const).filter((role) => ({ proven, previous, newest })[role] === number);
    verified.push({ workload: workloadKey(workload), place, generation: number, roles, ...result });
  }
  for (const name of damagedPointers)
    problems.push({ path: join(directory, name), detail: 'is no pointer, or does not fit the generation that it points at' });
  return verified;
}

/** A generation that is deleted while it is read is not damaged: it is gone. */
async function verifyGeneration(
  directory: string,
  workload: Workload,
  number: GenerationNumber,
): Promise<Pick<VerifiedGeneration, 'state' | 'files' | 'bytes' | 'detail'> | 'gone'> {
  try {
    const { index } = await loadGenerationAt(directory, workload, number);
    return { state: 'whole', files: index.files.length, bytes: index.files.reduce((sum, { size }) => sum + size, 0) };
  } catch (error) {
    if (!(error instanceof DamagedError)) throw error;
    const there = await stat(directory).catch(() => undefined);
    return there === undefined ? 'gone' : { state: 'damaged', files: 0, bytes: 0, detail: error.message };
  }
}

async function namesIn(directory: string, problems: { path: string; detail: string }[]): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) problems.push({ path: directory, detail: error instanceof Error ? error.message : String(error) });
    return [];
  }
}

function asTable({ generations, problems, quarantined, whole }: Verification): string {
  const rows = generations.map(({ workload, place, generation, roles, state, files, bytes, detail }) => [
    workload,
    `g${generation}`,
    place === 'retired' ? 'retired' : roles.join(',') || '-',
    state,
    state === 'whole' ? `${files} files, ${bytes} bytes` : (detail ?? ''),
  ]);
  const lines = [
    ...(rows.length === 0 ? ['No generations.\n'] : [table(['WORKLOAD', 'GENERATION', 'ROLE', 'STATE', 'DETAIL'], rows)]),
    ...problems.map(({ path, detail }) => `${path}: ${detail}\n`),
    ...(quarantined.length === 0 ? [] : [`In quarantine: ${quarantined.join(', ')}\n`]),
    whole ? 'Everything is whole.\n' : 'DAMAGED: see above. The daemon uses the generation before a damaged one.\n',
  ];
  return lines.join('');
}
