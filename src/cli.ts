/** The command line: which commands there are, and what an error means to the caller. The only place that ends the process. */
import { Command, CommanderError, type Option } from 'commander';
import { completionCommand } from './commands/completion.ts';
import { diffCommand } from './commands/diff.ts';
import { doctorCommand } from './commands/doctor.ts';
import { exportCommand } from './commands/export.ts';
import { forgiveCommand } from './commands/forgive.ts';
import { historyCommand } from './commands/history.ts';
import { importCommand } from './commands/import.ts';
import { InputError } from './commands/input-error.ts';
import { inspectCommand } from './commands/inspect.ts';
import { installHostCommand, uninstallHostCommand } from './commands/install-host.ts';
import { kubeletGuardCommand } from './commands/kubelet-guard.ts';
import { kubeletLockCommand } from './commands/kubelet-lock.ts';
import { pruneCommand } from './commands/prune.ts';
import { recoverCommand } from './commands/recover.ts';
import { runCommand } from './commands/run.ts';
import { sanitizeCommand } from './commands/sanitize.ts';
import { verifyCommand } from './commands/verify.ts';
import { versionCommand } from './commands/version.ts';
import { VERSION } from './version.ts';

const EXIT_FAILURE = 1;
const EXIT_BAD_INPUT = 2;

function program(): Command {
  return new Command('checkpointer')
    .description('Brings a self-hosted Kubernetes control plane back after a reboot.')
    .version(VERSION, '-V, --version', 'print the version')
    .addCommand(runCommand())
    .addCommand(inspectCommand())
    .addCommand(doctorCommand())
    .addCommand(historyCommand())
    .addCommand(diffCommand())
    .addCommand(forgiveCommand())
    .addCommand(verifyCommand())
    .addCommand(pruneCommand())
    .addCommand(exportCommand())
    .addCommand(importCommand())
    .addCommand(sanitizeCommand())
    .addCommand(recoverCommand())
    .addCommand(kubeletLockCommand())
    .addCommand(kubeletGuardCommand())
    .addCommand(installHostCommand())
    .addCommand(uninstallHostCommand())
    .addCommand(completionCommand())
    .addCommand(versionCommand())
    .showHelpAfterError(false);
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
    await exitInsteadOfProcess(program()).parseAsync(argv);
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
