/** The command line: which commands there are, and what an error means to the caller. The only place that ends the process. */
import { Command, CommanderError, type Option } from 'commander';
import { InputError } from './commands/input-error.ts';
import { VERSION } from './version.ts';

const EXIT_FAILURE = 1;
const EXIT_BAD_INPUT = 2;

/** In the order of the help. A command's code is loaded when it is called: what all of them load is most of the time that a start takes. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./commands/run.ts')).runCommand(),
  inspect: async () => (await import('./commands/inspect.ts')).inspectCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  history: async () => (await import('./commands/history.ts')).historyCommand(),
  diff: async () => (await import('./commands/diff.ts')).diffCommand(),
  forgive: async () => (await import('./commands/forgive.ts')).forgiveCommand(),
  verify: async () => (await import('./commands/verify.ts')).verifyCommand(),
  prune: async () => (await import('./commands/prune.ts')).pruneCommand(),
  export: async () => (await import('./commands/export.ts')).exportCommand(),
  import: async () => (await import('./commands/import.ts')).importCommand(),
  sanitize: async () => (await import('./commands/sanitize.ts')).sanitizeCommand(),
  recover: async () => (await import('./commands/recover.ts')).recoverCommand(),
  'kubelet-lock': async () => (await import('./commands/kubelet-lock.ts')).kubeletLockCommand(),
  'kubelet-guard': async () => (await import('./commands/kubelet-guard.ts')).kubeletGuardCommand(),
  pivot: async () => (await import('./commands/pivot.ts')).pivotCommand(),
  unpivot: async () => (await import('./commands/unpivot.ts')).unpivotCommand(),
  'install-host': async () => (await import('./commands/install-host.ts')).installHostCommand(),
  'uninstall-host': async () => (await import('./commands/install-host.ts')).uninstallHostCommand(),
  completion: async () => (await import('./commands/completion.ts')).completionCommand(),
  version: async () => (await import('./commands/version.ts')).versionCommand(),
};

/** Only the command that is called, where that is one; the help, the completion and the word for a misspelt one need all. */
function called(first: string | undefined): readonly string[] {
  if (first === '--version' || first === '-V') return [];
  return first !== undefined && first !== 'completion' && Object.hasOwn(COMMANDS, first) ? [first] : Object.keys(COMMANDS);
}

async function program(first: string | undefined): Promise<Command> {
  const root = new Command('checkpointer')
    .description('Brings a self-hosted Kubernetes control plane back after a reboot.')
    .version(VERSION, '-V, --version', 'print the version')
    .showHelpAfterError(false);
  for (const name of called(first)) {
    const command = await COMMANDS[name]?.();
    if (command !== undefined) root.addCommand(command);
  }
  return root;
}

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

// Not left to end by itself: a name that is still being resolved must not hold up a boot. Output to pipes, files and terminals is synchronous. No
// await at the top, which a host's executable, being CommonJS, cannot have.
main(process.argv).then((code) => process.exit(code));
