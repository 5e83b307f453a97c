/** `checkpointer run`: the daemon. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Command } from 'commander';
import { hasCopies } from '../checkpoint/store/layout.ts';
import { DEFAULT_METRICS_ADDRESS, parseListenAddress } from '../platform/metrics-server.ts';
import { parseEndpoint } from '../sources/cri/endpoint.ts';
import { expectTwoLocks, kubeletLockFileFlag } from './host-options.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags, count, durationFlag, flag, parsedBy, parseKubernetesService } from './options.ts';

export interface RunOptions {
  readonly kubeconfig: string;
  readonly nodeName?: string;
  readonly podManifestPath: string;
  readonly checkpointDir: string;
  readonly lockFile: string;
  readonly giveWay: number;
  readonly containerRuntimeEndpoint: string;
  readonly runtimeRequestTimeout: number;
  readonly checkpointGracePeriod: number;
  readonly retain: number;
  readonly activateAfter: number;
  readonly apiServerFirst: number;
  readonly downFor: number;
  readonly proveAfter: number;
  readonly stableFor: number;
  readonly trialDeadline: number;
  readonly orphanAfter: number;
  readonly stopGracePeriod: number;
  readonly secretEnv: 'refuse' | 'inline';
  readonly kubernetesService?: string;
  readonly metricsAddress: ReturnType<typeof parseListenAddress>;
  readonly kubeletLockFile?: string;
  readonly ownersKubeconfig?: string;
  readonly ownersTokenDir?: string;
  readonly bootIdFile: string;
  readonly mountinfoFile: string;
  readonly self?: string;
  readonly v: number;
}

export function runCommand(): Command {
  const command = new Command('run')
    .description('Watch the marked pods of this node, keep copies of them, and run a copy where the node has to stand alone.')
    .addOption(flag('--node-name <name>', 'name of this node in the API (required)').env('NODE_NAME'))
    .addOption(
      flag('--kubeconfig <file>', "whose identity asks the API server; by default the node's own").default('/etc/kubernetes/kubelet.conf'),
    );
  return addStoreFlags(command)
    .addOption(
      flag('--lock-file <file>', 'leader lock: of all checkpointers on this node one works, the others wait').default(
        '/run/lock/pod-checkpointer.lock',
      ),
    )
    .addOption(
      durationFlag(
        '--give-way <duration>',
        'where a copy of the checkpointer itself (--self) is active, leave it this long to lead before the first wait for the lock',
        '0',
      ),
    )
    .addOption(kubeletLockFileFlag())
    .addOption(
      flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime').default(
        'unix:///run/containerd/containerd.sock',
      ),
    )
    .addOption(durationFlag('--runtime-request-timeout <duration>', 'deadline of a request to the container runtime', '10s'))
    .addOption(
      durationFlag(
        '--activate-after <duration>',
        'activate a copy when its parent is down and the API server unreachable for this long; at once after a boot',
        '3s',
      ),
    )
    .addOption(
      durationFlag(
        '--api-server-first <duration>',
        "how long copies of controller managers and schedulers, which only ask the API server, wait for this node's own to come back; 0 does not wait",
        '15s',
      ),
    )
    .addOption(
      durationFlag('--down-for <duration>', 'activate a copy when its parent is down for this long although the API server answers', '60s'),
    )
    .addOption(
      durationFlag('--prove-after <duration>', 'a copy is proven when its parent was Ready, without a restart, for this long', '30s'),
    )
    .addOption(
      durationFlag(
        '--stable-for <duration>',
        'a copy that can run beside its parent leaves when the parent has been up for this long',
        '10s',
      ),
    )
    .addOption(
      durationFlag(
        '--trial-deadline <duration>',
        'a copy that made room for its parent comes back when the parent is not up by then',
        '90s',
      ),
    )
    .addOption(
      durationFlag(
        '--orphan-after <duration>',
        "activate a copy when its owner wants a pod here and has had none that is Ready, on any node, for this long; where the owner may not be read, a DaemonSet's",
        '20s',
      ),
    )
    .addOption(
      durationFlag(
        '--stop-grace-period <duration>',
        'between SIGTERM and SIGKILL for a copy that makes room for its parent; one that serves the API is killed at once',
        '1s',
      ),
    )
    .addOption(
      durationFlag(
        '--checkpoint-grace-period <duration>',
        'retire a copy when its parent is gone from the API for this long, and that is confirmed',
        '1m',
      ),
    )
    .addOption(
      durationFlag(
        '--retain <duration>',
        'keep what was retired for this long; it comes back if the API server it served is gone with nothing in its place',
        '24h',
      ),
    )
    .addOption(
      flag(
        '--secret-env <policy>',
        'environment variables from a Secret: refuse the copy, or inline their values, which everyone who may read pods can then read',
      )
        .choices(['refuse', 'inline'])
        .default('refuse'),
    )
    .addOption(
      flag(
        '--kubernetes-service <host:port>',
        'KUBERNETES_SERVICE_HOST and _PORT for copies whose containers have no own; by default those of the Service default/kubernetes',
      ),
    )
    .addOption(
      flag('--metrics-address <host:port>', 'where /metrics, /livez and /readyz are served; the daemon that leads takes it; 0 for nowhere')
        .argParser(parsedBy(parseListenAddress))
        .default(parseListenAddress(DEFAULT_METRICS_ADDRESS), DEFAULT_METRICS_ADDRESS),
    )
    .addOption(
      flag('--v <level>', 'log level: 0 transitions, actions and errors, 2 every request, 4 every turn of the loop')
        .argParser(count)
        .default(0),
    )
    .addOption(
      flag(
        '--self <namespace/kind/name>',
        "the daemon's own workload, where it runs as one, such as kube-system/DaemonSet/pod-checkpointer",
      ),
    )
    .addOption(
      flag(
        '--owners-kubeconfig <file>',
        "whose identity reads the owners of pods, where it is not the pod's ServiceAccount; it needs to read DaemonSets, Deployments, ReplicaSets, StatefulSets and pods, and nothing else",
      ),
    )
    .addOption(
      flag(
        '--owners-token-dir <dir>',
        "directory of the ServiceAccount token that reads owners; by default the pod's own, where it has one",
      ),
    )
    .addOption(flag('--mountinfo-file <file>', 'where this process reads in which pod it runs').default('/proc/self/mountinfo').hideHelp())
    .addOption(flag('--boot-id-file <file>', 'where the boot id is read').default('/proc/sys/kernel/random/boot_id').hideHelp())
    .addHelpText(
      'after',
      `
Every flag can be set by an environment variable, too: --activate-after by CHECKPOINTER_ACTIVATE_AFTER.
Durations are written as 500ms, 3s, 1m30s or 2h. Logs go to standard error, one JSON object a line.

Examples:
  checkpointer run --node-name=master-1
  checkpointer run --node-name=master-1 --checkpoint-grace-period=5m --v=2`,
    )
    .action(async (options: RunOptions) => {
      const nodeName = await checked(options);
      const { run } = await import('../run.ts');
      await run({ ...options, nodeName });
    });
}

/** Everything that can be wrong with the input, before anything is touched or waited for. */
async function checked(options: RunOptions): Promise<string> {
  const { nodeName, kubeconfig, podManifestPath, checkpointDir, lockFile, kubeletLockFile, kubernetesService, self } = options;
  if (nodeName === undefined || nodeName === '')
    throw new InputError('the node name is not set: give --node-name, or set NODE_NAME (in a pod: from spec.nodeName)');
  await access(kubeconfig, constants.R_OK).catch(async (error: unknown) => {
    if (await hasCopies(checkpointDir)) return;
    throw new InputError(
      `--kubeconfig ${kubeconfig}: cannot be read (${codeOf(error)}); expected a kubeconfig file, such as the node's /etc/kubernetes/kubelet.conf`,
    );
  });
  await expectDirectory(
    '--pod-manifest-path',
    podManifestPath,
    "expected the kubelet's static pod directory (staticPodPath in its configuration)",
  );
  await expectDirectory('--checkpoint-dir', dirname(checkpointDir), `expected the directory that holds ${checkpointDir}`);
  await expectDirectory('--lock-file', dirname(lockFile), `expected the directory that holds ${lockFile}`);
  if (kubeletLockFile !== undefined) await expectTwoLocks(lockFile, kubeletLockFile);
  for (const [name, path] of [
    ['--checkpoint-dir', checkpointDir],
    ['--pod-manifest-path', podManifestPath],
  ] as const) {
    if (!path.startsWith('/')) throw new InputError(`${name} ${path}: expected an absolute path`);
  }
  if (kubernetesService !== undefined) parseKubernetesService(kubernetesService);
  if (self !== undefined && !/^[^/]+\/[^/]+\/[^/]+$/.test(self))
    throw new InputError(`--self ${self}: expected namespace/kind/name, such as kube-system/DaemonSet/pod-checkpointer`);
  checkEndpoint(options.containerRuntimeEndpoint);
  // The kubelet does so with the host's name and with --hostname-override (pkg/util/node, GetHostname).
  return nodeName.trim().toLowerCase();
}

function checkEndpoint(text: string): void {
  try {
    parseEndpoint(text);
  } catch (error) {
    throw new InputError(`--container-runtime-endpoint: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function expectDirectory(name: string, path: string, expected: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw new InputError(`${name}: ${path} cannot be used (${codeOf(error)}); ${expected}`);
  });
  if (!found.isDirectory()) throw new InputError(`${name}: ${path} is not a directory; ${expected}`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
