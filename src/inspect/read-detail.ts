/** What the detail of one workload is made from beside the facts of the node: its history, and its parent where the API server answers. Reads only. */
import type { CopyPolicy } from '../checkpoint/copy-types.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { readHistory } from '../report/history.ts';
import { type WorkloadDetail, workloadDetail } from './detail.ts';
import type { Facts } from './facts.ts';
import type { ReadParent } from './read-parent.ts';

export interface ReadDetailOptions {
  readonly kubeconfig: string;
  /** Milliseconds for everything that is asked of the API server; 0 does not ask. */
  readonly probeTimeout: number;
  readonly secretEnv: CopyPolicy['secretEnv'];
  readonly kubernetesService: CopyPolicy['kubernetesService'] | undefined;
}

export async function readDetail(
  facts: Facts,
  key: WorkloadKey,
  parent: string | undefined,
  options: ReadDetailOptions,
): Promise<WorkloadDetail> {
  const { secretEnv, kubernetesService } = options;
  const [history, read] = await Promise.all([
    readHistory(facts.places.checkpointDir, key).catch(() => []),
    readParentPod(facts, key, parent, options),
  ]);
  return workloadDetail(facts, key, history, read, { secretEnv, ...(kubernetesService !== undefined && { kubernetesService }) });
}

async function readParentPod({ api }: Facts, key: WorkloadKey, name: string | undefined, options: ReadDetailOptions): Promise<ReadParent> {
  if (api.state !== 'ok') return { state: 'unknown', detail: `the API server is ${api.state}` };
  if (name === undefined) return { state: 'unknown', detail: 'the name of its pod is not known' };
  const { readParent } = await import('./read-parent.ts');
  return readParent(options.kubeconfig, key.split('/')[0] ?? '', name, options.probeTimeout);
}
