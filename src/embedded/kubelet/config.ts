/**
 * Pods of the two sources, file and API server, and what changes when a source says anew what it has (pkg/kubelet/config). A source is ready once
 * it has said anything; until both are, the kubelet kills nothing.
 */
import { sameValue } from '../apiserver/objects.ts';
import { CONFIG_SEEN, CONFIG_SOURCE, fullName, type Pod } from './pod.ts';

export type Source = 'file' | 'api';

export interface Changes {
  readonly adds: readonly Pod[];
  readonly updates: readonly Pod[];
  /** Only their status is another one: what the API server has is noted, nothing is done. */
  readonly reconciles: readonly Pod[];
  readonly removes: readonly Pod[];
}

/** `before` by uid. The first of two pods with one full name is taken, the other one ignored. */
export function mergeSource(
  source: Source,
  before: ReadonlyMap<string, Pod>,
  pods: readonly Pod[],
  now: string,
): { after: Map<string, Pod>; changes: Changes } {
  const names = new Set<string>();
  const after = new Map<string, Pod>();
  const adds: Pod[] = [];
  const updates: Pod[] = [];
  const reconciles: Pod[] = [];
  for (const pod of pods) {
    if (names.has(fullName(pod))) continue;
    names.add(fullName(pod));
    const old = before.get(pod.metadata.uid);
    const marked = annotate(pod, source, old?.metadata.annotations?.[CONFIG_SEEN] ?? now);
    after.set(pod.metadata.uid, marked);
    if (old === undefined) adds.push(marked);
    else if (differs(old, marked)) updates.push(marked);
    else if (!sameValue(old.status, marked.status)) reconciles.push(marked);
  }
  const removes = [...before.values()].filter((pod) => !after.has(pod.metadata.uid));
  return { after, changes: { adds, updates, reconciles, removes } };
}

function annotate(pod: Pod, source: Source, seen: string): Pod {
  return {
    ...pod,
    metadata: { ...pod.metadata, annotations: { ...pod.metadata.annotations, [CONFIG_SOURCE]: source, [CONFIG_SEEN]: seen } },
  };
}

function differs(old: Pod, now: Pod): boolean {
  const part = ({ spec, metadata }: Pod) => ({
    spec,
    labels: metadata.labels ?? {},
    annotations: metadata.annotations ?? {},
    deletionTimestamp: metadata.deletionTimestamp,
    deletionGracePeriodSeconds: metadata.deletionGracePeriodSeconds,
  });
  return !sameValue(part(old), part(now));
}
