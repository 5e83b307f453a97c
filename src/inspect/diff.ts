/** Where two copies differ. Pure. Values that may come from a Secret are never in the answer: of files there is their place, of variables their name. */
import { isDeepStrictEqual } from 'node:util';
import type { V1Pod } from '@kubernetes/client-node';
import { GENERATION } from '../checkpoint/annotations.ts';
import { canonical } from '../checkpoint/copy/canonical.ts';
import { GENERATION_DIR } from '../checkpoint/copy-types.ts';

export interface Difference {
  /** Path of the field in the pod, or the file in the generation. */
  readonly where: string;
  /** Absent on the side that has none, and on both where the value may be secret. */
  readonly before?: string;
  readonly after?: string;
  readonly change: 'added' | 'removed' | 'changed';
}

export interface ComparableFile {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sha256: string;
}

/** The longest value that is shown; more of it says nothing to a person. */
const SHOWN = 120;

/** Of two pods in one form, see `comparable`. Items of lists that have a name are matched by it. */
export function podDifferences(before: V1Pod, after: V1Pod): Difference[] {
  return [...differences('', canonical(before), canonical(after))];
}

function* differences(where: string, before: unknown, after: unknown): Generator<Difference> {
  if (isDeepStrictEqual(before, after)) return;
  const [one, other] = [members(before), members(after)];
  if (one === undefined || other === undefined) {
    yield difference(where, before, after);
    return;
  }
  for (const key of new Set([...one.keys(), ...other.keys()]))
    yield* differences(`${where}${key}`.replace(/^\./, ''), one.get(key), other.get(key));
}

/** By the suffix that a member adds to the path; undefined for what has none. */
function members(value: unknown): Map<string, unknown> | undefined {
  if (Array.isArray(value)) return new Map(value.map((item, i) => [`[${nameOf(item) ?? i}]`, item]));
  if (typeof value !== 'object' || value === null) return undefined;
  return new Map(Object.entries(value).map(([key, member]) => [/^[\w-]+$/.test(key) ? `.${key}` : `[${key}]`, member]));
}

function nameOf(item: unknown): string | undefined {
  const { name, mountPath } = Object(item) as { name?: unknown; mountPath?: unknown };
  if (typeof mountPath === 'string') return mountPath;
  return typeof name === 'string' ? name : undefined;
}

function difference(where: string, before: unknown, after: unknown): Difference {
  const change = before === undefined ? 'added' : after === undefined ? 'removed' : 'changed';
  // A variable's value may be a Secret's, where the policy is to write them into the copy; also where a container has variables on one side only.
  if (/\.env(\[|\.|$)/.test(where)) return { where, change };
  return { where, change, ...(before !== undefined && { before: shown(before) }), ...(after !== undefined && { after: shown(after) }) };
}

function shown(value: unknown): string {
  const text = JSON.stringify(value, (key, member: unknown) => (key === 'env' ? '…' : member));
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`;
}

/** @param ignored paths of files that are another one for each pod: tokens. */
export function fileDifferences(
  before: readonly ComparableFile[],
  after: readonly ComparableFile[],
  ignored: ReadonlySet<string> = new Set(),
): Difference[] {
  const [one, other] = [byPath(before), byPath(after)];
  return [...new Set([...one.keys(), ...other.keys()])].sort().flatMap((path): Difference[] => {
    const [was, is] = [one.get(path), other.get(path)];
    if (was === undefined) return [{ where: path, change: 'added' }];
    if (is === undefined) return [{ where: path, change: 'removed' }];
    const [old, now] = [owned(was), owned(is)];
    if (old !== now) return [{ where: path, change: 'changed', before: old, after: now }];
    return was.sha256 === is.sha256 || ignored.has(path) ? [] : [{ where: path, change: 'changed' }];
  });
}

const byPath = (files: readonly ComparableFile[]) =>
  new Map(files.filter(({ path }) => path !== 'pod.json').map((file) => [file.path, file]));

const owned = ({ mode, uid, gid }: Pick<ComparableFile, 'mode' | 'uid' | 'gid'>): string =>
  `${mode.toString(8).padStart(4, '0')} ${uid}:${gid}`;

/** A stored pod as it is before it has a generation: so that two generations differ only where their copies do. */
export function comparable(pod: V1Pod, generationDir: string): V1Pod {
  const copy = structuredClone(pod);
  const { [GENERATION]: number, ...annotations } = copy.metadata?.annotations ?? {};
  copy.metadata = { ...copy.metadata, annotations };
  const name = copy.metadata.name ?? '';
  if (name.endsWith(`-g${number}`)) copy.metadata.name = name.slice(0, -`-g${number}`.length);
  for (const { hostPath } of copy.spec?.volumes ?? [])
    if (hostPath?.path.startsWith(`${generationDir}/`)) hostPath.path = GENERATION_DIR + hostPath.path.slice(generationDir.length);
  return copy;
}
