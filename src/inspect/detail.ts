/** One workload from close by: its past, its generations and how they differ, how the newest one differs from what the API server has. Pure. */
import { createHash } from 'node:crypto';
import { explainCopy } from '../checkpoint/copy.ts';
import type { CopyPolicy } from '../checkpoint/copy-types.ts';
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { generationPath, workloadPath } from '../checkpoint/store/paths.ts';
import type { WorkloadKey } from '../checkpoint/workload.ts';
import { InputError } from '../commands/input-error.ts';
import type { HistoryEntry } from '../report/history.ts';
import { comparable, type Difference, fileDifferences, podDifferences } from './diff.ts';
import type { Expiry } from './expiry.ts';
import type { Facts, GenerationFacts } from './facts.ts';
import type { ReadParent } from './read-parent.ts';

export interface WorkloadDetail {
  readonly workload: string;
  /** Oldest first. */
  readonly history: readonly HistoryEntry[];
  readonly parent: ParentDetail;
  /** Oldest first. */
  readonly generations: readonly GenerationDetail[];
}

export type ParentDetail =
  | {
      readonly state: 'read';
      /** What the copy has otherwise than its parent, and by which rule. */
      readonly changes: readonly { readonly field: string; readonly rule: string }[];
      /** From the newest generation to a copy made now; none: it is current. */
      readonly differences: readonly Difference[];
    }
  /** No copy can be made of it now. */
  | { readonly state: 'no copy'; readonly reasons: readonly string[] }
  | { readonly state: 'unknown'; readonly detail: string };

export interface GenerationDetail {
  readonly generation: GenerationNumber;
  readonly roles: readonly ('proven' | 'previous' | 'newest')[];
  readonly createdAt?: string;
  readonly bytes: number;
  readonly damage?: string;
  readonly files: readonly {
    readonly path: string;
    readonly mode: string;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
  }[];
  readonly ends: readonly Expiry[];
  /** From the generation before it that is stored; absent for the oldest. */
  readonly differences?: readonly Difference[];
}

/** The workload that somebody means by `namespace/Kind/name`, `Kind/name` or `name`. Throws InputError with the choice there is. */
export function resolveWorkload(keys: readonly WorkloadKey[], given: string): WorkloadKey {
  const wanted = given.split('/');
  const found = keys.filter((key) => {
    const parts = key.split('/').slice(-wanted.length);
    return (
      wanted.length <= 3 &&
      parts.every((part, i) => part === wanted[i] || (part.toLowerCase() === wanted[i]?.toLowerCase() && i < wanted.length - 1))
    );
  });
  const [only, ...more] = found;
  if (only !== undefined && more.length === 0) return only;
  const choice = keys.length === 0 ? 'nothing is stored or known here' : `there is ${(found.length > 0 ? found : keys).join(', ')}`;
  throw new InputError(`${given}: ${found.length > 0 ? 'more than one workload is called that' : 'no such workload'}: ${choice}`);
}

export function workloadDetail(
  { disk, generations, places }: Facts,
  key: WorkloadKey,
  history: readonly HistoryEntry[],
  parent: ReadParent,
  policy: CopyPolicy,
): WorkloadDetail {
  const found = disk.state === 'ok' ? disk.store.workloads.get(key) : undefined;
  const directory = found === undefined ? '' : workloadPath(places.checkpointDir, found.workload);
  const known = [...(generations.get(key)?.values() ?? [])].sort((a, b) => a.number - b.number);
  const newest = known.find(({ number }) => number === found?.stored.newest);
  return {
    workload: key,
    history,
    parent: parentDetail(parent, newest, directory, policy),
    generations: known.map((one, i) => generationDetail(one, known[i - 1], found?.stored, directory)),
  };
}

function generationDetail(
  one: GenerationFacts,
  before: GenerationFacts | undefined,
  stored: StoredWorkload | undefined,
  directory: string,
): GenerationDetail {
  const { number, createdAt, bytes, damage, files, ends, tokens } = one;
  const fromIndex = tokens.map(({ path, expiresAt }): Expiry => ({ path: `files/${path}`, kind: 'token', from: undefined, to: expiresAt }));
  return {
    generation: number,
    roles: (['proven', 'previous', 'newest'] as const).filter((role) => stored?.[role] === number),
    ...(createdAt !== '' && { createdAt }),
    bytes,
    ...(damage !== undefined && { damage }),
    files: files.map(({ path, mode, uid, gid, size }) => ({ path, mode: mode.toString(8).padStart(4, '0'), uid, gid, size })),
    ends: [...ends, ...fromIndex.filter(({ path }) => !ends.some((end) => end.path === path))],
    ...(before?.pod !== undefined && one.pod !== undefined && { differences: between(before, one, directory) }),
  };
}

function between(before: GenerationFacts, after: GenerationFacts, directory: string): Difference[] {
  const placed = ({ pod = {}, number }: GenerationFacts) => comparable(pod, generationPath(directory, number));
  return [...podDifferences(placed(before), placed(after)), ...fileDifferences(before.files, after.files)];
}

function parentDetail(parent: ReadParent, newest: GenerationFacts | undefined, directory: string, policy: CopyPolicy): ParentDetail {
  if (parent.state === 'unknown') return parent;
  const { outcome, changes } = explainCopy(parent.pod, parent.lookup, policy);
  if (outcome.kind === 'refused')
    return { state: 'no copy', reasons: outcome.refusals.map(({ field, message }) => `${field}: ${message}`) };
  if (outcome.kind === 'waiting') return { state: 'no copy', reasons: outcome.objects.map((object) => `waiting for ${object}`) };
  if (newest?.pod === undefined) return { state: 'read', changes, differences: [] };
  const { pod, files, instance } = outcome.copy;
  const made = files.map(({ bytes, path, ...file }) => ({
    ...file,
    path: `files/${path}`,
    sha256: createHash('sha256').update(bytes).digest('hex'),
  }));
  const tokens = new Set([...(instance?.tokens ?? []), ...newest.tokens].map(({ path }) => `files/${path}`));
  const stored = comparable(newest.pod, generationPath(directory, newest.number));
  return { state: 'read', changes, differences: [...podDifferences(stored, pod), ...fileDifferences(newest.files, made, tokens)] };
}
