/** `checkpointer unpivot`: the static pods of a control plane come back, so that kubeadm can upgrade it. */
import { Command } from 'commander';
import { InputError } from './input-error.ts';
import { addStoreFlags } from './options.ts';
import { type PivotFlags, pivotFlags, withSession } from './pivot-options.ts';

export function unpivotCommand(): Command {
  return pivotFlags(addStoreFlags(new Command('unpivot')))
    .description("Bring a self-hosted control plane's static pods back, on this node.")
    .addHelpText(
      'after',
      `
The way of checkpointer pivot backwards, step by step: the static pod starts beside the DaemonSet's pod, then that leaves, then the manifest gets its
old content: byte for byte if the DaemonSet is as it was made, otherwise with everything that was changed since. It also ends a pivot that was
interrupted or that failed. If the API server does not run and does not come back, put the manifests back by hand: they are in
<checkpoint-dir>/pivot/<start>/original.

Exit codes: 0 static pods; 1 it failed, or was stopped, and stands where it was healthy last; 2 bad input.

Examples:
  checkpointer unpivot --yes && kubeadm upgrade apply v1.36.3`,
    )
    .action(async (options: PivotFlags) => {
      process.exitCode = await withSession(options, async ({ unpivot }, session, voice) => {
        switch (await unpivot(options, session, voice)) {
          case 'arrived':
            voice.say('The control plane of this node consists of static pods again.\n');
            return 0;
          case 'already':
            voice.say('The control plane of this node consists of static pods already.\n');
            return 0;
          case 'unwanted':
            return 1;
          case 'unknown':
            throw new InputError(
              `this node was not made self-hosted by checkpointer pivot (${options.checkpointDir}/pivot holds nothing of one): give --checkpoint-dir as it was then`,
            );
        }
      });
    });
}
