/** Which commands there are. What they do is loaded when one of them does it. */
import { Command } from 'commander';
import { completionCommand } from './commands/completion.ts';
import { diffCommand } from './commands/diff.ts';
import { doctorCommand } from './commands/doctor.ts';
import { exportCommand } from './commands/export.ts';
import { forgiveCommand } from './commands/forgive.ts';
import { historyCommand } from './commands/history.ts';
import { importCommand } from './commands/import.ts';
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

export function program(): Command {
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
