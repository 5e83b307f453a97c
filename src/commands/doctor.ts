/** `checkpointer doctor`: is the checkpointer installed as it has to be? Reads only, and says of each finding what to do. */
import { Command } from 'commander';
import type { Check } from '../inspect/doctor/checks.ts';
import type { DoctorOptions } from '../inspect/doctor/gather.ts';
import { bootIdFileFlag, DEFAULT_KUBECONFIG, DEFAULT_RUNTIME_ENDPOINT, lockFileFlag } from './host-options.ts';
import { addStoreFlags, durationFlag, flag } from './options.ts';
import { printable, table } from './table.ts';

/** Something is wrong. */
const EXIT_WRONG = 3;

export function doctorCommand(): Command {
  return addStoreFlags(new Command('doctor'))
    .description('Check the installation on this node, and say what to do about what is wrong.')
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .addOption(flag('--kubeconfig <file>', "the node's identity").default(DEFAULT_KUBECONFIG))
    .addOption(flag('--node-name <name>', 'name of this node in the API; by default the one that the identity has').env('NODE_NAME'))
    .addOption(flag('--owners-kubeconfig <file>', 'as for run'))
    .addOption(flag('--owners-token-dir <dir>', 'as for run'))
    .addOption(durationFlag('--probe-timeout <duration>', 'how long the API server is asked at the most, each question', '2s'))
    .addOption(lockFileFlag())
    .addOption(flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime').default(DEFAULT_RUNTIME_ENDPOINT))
    .addOption(durationFlag('--runtime-request-timeout <duration>', 'how long the runtime is asked at the most', '2s'))
    .addOption(flag('--kubelet-config <file>', "the kubelet's configuration; by default what its command line names"))
    .addOption(flag('--host-root <dir>', "where the host's file system is; by default it is found where it can be seen"))
    .addOption(bootIdFileFlag())
    .addHelpText(
      'after',
      `
Exit codes: 0 nothing is wrong (there may be warnings, and what cannot be seen from here); 3 something is; 1 it failed; 2 bad input.

Examples:
  checkpointer doctor
  kubectl -n kube-system exec ds/pod-checkpointer -- /checkpointer doctor -o json`,
    )
    .action(async ({ output, ...options }: DoctorOptions & { readonly output: 'table' | 'json' }) => {
      const [{ gatherForDoctor }, { checks }] = await Promise.all([
        import('../inspect/doctor/gather.ts'),
        import('../inspect/doctor/checks.ts'),
      ]);
      const found = checks(await gatherForDoctor(options));
      process.stdout.write(output === 'json' ? `${JSON.stringify({ version: 1, checks: found }, undefined, 2)}\n` : asTable(found));
      if (found.some(({ state }) => state === 'fail')) process.exitCode = EXIT_WRONG;
    });
}

function asTable(given: readonly Check[]): string {
  const found = printable(given);
  const rows = found.map(({ check, state, seen }) => [state, check, seen]);
  const todo = found.flatMap(({ check, advice }) => (advice === undefined ? [] : [`  ${check}: ${advice}\n`]));
  return [table(['STATE', 'CHECK', 'SEEN'], rows), ...(todo.length === 0 ? [] : ['\nWhat to do:\n', ...todo])].join('');
}
