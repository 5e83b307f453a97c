/** `checkpointer pivot`: the static pods of a control plane become DaemonSets. What is decided is in src/pivot. */
import { Command, Option } from 'commander';
import type { PivotOptions } from '../pivot/journey.ts';
import { addStoreFlags, flag } from './options.ts';
import { type PivotFlags, pivotFlags, withSession } from './pivot-options.ts';

interface PivotCommandOptions extends PivotFlags, PivotOptions {
  readonly dryRun?: true;
  readonly diff?: true;
  readonly output: 'table' | 'yaml';
}

/** A check failed, and nothing was changed. */
const EXIT_NOT_READY = 3;

export function pivotCommand(): Command {
  return pivotFlags(addStoreFlags(new Command('pivot')))
    .description('Make a control plane of static pods (kubeadm) self-hosted, on this node.')
    .addOption(flag('--from <file...>', "the static pods, where they are not kubeadm's in --pod-manifest-path").default([]))
    .addOption(
      flag('--credentials <kind>', 'certificates, keys and kubeconfigs: files of the host, as kubeadm has them, or Secrets')
        .choices(['files', 'secrets'])
        .default('files'),
    )
    .addOption(flag('--deploy <file>', 'deploy the checkpointer from this manifest where it is missing'))
    .addOption(new Option('--dry-run', 'change nothing; with -o yaml print what would be applied'))
    .addOption(new Option('--diff', 'change nothing; show what differs from what is there'))
    .addOption(new Option('-o, --output <format>', 'with --dry-run').choices(['table', 'yaml']).default('table'))
    .addHelpText(
      'after',
      `
One component after the other, API server first: its static pod gets port sharing (one restart), a DaemonSet is made, its pod starts beside the
static pod, its copy is kept and proven, and only then the static pod leaves. Each step waits for health and is taken back where it does not come.
Interrupted, even by a power cut, it is run again: it goes on, or back with checkpointer unpivot. Ctrl-C takes back the step that is under way.
etcd is not touched. Several masters: one after the other, on each of them.

Exit codes: 0 self-hosted; 1 it failed, or was stopped, and stands where it was healthy last; 2 bad input; 3 a check failed, nothing was changed.

Examples:
  checkpointer pivot --dry-run -o yaml
  checkpointer pivot --yes
  checkpointer history pivot`,
    )
    .action(async (options: PivotCommandOptions) => {
      process.exitCode = await withSession(options, async ({ pivot, show }, session, voice) => {
        if (options.dryRun === true || options.diff === true) {
          const { text, ready } = await show(options, session, options.diff === true ? 'diff' : options.output);
          voice.say(text);
          return ready ? 0 : EXIT_NOT_READY;
        }
        const outcome = await pivot(options, session, voice);
        switch (outcome.kind) {
          case 'arrived':
            voice.say('This node is self-hosted. Before kubeadm upgrades it: checkpointer unpivot.\n');
            if (outcome.credentials === 'secrets') voice.say(`\n${await advice()}`);
            return 0;
          case 'already':
            voice.say('This node is self-hosted already.\n');
            return 0;
          case 'unwanted':
            return 1;
          case 'notReady':
            return EXIT_NOT_READY;
        }
      });
    });
}

async function advice(): Promise<string> {
  const [{ rbacAdvice }, { COMPONENTS }] = await Promise.all([import('../pivot/secrets.ts'), import('../pivot/component.ts')]);
  return rbacAdvice(COMPONENTS);
}
