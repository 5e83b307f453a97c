/** What bootkube's pod-checkpointer left on the node, and what it waits for. Pure. */
import type { FoundCheckpoint } from '../../predecessor/read.ts';
import type { Facts } from '../facts.ts';
import { type Finding, warning } from '../finding.ts';

type Seen = Pick<Facts, 'disk' | 'status'>;

export interface PredecessorReport {
  /** `namespace/name` of the pod. */
  readonly pod: string;
  readonly workload?: string;
  /** Its manifest in the kubelet's directory. */
  readonly active?: string;
  /** It is a copy of bootkube's pod-checkpointer itself. */
  readonly itself?: true;
  readonly inactive: boolean;
  /** Secrets or ConfigMaps. */
  readonly files: boolean;
  /** As the leader last said. */
  readonly waitsFor?: string;
}

export function predecessorReports({ disk, status }: Seen): PredecessorReport[] {
  return checkpointsIn(disk).map((one) => {
    const waitsFor = one.key === undefined ? undefined : status?.workloads[one.key]?.predecessor;
    return {
      pod: nameOf(one),
      ...(one.key !== undefined && { workload: one.key }),
      ...(one.active !== undefined && { active: one.active }),
      ...(one.isCheckpointer && { itself: true as const }),
      inactive: one.inactive,
      files: one.data,
      ...(waitsFor?.includes(nameOf(one)) && { waitsFor }),
    };
  });
}

export function predecessorFindings(seen: Seen): Finding[] {
  const { disk } = seen;
  if (disk.state !== 'ok' || disk.predecessor === undefined) return [];
  if (disk.predecessor.state === 'unknown')
    return [
      warning(
        'PredecessorUnknown',
        `what bootkube's pod-checkpointer left cannot be read: ${disk.predecessor.detail}`,
        'Run this as root, and look at the directories that docs/migration.md names.',
      ),
    ];
  const reports = predecessorReports(seen);
  const itself = reports.find(({ itself, active }) => itself === true && active !== undefined);
  const others = reports.filter((report) => report.itself !== true);
  const { removable, unread } = disk.predecessor;
  return [
    ...(unread
      ? [
          warning(
            'PredecessorUnknown',
            "the disk does not give all that bootkube's pod-checkpointer may have left",
            "See the kernel's log.",
          ),
        ]
      : []),
    ...(itself === undefined
      ? []
      : [
          warning(
            'PredecessorStarts',
            `bootkube's pod-checkpointer starts with the kubelet (${itself.active}): after a power cut the first to take the lock works${itself.waitsFor === undefined ? '' : ` (${itself.waitsFor})`}`,
            "Delete its DaemonSet; its copy of itself goes once a copy of this checkpointer runs and the API server says that bootkube's pod is gone.",
          ),
        ]),
    ...(others.length === 0
      ? []
      : [
          warning(
            'PredecessorLeft',
            `bootkube's pod-checkpointer left ${others.length === 1 ? 'a checkpoint' : `${others.length} checkpoints`}: ${others.map((one) => one.waitsFor ?? one.pod).join('; ')}`,
            removable
              ? 'Wait: each goes when the copy of its workload is proven and its pod is Ready. One that stays is of a pod that no copy can be made of.'
              : 'Apply manifests/components/from-bootkube, or remove them by hand once every workload is proven (docs/migration.md).',
          ),
        ]),
  ];
}

/** A manifest of its, of a workload that the rules can do nothing for, runs again after a power cut: the kubelet reads it whoever leads. */
export function runsUnderPredecessor(disk: Facts['disk'], key: string): FoundCheckpoint | undefined {
  return checkpointsIn(disk).find((one) => one.key === key && one.active !== undefined && !one.isCheckpointer);
}

export function predecessorRuns({ active }: FoundCheckpoint): Finding {
  return warning(
    'PredecessorActive',
    `bootkube's manifest ${active} is in the kubelet's directory and runs again`,
    'Wait until its pod is back and this checkpointer has handed over to it.',
  );
}

function checkpointsIn(disk: Facts['disk']): readonly FoundCheckpoint[] {
  return disk.state === 'ok' && disk.predecessor?.state === 'ok' ? disk.predecessor.checkpoints : [];
}

const nameOf = ({ namespace, name }: FoundCheckpoint): string => `${namespace}/${name}`;
