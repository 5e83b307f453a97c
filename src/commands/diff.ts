/** `checkpointer diff`: where two generations differ. Reads only. What is in a file is nobody's business: of files there are sizes and SHA-256. */
import { Command, Option } from 'commander';
import type { GenerationNumber } from '../checkpoint/model.ts';
import type { GenerationIndex, IndexedDirectory, IndexedFile } from '../checkpoint/store/format.ts';
import type { LoadedGeneration } from '../checkpoint/store/load.ts';
import type { Difference } from '../inspect/diff.ts';
import { InputError } from './input-error.ts';
import {
  checkpointDirFlag,
  GENERATION_ARGUMENT,
  type Named,
  namedGeneration,
  namedWorkload,
  openStore,
  rolesOf,
  WORKLOAD_ARGUMENT,
} from './stored.ts';

interface DiffOptions {
  readonly checkpointDir: string;
  readonly output: 'text' | 'json';
}

export function diffCommand(): Command {
  return new Command('diff')
    .argument('<workload>', WORKLOAD_ARGUMENT)
    .argument('[from]', `${GENERATION_ARGUMENT}; by default the proven one, or the one before it`)
    .argument('[to]', `${GENERATION_ARGUMENT}; by default the newest`)
    .description('Show where two generations of a workload differ.')
    .addOption(new Option('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'))
    .addOption(checkpointDirFlag())
    .addHelpText(
      'after',
      `
Both generations are verified first. What files hold and the values of variables are not shown, because they may be a Secret's: of files there is
mode, owner, size and SHA-256.

Exit codes: 0 shown, whether or not they differ; 1 one of them is damaged; 2 bad input.

Examples:
  checkpointer diff kube-apiserver
  checkpointer diff kube-apiserver 3 4
  checkpointer diff kube-scheduler previous proven -o json`,
    )
    .action(diff);
}

async function diff(given: string, from: string | undefined, to: string | undefined, options: DiffOptions): Promise<void> {
  const { checkpointDir, output } = options;
  const named = await namedWorkload(await openStore(checkpointDir), given);
  const after = namedGeneration(named, to ?? 'newest');
  const before = from === undefined ? earlier(named, after) : namedGeneration(named, from);
  const [one, other] = [await load(checkpointDir, named, before), await load(checkpointDir, named, after)];
  const differences = await between(checkpointDir, named, one, other);
  if (output === 'json') {
    const side = (number: GenerationNumber, { index: { createdAt, parent, digest } }: LoadedGeneration) => ({
      generation: number,
      roles: rolesOf(named.stored, number),
      createdAt,
      parent,
      digest,
    });
    const document = { version: 1, workload: named.key, from: side(before, one), to: side(after, other), differences };
    process.stdout.write(`${JSON.stringify(document, undefined, 2)}\n`);
  } else {
    const head = (sign: string, number: GenerationNumber, { index }: LoadedGeneration) =>
      `${sign} generation ${number}${[...rolesOf(named.stored, number)].map((role) => `, ${role}`).join('')}\t${index.createdAt}\t${index.parent.name}\n`;
    process.stdout.write(`${named.key}\n${head('---', before, one)}${head('+++', after, other)}${asText(differences)}`);
  }
}

/** The proven one, if it is another; else the one proven before it, or whatever is the next lower. */
function earlier({ key, stored }: Named, than: GenerationNumber): GenerationNumber {
  const lower = [...stored.generations.keys()].filter((number) => number < than).sort((a, b) => b - a);
  const found = [stored.proven, stored.previous, ...lower].find((number) => number !== undefined && number !== than);
  if (found === undefined) throw new InputError(`${key} has only generation ${than}: there is nothing to compare it with`);
  return found;
}

/** Throws an Error that names the generation where it is damaged. */
export async function load(checkpointDir: string, { key, workload }: Named, number: GenerationNumber): Promise<LoadedGeneration> {
  const { loadGeneration } = await import('../checkpoint/store/load.ts');
  const { DamagedError } = await import('../checkpoint/store/errors.ts');
  try {
    return await loadGeneration(checkpointDir, workload, number);
  } catch (error) {
    if (error instanceof DamagedError)
      throw new Error(`generation ${number} of ${key} is damaged: ${error.message}; see checkpointer verify`);
    throw error;
  }
}

async function between(checkpointDir: string, { workload }: Named, one: LoadedGeneration, other: LoadedGeneration): Promise<Difference[]> {
  const [{ comparable, podDifferences }, { generationPath, workloadPath }] = await Promise.all([
    import('../inspect/diff.ts'),
    import('../checkpoint/store/paths.ts'),
  ]);
  const placed = ({ pod, index }: LoadedGeneration) =>
    comparable(pod, generationPath(workloadPath(checkpointDir, workload), index.generation));
  return [...podDifferences(placed(one), placed(other)).map(withoutVariables), ...entryDifferences(one.index, other.index)];
}

/** Of variables there is the name: a value may be a Secret's, where the policy is to write them into the copy. */
function withoutVariables(difference: Difference): Difference {
  return /\.env(\[|$)/.test(difference.where) ? { where: difference.where, change: difference.change } : difference;
}

function entryDifferences(one: GenerationIndex, other: GenerationIndex): Difference[] {
  const [before, after] = [entries(one), entries(other)];
  return [...new Set([...before.keys(), ...after.keys()])].sort().flatMap((where): Difference[] => {
    const [was, is] = [before.get(where), after.get(where)];
    if (was === is) return [];
    const change = was === undefined ? 'added' : is === undefined ? 'removed' : 'changed';
    return [{ where, change, ...(was !== undefined && { before: was }), ...(is !== undefined && { after: is }) }];
  });
}

function entries({ directories, files }: GenerationIndex): Map<string, string> {
  const owned = ({ mode, uid, gid }: IndexedDirectory) => `${mode.toString(8).padStart(4, '0')} ${uid}:${gid}`;
  const described = (file: IndexedFile) => `${owned(file)} ${file.size} bytes sha256:${file.sha256}`;
  return new Map([
    ...directories.map((one) => [`${one.path}/`, owned(one)] as const),
    ...files.filter(({ path }) => path !== 'pod.json').map((one) => [one.path, described(one)] as const),
  ]);
}

function asText(differences: readonly Difference[]): string {
  if (differences.length === 0) return 'No difference.\n';
  const value = (sign: string, text: string | undefined) => `${sign}${text ?? '(not shown)'}\n`;
  return differences
    .map(({ where, change, before, after }) =>
      [
        `@@ ${where.replaceAll(/\p{Cc}/gu, '?')} @@\n`,
        change === 'added' ? '' : value('-', before),
        change === 'removed' ? '' : value('+', after),
      ].join(''),
    )
    .join('');
}
