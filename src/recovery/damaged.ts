/**
 * An active manifest whose generation is damaged or gone: the files that its pod mounts are not what was proven, or are not there, and the next reboot would
 * start it again. A good generation takes its place, in this order, one decision after the other where one of them fails:
 *
 *  1. the good one is activated, under a name of its own (nothing is taken away before its manifest is on the disk);
 *  2. the damaged one makes room, its containers with it: the kubelet lets them run on until it has once seen the API server, and they may hold the port;
 *  3. the damaged generation goes to the quarantine, when neither a manifest nor a container needs its files any more.
 *
 * Where there is no good one the damaged one stays, and so it does while it is up: a pod that runs is better than none.
 */
import { type Action, type ActiveManifest, type GenerationNumber, OF_PREDECESSOR, type WorkloadObservation } from '../checkpoint/model.ts';
import type { Case, Verdict } from '../checkpoint/verdict.ts';
import { activateAction } from './candidate.ts';

/**
 * Undefined where every active manifest has its generation, or nothing better is stored. Goes before the rule that lets the latest of two manifests stay:
 * the latest may be the damaged one. `good`: the generation that an activation would take now.
 */
export function replaceDamaged(
  { workload, leaving }: Pick<Case, 'workload' | 'leaving'>,
  good: GenerationNumber | undefined,
  isSelf: boolean,
): Verdict | undefined {
  const damaged = workload.active.filter((manifest) => isDamaged(workload, manifest) && (isSelf || !isUp(workload, manifest)));
  if (damaged.length === 0 || leaving) return undefined;
  const what = `generation ${[...new Set(damaged.map(({ generation }) => generation))].join(', ')} of the active copy is damaged or gone`;
  if (damaged.length < workload.active.length)
    return { reason: 'Active', message: `${what}: the other copy stays`, actions: takeAway(workload, damaged, isSelf), flux: true };
  if (good === undefined || workload.stored?.generations.has(good) !== true) return undefined;
  return {
    reason: 'Activating',
    message: `${what}: generation ${good} takes its place`,
    actions: [activateAction({ workload }, good), ...takeAway(workload, damaged, isSelf)],
    flux: true,
  };
}

/** Damaged generations whose files nothing needs any more. The others wait: what a running pod has mounted is not pulled away. */
export function quarantines(observed: WorkloadObservation): Action[] {
  const { workload, stored, active, copyPods } = observed;
  const needed = new Set([
    ...active.map(({ generation }) => generation),
    ...copyPods.filter(({ alive }) => alive > 0).map(({ generation }) => generation),
  ]);
  return [...(stored?.damaged ?? [])]
    .filter(([generation]) => !needed.has(generation))
    .map(([generation, detail]) => ({ kind: 'quarantine', workload, generation, detail }));
}

/** What bootkube's pod-checkpointer runs is no generation of ours, and nothing is wrong with that. */
function isDamaged({ stored }: WorkloadObservation, { generation }: ActiveManifest): boolean {
  return generation !== OF_PREDECESSOR && stored?.generations.has(generation) !== true;
}

/** What runs has read its files: it is not ended for what became of them since. After the next boot it does not run, and is replaced. */
const isUp = ({ copyPods }: WorkloadObservation, { activation }: ActiveManifest): boolean =>
  copyPods.some((pod) => pod.activation === activation && pod.up);

/** The checkpointer's own containers are left to the kubelet: this process may be one of them. */
function takeAway({ workload, copyPods, stored }: WorkloadObservation, damaged: readonly ActiveManifest[], isSelf: boolean): Action[] {
  if (isSelf) return damaged.map(({ file }) => ({ kind: 'deactivate', workload, file }));
  const theirs = copyPods.filter((pod) => damaged.some((one) => one.generation === pod.generation && one.activation === pod.activation));
  const servesApi = [...(stored?.generations.values() ?? [])].some(({ traits }) => traits.servesApi);
  return [
    {
      kind: 'makeRoom',
      workload,
      files: damaged.map(({ file }) => file),
      containerIds: theirs.flatMap((pod) => pod.runningContainerIds),
      graceful: !servesApi,
    },
  ];
}
