/** `checkpointer import`: puts a generation that was exported elsewhere into the store, as a save of the daemon would. */
import { stat } from 'node:fs/promises';
import { Command, Option } from 'commander';
import type { StoredWorkload } from '../checkpoint/model.ts';
import { type Workload, workloadKey } from '../checkpoint/workload.ts';
import type { Unpacked } from './archive.ts';
import { bootIdFileFlag } from './host-options.ts';
import { InputError } from './input-error.ts';
import { checkpointDirFlag } from './stored.ts';

interface ImportOptions {
  readonly checkpointDir: string;
  readonly bootIdFile: string;
  readonly file: string;
  readonly dryRun?: true;
  readonly asNewest?: true;
}

export function importCommand(): Command {
  return new Command('import')
    .description('Put a generation from a tar into the store.')
    .addOption(new Option('-f, --file <file>', 'what "export --with-secrets" wrote; - is standard input').makeOptionMandatory())
    .addOption(new Option('--dry-run', 'only verify it, and show what would be done'))
    .addOption(new Option('--as-newest', 'also where a generation of the workload with the same or a higher number is stored'))
    .addOption(checkpointDirFlag())
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
Every byte is compared with the index in the tar before anything is written; links, names that lead out of the tar, and files that the index does
not name are refused. It becomes the newest generation, under a number of this store, and is not proven: a proven one that is here stays
what a reboot gets. Tokens in it are bound to a pod of the other machine. While an API server answers that the workload has no pod on this
node, the daemon retires it after --checkpoint-grace-period.

Exit codes: 0 stored, or stored already; 1 it failed; 2 bad input: nothing was changed.

Examples:
  checkpointer import -f kube-apiserver.tar --dry-run
  checkpointer import -f kube-apiserver.tar`,
    )
    .action(importGeneration);
}

async function importGeneration({ checkpointDir, bootIdFile, file, dryRun, asNewest }: ImportOptions): Promise<void> {
  const { unpackGeneration } = await import('./archive.ts');
  const unpacked = await unpackGeneration(await bytesOf(file), file === '-' ? 'standard input' : file);
  const { index, copy } = unpacked;
  const { workload, generation, createdAt, parent } = index;
  const what = `generation ${generation} of ${workloadKey(workload)} (${createdAt})`;
  const [{ readStore }, { prepareStore, saveGeneration }, { withTransaction }, { readBootId }] = await Promise.all([
    import('../checkpoint/store/read.ts'),
    import('../checkpoint/store/write.ts'),
    import('../lock/transaction.ts'),
    import('../sources/boot.ts'),
  ]);
  const stored = async () => (await readStore(checkpointDir)).workloads.get(workloadKey(workload))?.stored;
  const { dirname } = await import('node:path');
  if (!checkpointDir.startsWith('/')) throw new InputError(`--checkpoint-dir ${checkpointDir}: expected an absolute path`);
  if ((await stat(dirname(checkpointDir)).catch(() => undefined))?.isDirectory() !== true)
    throw new InputError(`--checkpoint-dir ${checkpointDir}: the directory that it lies in is not there`);
  if (dryRun === true) {
    process.stdout.write(
      accepted(unpacked, workload, await stored(), asNewest) === 'stored already'
        ? `${what} is stored already\n`
        : `${what} is whole and would be stored\n`,
    );
    return;
  }
  await prepareStore(checkpointDir);
  const done = await withTransaction(
    checkpointDir,
    async ({ check }) => {
      if (accepted(unpacked, workload, await stored(), asNewest) === 'stored already') return undefined;
      return saveGeneration(checkpointDir, workload, copy, { parent, createdAt }, check);
    },
    { bootId: await readBootId(bootIdFile) },
  );
  process.stdout.write(done === undefined ? `${what} is stored already\n` : `${what} is stored as generation ${done}, not proven\n`);
}

/** Throws InputError where something newer is stored. */
function accepted(
  { index: { generation, digest, instance } }: Unpacked,
  workload: Workload,
  stored: StoredWorkload | undefined,
  asNewest: true | undefined,
): 'new' | 'stored already' {
  const newest = stored?.generations.get(stored.newest ?? 0);
  if (newest !== undefined && newest.digest === digest && newest.instance?.digest === instance?.digest) return 'stored already';
  const highest = Math.max(0, ...(stored?.generations.keys() ?? []), ...(stored?.damaged.keys() ?? []));
  if (highest >= generation && asNewest !== true)
    throw new InputError(
      `${workloadKey(workload)} has generation ${highest} here, and this is ${generation} of another store: give --as-newest if it is to be the newest`,
    );
  return 'new';
}

async function bytesOf(file: string): Promise<Buffer> {
  const { ARCHIVE_LIMIT } = await import('./archive.ts');
  if (file === '-') {
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of process.stdin) {
      chunks.push(Buffer.from(chunk));
      size += chunk.length;
      if (size > ARCHIVE_LIMIT) throw new InputError(`standard input: more than ${ARCHIVE_LIMIT} bytes`);
    }
    return Buffer.concat(chunks);
  }
  const { readRegular } = await import('../platform/durable.ts');
  const found = await readRegular(file, ARCHIVE_LIMIT).catch((error: unknown) => {
    throw new InputError(`--file ${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  });
  if (found === undefined) throw new InputError(`--file ${file}: there is no such file`);
  return found;
}
