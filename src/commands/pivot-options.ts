/** Flags that `pivot` and `unpivot` have in common. */
import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import { InputError } from './input-error.ts';
import { durationFlag, flag } from './options.ts';

export interface PivotFlags {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly kubeconfig?: string;
  readonly nodeName: string;
  readonly healthyFor: number;
  readonly stepTimeout: number;
  readonly yes?: true;
}

/** kubeadm's: since 1.29 only the second one is a member of system:masters. */
const ADMIN_KUBECONFIGS = ['/etc/kubernetes/admin.conf', '/etc/kubernetes/super-admin.conf'];

export function pivotFlags(command: Command): Command {
  return (
    command
      // Without an environment variable: the daemon's names the node's identity.
      .addOption(new Option('--kubeconfig <file>', `a cluster administrator's (default ${ADMIN_KUBECONFIGS.join(', else ')})`))
      .addOption(flag('--node-name <name>', 'name of this node in the API (default the name of the host)').env('NODE_NAME'))
      .addOption(durationFlag('--healthy-for <duration>', 'how long a step has to stay healthy before the next one', '10s'))
      .addOption(durationFlag('--step-timeout <duration>', 'how long a step may take before it is taken back', '5m'))
      .addOption(new Option('--yes', 'do not ask'))
      .hook('preAction', (action) => {
        if (action.getOptionValue('nodeName') === undefined)
          action.setOptionValueWithSource('nodeName', hostname().toLowerCase(), 'default');
      })
  );
}

export async function adminKubeconfig(given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  for (const file of ADMIN_KUBECONFIGS)
    if (
      await access(file).then(
        () => true,
        () => false,
      )
    )
      return file;
  throw new InputError(`there is neither ${ADMIN_KUBECONFIGS.join(' nor ')}: give an administrator's --kubeconfig`);
}
