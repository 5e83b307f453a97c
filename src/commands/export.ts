/** `checkpointer export`: one generation as a tar, to carry to another machine. */
import { readFile, rm } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { load } from './diff.ts';
import { InputError } from './input-error.ts';
import { checkpointDirFlag, GENERATION_ARGUMENT, namedGeneration, namedWorkload, openStore, WORKLOAD_ARGUMENT } from './stored.ts';

interface ExportOptions {
  readonly checkpointDir: string;
  readonly file: string;
  readonly withSecrets?: true;
}

export function exportCommand(): Command {
  return new Command('export')
    .argument('<workload>', WORKLOAD_ARGUMENT)
    .argument('[generation]', `${GENERATION_ARGUMENT}; by default the proven one, else the newest`)
    .description('Write one generation to a tar: its static pod and what it mounts.')
    .addOption(new Option('-f, --file <file>', 'where to; - is standard output').makeOptionMandatory())
    .addOption(new Option('--with-secrets', 'with what is in the files and variables: keys, tokens, Secrets'))
    .addOption(checkpointDirFlag())
    .addHelpText(
      'after',
      `
The generation is verified first. Without --with-secrets the tar lists what the pod mounts (index.json: path, mode, owner, size, SHA-256) and does
not hold it, and the values of variables are left out of pod.json: that is to be looked at, not to be imported. A file is made with mode 0600,
and never over another one.

Examples:
  checkpointer export kube-apiserver -f kube-apiserver.tar
  checkpointer export kube-apiserver proven --with-secrets -f - | ssh master-2 checkpointer import -f -`,
    )
    .action(exportGeneration);
}

async function exportGeneration(given: string, of: string | undefined, { checkpointDir, file, withSecrets }: ExportOptions): Promise<void> {
  const named = await namedWorkload(await openStore(checkpointDir), given);
  const number = namedGeneration(named, of ?? (named.stored.proven === undefined ? 'newest' : 'proven'));
  if (file === '-' && process.stdout.isTTY) throw new InputError('--file -: a tar is nothing for a terminal; name a file, or a pipe');
  const { index, pod } = await load(checkpointDir, named, number);
  const [
    { packGeneration },
    { generationPath, workloadPath },
    { createDurable, errnoOf, isErrno, readRegular, syncDirectory },
    { dirname, join, resolve },
    { sha256 },
  ] = await Promise.all([
    import('./archive.ts'),
    import('../checkpoint/store/paths.ts'),
    import('../platform/durable.ts'),
    import('node:path'),
    import('../checkpoint/store/format.ts'),
  ]);
  const directory = generationPath(workloadPath(checkpointDir, named.workload), number);
  const contents = new Map<string, Buffer>();
  if (withSecrets === true)
    for (const { path, size, sha256: sum } of index.files) {
      const bytes = await readRegular(join(directory, path), size);
      // Verified a moment ago, and it never changes: somebody has just damaged or deleted it.
      if (bytes === undefined || sha256(bytes) !== sum)
        throw new Error(`${join(directory, path)} changed while it was read; see checkpointer verify`);
      contents.set(path, bytes);
    }
  const tar = await packGeneration({
    index,
    indexBytes: await readFile(join(directory, 'index.json')),
    pod,
    contents: withSecrets === true ? contents : undefined,
  });
  if (file === '-') {
    process.stdout.write(tar);
    return;
  }
  try {
    await createDurable(file, tar, 0o600);
  } catch (error) {
    if (isErrno(error, 'EEXIST', 'ENOENT', 'ENOTDIR', 'EISDIR', 'EACCES', 'EROFS'))
      throw new InputError(
        `--file ${file}: cannot be made (${errnoOf(error)}); expected a name that is not there yet, in a directory that is`,
      );
    // Half of it is of no use.
    await rm(file, { force: true });
    throw error;
  }
  await syncDirectory(dirname(resolve(file)));
  process.stdout.write(`${file}: generation ${number} of ${named.key}, ${withSecrets === true ? 'with' : 'without'} secrets\n`);
}
