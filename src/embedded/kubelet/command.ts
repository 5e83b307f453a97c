/** `embedded kubelet`: the kubelet of the embedded node as a process, with the real kubelet's flags as far as it knows them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { durationFlag, type FlagSpec, parseFlags, requireFlag } from '../apiserver/flags.ts';
import { createClient } from '../controllers/client.ts';
import { readKubeconfig } from '../controllers/kubeconfig.ts';
import { logTo } from '../log.ts';
import { followPowerLine, NODE_MARK } from '../node/processes.ts';
import { Kubelet } from './kubelet.ts';
import { onContention, takeLock } from './lock.ts';

const FLAGS: FlagSpec = {
  values: {
    kubeconfig: '',
    'hostname-override': '',
    'node-name': '',
    'node-ip': '127.0.0.1',
    'node-labels': '',
    'pod-manifest-path': '',
    'container-runtime-endpoint': '',
    'root-dir': '/var/lib/kubelet',
    'pod-logs-dir': '',
    'lock-file': '',
    'boot-id-file': '/proc/sys/kernel/random/boot_id',
    'feature-gates': '',
    // The defaults of the real kubelet, which has no flags for most of them.
    'file-check-frequency': '20s',
    'sync-frequency': '1m',
    'relist-period': '1s',
    'housekeeping-period': '2s',
    'gc-period': '1m',
    'backoff-period': '10s',
    'status-sync-period': '10s',
    'crash-backoff-base': '10s',
    'crash-backoff-max': '5m',
    'api-retry-base': '800ms',
    'api-retry-max': '30s',
    'node-sync-period': '1s',
  },
  switches: ['exit-on-lock-contention', 'power-line'],
  ignored: ['config', 'cgroup-driver', 'v'],
};

/** Runs until it is killed or SIGTERM comes; the pods go on either way. @throws a UsageError for bad flags, and what keeps it from starting. */
export async function kubeletCommand(argv: readonly string[]): Promise<void> {
  const flags = parseFlags(FLAGS, argv);
  const log = logTo('kubelet');
  if (flags.isOn('power-line')) followPowerLine(process.env[NODE_MARK]);
  const lock = flags.value('lock-file');
  if (lock !== '') {
    await takeLock(lock);
    if (flags.isOn('exit-on-lock-contention'))
      onContention(lock, () => {
        log(`somebody wants ${lock}: exiting`);
        process.exit(0);
      });
  }
  const rootDir = flags.value('root-dir');
  const logs = flags.value('pod-logs-dir');
  const duration = (name: string) => durationFlag(flags, name);
  const kubelet = new Kubelet({
    client: createClient(readKubeconfig(requireFlag(flags, 'kubeconfig'))),
    nodeName: flags.value('hostname-override') || requireFlag(flags, 'node-name'),
    nodeIP: flags.value('node-ip'),
    bootId: readFileSync(flags.value('boot-id-file'), 'utf8').trim(),
    labels: parsePairs(flags.value('node-labels')),
    manifestDir: requireFlag(flags, 'pod-manifest-path'),
    rootDir,
    logsDir: logs === '' ? join(rootDir, 'log') : logs,
    runtimeEndpoint: requireFlag(flags, 'container-runtime-endpoint'),
    eventedPleg: parsePairs(flags.value('feature-gates'))['EventedPLEG'] === 'true',
    timing: {
      fileCheck: duration('file-check-frequency'),
      relist: duration('relist-period'),
      housekeeping: duration('housekeeping-period'),
      gc: duration('gc-period'),
      retry: duration('backoff-period'),
      resync: duration('sync-frequency'),
      statusSync: duration('status-sync-period'),
      crashBackoff: { base: duration('crash-backoff-base'), max: duration('crash-backoff-max') },
      apiRetry: { first: duration('api-retry-base'), max: duration('api-retry-max') },
      nodeSync: duration('node-sync-period'),
    },
    log,
  });
  process.on('SIGTERM', () => {
    kubelet.stop();
    process.exit(0);
  });
  await kubelet.start();
}

/** `a=b,c=d` */
function parsePairs(text: string): Record<string, string> {
  const pairs = text.split(',').filter((pair) => pair !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
