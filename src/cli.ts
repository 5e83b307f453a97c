/** The command line: what an error means to the caller. The only place that ends the process. */
import { type Command, CommanderError, type Option } from 'commander';
import { InputError } from './commands/input-error.ts';
import { program } from './program.ts';

const EXIT_FAILURE = 1;
const EXIT_BAD_INPUT = 2;

function exitInsteadOfProcess(command: Command): Command {
  command.configureHelp({ helpWidth: 110, sortSubcommands: true, optionDescription });
  command.exitOverride().configureOutput({
    outputError: (text, write) =>
      write(
        text
          .trim()
          .replace(/\s*\n\s*/g, ' ')
          .concat('\n'),
      ),
  });
  for (const child of command.commands) exitInsteadOfProcess(child);
  return command;
}

/** The environment variable of a flag follows from its name (the help says how), so only one that does not is shown. */
function optionDescription({ description, defaultValue, defaultValueDescription, argChoices, envVar }: Option): string {
  const notes = [
    ...(argChoices === undefined ? [] : [argChoices.join(' or ')]),
    ...(defaultValue === undefined ? [] : [`default ${defaultValueDescription ?? String(defaultValue)}`]),
    ...(envVar === undefined || envVar.startsWith('CHECKPOINTER_') ? [] : [`or ${envVar}`]),
  ];
  return notes.length === 0 ? description : `${description} (${notes.join('; ')})`;
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    await exitInsteadOfProcess(await program(argv[2])).parseAsync(argv);
    return typeof process.exitCode === 'number' ? process.exitCode : 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 || error.code === 'commander.help' ? 0 : EXIT_BAD_INPUT;
    if (isBadInput(error)) {
      process.stderr.write(`error: ${error.message}\n`);
      return EXIT_BAD_INPUT;
    }
    process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    return EXIT_FAILURE;
  }
}

function isBadInput(error: unknown): error is Error {
  return (
    error instanceof InputError || (error instanceof Error && ['KubeconfigError', 'FormatError', 'ForeignFileError'].includes(error.name))
  );
}

/** Resolves when the reader has everything, or is gone: Node does not wait, and what is beyond a pipe's 64 KiB would end with the process. */
function written(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0 || stream.destroyed) resolve();
    else stream.once('close', resolve).write('', () => resolve());
  });
}

// Who reads what is printed may have enough of it (`| head`). What cannot be written to a full disk is a failure, but only in the end: a recovery whose
// output goes there must not stop half way.
let unwritten: Error | undefined;
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') unwritten ??= error;
  });

// Not left to end by itself: a name that is still being resolved must not hold up a boot. No await at the top, which a host's executable, being
// CommonJS, cannot have.
main(process.argv).then(async (code) => {
  await Promise.all([process.stdout, process.stderr].map(written));
  if (unwritten !== undefined) process.stderr.write(`error: not all of the output could be written: ${unwritten.message}\n`);
  process.exit(unwritten === undefined ? code : code || EXIT_FAILURE);
});
