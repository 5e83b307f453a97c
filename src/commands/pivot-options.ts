/** Flags that `pivot` and `unpivot` have in common, and how they speak to a person. */
import { access } from 'node:fs/promises';
import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import type { Check } from '../inspect/doctor/checks.ts';
import type * as journey from '../pivot/journey.ts';
import type { Session } from '../pivot/session.ts';
import { confirmed } from './confirm.ts';
import { InputError } from './input-error.ts';
import { durationFlag, flag } from './options.ts';
import { table } from './table.ts';

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

async function adminKubeconfig(given: string | undefined): Promise<string> {
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

type Work = (journeys: typeof journey, session: Session, voice: journey.Voice) => Promise<number>;

/** Returns what `work` returns: the exit code. */
export async function withSession({ kubeconfig, yes }: PivotFlags, work: Work): Promise<number> {
  const [journeys, { openSession }, { progressOn, screenOf }] = await Promise.all([
    import('../pivot/journey.ts'),
    import('../pivot/session.ts'),
    import('../pivot/progress.ts'),
  ]);
  const session = await openSession(await adminKubeconfig(kubeconfig));
  try {
    return await work(journeys, session, {
      say,
      checked: (checks) => say(asTable(checks)),
      ask: async (question) => yes === true || confirmed(question),
      progress: progressOn(screenOf(process.stdout)),
    });
  } finally {
    session.close();
  }
}

const say = (text: string): void => {
  process.stdout.write(text);
};

function asTable(checks: readonly Check[]): string {
  const rows = checks.map(({ state, check, seen }) => [state, check, seen]);
  const todo = checks.flatMap(({ check, advice }) => (advice === undefined ? [] : [`  ${check}: ${advice}\n`]));
  return [table(['STATE', 'CHECK', 'SEEN'], rows), ...(todo.length === 0 ? [] : ['\nWhat to do:\n', ...todo])].join('');
}
