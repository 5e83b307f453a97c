/** Which commands there are. */
import { Command } from 'commander';
import { VERSION } from './version.ts';

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

/** @param first the word behind the program's name; without one all commands are loaded. */
export async function program(first?: string): Promise<Command> {
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
