/**
 * The systemd units of a host, as text. manifests/systemd holds them with the default places; a test keeps the two the same.
 *
 * What the hardening leaves out, and why: MemoryDenyWriteExecute (V8 compiles at run time), ProcSubset=pid (the boot id and /proc/locks are no process'),
 * another user than root (the kubelet's directory and the copies' files belong to root and to whom they belong in the pods).
 */
import { dirname } from 'node:path';

export interface HostPlaces {
  /** Absolute path of the executable on the host. */
  readonly executable: string;
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly kubeconfig: string;
  readonly lockFile: string;
  readonly containerRuntimeEndpoint: string;
  /** Undefined: the kubelet has no --lock-file. */
  readonly kubeletLockFile: string | undefined;
  /** The kubelet's unit. */
  readonly kubeletUnit: string;
  /** As the node is called in the API; `%H` is the host's name. */
  readonly nodeName: string;
  /** The kubeconfig is handed over by systemd (LoadCredential=) instead of being read where it lies. */
  readonly loadCredential: boolean;
}

export const DEFAULT_PLACES: HostPlaces = {
  executable: '/opt/pod-checkpointer/bin/checkpointer',
  checkpointDir: '/var/lib/pod-checkpointer',
  podManifestPath: '/etc/kubernetes/manifests',
  kubeconfig: '/etc/kubernetes/kubelet.conf',
  lockFile: '/run/lock/pod-checkpointer.lock',
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  // A kubelet without --lock-file holds none: to watch a file that nobody takes would keep every copy active for ever.
  kubeletLockFile: undefined,
  kubeletUnit: 'kubelet.service',
  nodeName: '%H',
  loadCredential: false,
};

export interface HostUnit {
  readonly name: string;
  readonly text: string;
  /** The unit whose start brings it along. */
  readonly wantedBy: string;
}

/** The workload that manifests/base makes. */
const SELF = 'kube-system/DaemonSet/pod-checkpointer';

/** Of all units: settings of the operator's, as environment variables. What a unit gives as a flag goes before them. */
const ENVIRONMENT = 'EnvironmentFile=-/etc/default/pod-checkpointer';

/** Of a daemon that rests nearly always, as in the image: one arena for malloc, and what the start needed and rest does not is given back (mallopt(3)). */
const MEMORY = 'Environment=MALLOC_ARENA_MAX=1 MALLOC_TRIM_THRESHOLD_=65536';

/** The first line of every unit of ours: a file without it was written by somebody else. */
export const UNIT_MARK = '# Written by checkpointer install-host; checkpointer uninstall-host removes it.';

export function hostUnits(places: HostPlaces, guard: boolean): HostUnit[] {
  return [bootUnit(places), daemonUnit(places), ...(guard ? [guardUnit(places)] : [])];
}

export const UNIT_NAMES = ['pod-checkpointer-boot.service', 'pod-checkpointer.service', 'kubelet-guard.service'] as const;

function bootUnit(places: HostPlaces): HostUnit {
  const { executable, checkpointDir, podManifestPath, kubeletUnit } = places;
  const text = unit({
    Unit: [
      'Description=Copies of the control plane, in place before the kubelet reads its directory',
      `Before=${kubeletUnit}`,
      // Without a Wants= of it: it waits for the network where the kubelet does, and not where it does not.
      'After=local-fs.target network-online.target',
      `RequiresMountsFor=${checkpointDir} ${podManifestPath}`,
      `ConditionPathIsDirectory=${checkpointDir}`,
    ],
    Service: [
      'Type=oneshot',
      // Once a boot: a kubelet that is started again is no reason to look again, the daemon does that.
      'RemainAfterExit=yes',
      `ExecStart=${executable} recover --boot ${flags(storeFlags(places), kubeconfigFlag(places))}`,
      ENVIRONMENT,
      'TimeoutStartSec=30s',
      ...credential(places),
      ...hardening({
        capabilities: ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER'],
        families: ['AF_UNIX', 'AF_INET', 'AF_INET6'],
        writable: [checkpointDir, ...withParent(podManifestPath), dirname(places.lockFile)],
      }),
      'RestrictSUIDSGID=yes',
    ],
    Install: [`WantedBy=${kubeletUnit}`],
  });
  return { name: 'pod-checkpointer-boot.service', text, wantedBy: kubeletUnit };
}

function daemonUnit(places: HostPlaces): HostUnit {
  const { executable, checkpointDir, podManifestPath, containerRuntimeEndpoint, kubeletLockFile, nodeName } = places;
  const more = [
    // Without it the checkpointer's own copy is a workload like any other to the daemon on the host, which would take it away.
    `--self=${SELF}`,
    // The kubelet of a boot starts the copy in seconds. That one leads, if it comes; when it ends, this one leads at once.
    '--give-way=15s',
    `--node-name=${nodeName}`,
    `--container-runtime-endpoint=${containerRuntimeEndpoint}`,
    ...(kubeletLockFile === undefined ? [] : [`--kubelet-lock-file=${kubeletLockFile}`]),
  ];
  const text = unit({
    Unit: [
      'Description=Pod checkpointer, working while no container of it does',
      'After=pod-checkpointer-boot.service containerd.service crio.service network.target',
      `RequiresMountsFor=${checkpointDir} ${podManifestPath}`,
      // It waits on a lock for most of its life and must come back whatever happens to it.
      'StartLimitIntervalSec=0',
    ],
    Service: [
      'Type=exec',
      `ExecStart=${executable} run ${flags(storeFlags(places), kubeconfigFlag(places), more)}`,
      MEMORY,
      ENVIRONMENT,
      'Restart=always',
      'RestartSec=2s',
      'TimeoutStopSec=10s',
      // What goes down last when memory is short: it brings the rest back.
      'OOMScoreAdjust=-900',
      ...credential(places),
      ...hardening({
        // To read and make files of any owner, as the pods have them.
        capabilities: ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_FSETID'],
        families: ['AF_UNIX', 'AF_INET', 'AF_INET6'],
        // Its parent, too: the store is made where there is none.
        writable: [checkpointDir, dirname(checkpointDir), ...withParent(podManifestPath), dirname(places.lockFile)],
      }),
    ],
    Install: ['WantedBy=multi-user.target'],
  });
  return { name: 'pod-checkpointer.service', text, wantedBy: 'multi-user.target' };
}

function guardUnit({ executable, kubeletLockFile, kubeletUnit }: HostPlaces): HostUnit {
  const text = unit({
    Unit: ['Description=Starts the kubelet of the host when no kubelet holds its lock', 'StartLimitIntervalSec=0'],
    Service: [
      'Type=exec',
      `ExecStart=${executable} kubelet-guard --kubelet-lock-file=${kubeletLockFile ?? '/run/lock/kubelet.lock'} -- systemctl start ${kubeletUnit}`,
      ENVIRONMENT,
      'Restart=always',
      'RestartSec=2s',
      ...hardening({ capabilities: [], families: ['AF_UNIX'], writable: [] }),
      'RestrictSUIDSGID=yes',
      'PrivateNetwork=yes',
      'IPAddressDeny=any',
    ],
    Install: ['WantedBy=multi-user.target'],
  });
  return { name: 'kubelet-guard.service', text, wantedBy: 'multi-user.target' };
}

function hardening(allowed: {
  readonly capabilities: readonly string[];
  readonly families: readonly string[];
  readonly writable: readonly string[];
}): string[] {
  const writable = [...new Set(allowed.writable)];
  return [
    'NoNewPrivileges=yes',
    `CapabilityBoundingSet=${allowed.capabilities.join(' ')}`,
    'ProtectSystem=strict',
    // A leading dash: one that does not exist yet is no error.
    ...(writable.length === 0 ? [] : [`ReadWritePaths=${writable.map((path) => `-${path}`).join(' ')}`]),
    'ProtectHome=yes',
    'ProtectProc=invisible',
    'ProtectClock=yes',
    'ProtectHostname=yes',
    'ProtectControlGroups=yes',
    'ProtectKernelLogs=yes',
    'ProtectKernelModules=yes',
    'ProtectKernelTunables=yes',
    'PrivateDevices=yes',
    'PrivateMounts=yes',
    'DevicePolicy=closed',
    'PrivateTmp=yes',
    'PrivateIPC=yes',
    'KeyringMode=private',
    'LockPersonality=yes',
    `RestrictAddressFamilies=${allowed.families.join(' ')}`,
    'RestrictNamespaces=yes',
    'RestrictRealtime=yes',
    'SystemCallArchitectures=native',
    'SystemCallFilter=@system-service',
    'SystemCallFilter=~@resources @privileged',
    ...(allowed.capabilities.includes('CAP_CHOWN') ? ['SystemCallFilter=@chown'] : []),
    'SystemCallErrorNumber=EPERM',
    'UMask=0077',
  ];
}

function storeFlags({ checkpointDir, podManifestPath, lockFile }: HostPlaces): string[] {
  return [`--checkpoint-dir=${checkpointDir}`, `--pod-manifest-path=${podManifestPath}`, `--lock-file=${lockFile}`];
}

function kubeconfigFlag({ kubeconfig, loadCredential }: HostPlaces): string[] {
  return [`--kubeconfig=${loadCredential ? '%d/kubeconfig' : kubeconfig}`];
}

function credential({ kubeconfig, loadCredential }: HostPlaces): string[] {
  if (!loadCredential) return [];
  // The second stands in for a file that is not there: without it the unit would not be started at all, and recovery needs no kubeconfig.
  return [`LoadCredential=kubeconfig:${kubeconfig}`, 'SetCredential=kubeconfig:missing'];
}

/**
 * A directory that somebody removes and makes anew is another one, and what systemd made writable is the old one. In a parent that is writable, too, the new
 * one is; not where that parent is /etc, say.
 */
function withParent(directory: string): string[] {
  const parent = dirname(directory);
  return dirname(parent) === '/' ? [directory] : [parent, directory];
}

const flags = (...lists: readonly (readonly string[])[]): string => lists.flat().join(' ');

function unit(sections: Readonly<Record<string, readonly string[]>>): string {
  const body = Object.entries(sections).map(([name, lines]) => `[${name}]\n${lines.join('\n')}\n`);
  return `${UNIT_MARK}\n${body.join('\n')}`;
}
