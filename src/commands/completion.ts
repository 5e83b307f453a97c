/** `checkpointer completion`: what a shell completes, made from the commands themselves, so that it is never behind them. */
import { Argument, Command } from 'commander';
import type { Shell } from './completion-scripts.ts';

export function completionCommand(): Command {
  return new Command('completion')
    .addArgument(new Argument('<shell>', 'which shell').choices(['bash', 'zsh', 'fish']))
    .description('Print a script that completes commands, flags and their values.')
    .addHelpText(
      'after',
      `
Examples:
  source <(checkpointer completion bash)
  checkpointer completion zsh > "\${fpath[1]}/_checkpointer"
  checkpointer completion fish > ~/.config/fish/completions/checkpointer.fish`,
    )
    .action(async (shell: Shell, _options: unknown, command: Command) => {
      const { render, specOf } = await import('./completion-scripts.ts');
      process.stdout.write(render(shell, specOf(command.parent ?? command)));
    });
}
