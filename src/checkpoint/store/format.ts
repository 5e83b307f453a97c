/**
 * Format 1 of the store, under `--checkpoint-dir` (root, 0700):
 *
 *     format                                  "pod-checkpointer store 1 <sha256 of the text before this space>\n"
 *     node.json                               what is remembered about the node: the boot in which cold-boot activation was completed
 *     status.json, leader.json                what was last decided and who leads; for people, rebuilt when lost
 *     history.jsonl, events.json              the transitions so far, and what the API server was not told yet; for people, bounded (src/report)
 *     pivot/                                  what a pivot of this node has to remember, where there was one (src/pivot/journal.ts); never deleted
 *     .lock-<boot id>/owner                   who changes the store at this moment, see lock/holder.ts
 *     workloads/<namespace>.<kind>.<name>/
 *       workload.json                         namespace, group, kind, name
 *       proven                                pointers to the proven generation and, behind it, to the one proven before: each "<generation> <sha256 of its
 *                                             index.json>", a space between them, "\n" at the end
 *       previous                              the second of these once more, for the case that `proven` is damaged; not read otherwise
 *       newest                                a pointer, and " <highest generation there was when it was written>" before its line end; see below
 *       activations                           "<number of activations so far> <sha256 of that number>\n", there before the first generation is
 *       failing.json                          specs that were seen to fail, see failing.ts
 *       generations/<number>/                 one complete copy, immutable once it has this name
 *         index.json                          what it is, and size, owner, mode and sha256 of every file beside it
 *         pod.json                            the static pod; put into the kubelet's directory by hand, it runs
 *         files/<volume>/…                    what the pod mounts
 *       generations/.building-<number>-<pid>-<random>/   a save that has not been committed; removed by the next one
 *       generations/.pruned-<number>/         a generation that is being deleted
 *     retired/<workload>.<milliseconds>/      workloads out of use, kept for a while; an empty file `replaced` in one: its owner had moved to other nodes
 *     quarantine/<workload>.<number>.<ms>/    generations that did not verify, with the reason in `….reason.txt` beside them where there was room for it
 *
 * The rename of `.building-<n>` to `<n>` is the commit of a generation: from then on the highest whole generation is the newest one. The file `newest` is
 * there only after a pod went back to what an earlier generation holds, and counts until a generation higher than its last number is there.
 * The rename of a pointer makes it count. A pointer vouches for an index, an index for its files, and for itself by the `sha256` in its second line,
 * which is that of all its other lines. To read a generation without this program:
 *
 *     cat proven; sha256sum generations/12/index.json
 *     cd generations/12 && sed -n 2p index.json; sed 2d index.json | sha256sum
 *     jq -r '.files[] | .sha256 + "  " + .path' index.json | sha256sum -c
 */
import { createHash } from 'node:crypto';
import type { Instance } from '../copy-types.ts';
import type { Digest, GenerationNumber, Traits } from '../model.ts';
import type { Workload } from '../workload.ts';

export const FORMAT = 1;
/** Largest index and manifest that is written and read back; the kubelet itself takes manifests up to 10 MiB. */
export const MANIFEST_LIMIT = 10 * 1024 * 1024;
/** Largest file of a volume: an object in etcd is at most 1.5 MiB, its base64 decoded smaller. */
export const FILE_LIMIT = 4 * 1024 * 1024;

/**
 * Numbers of generations and counts of activations. Nothing that happens once a second for 30 000 years comes above 12 digits; a number above that was
 * not written by us, and to count on from it would end where numbers are not exact any more.
 */
const NUMBER = '[1-9][0-9]{0,11}';
export const MAX_NUMBER = 999_999_999_999;

/** Undefined for anything but a number as the store writes it. */
export function decodeNumber(text: string): number | undefined {
  return new RegExp(`^${NUMBER}$`).test(text) ? Number(text) : undefined;
}

export interface IndexedFile {
  /** Relative to the generation's directory. */
  readonly path: string;
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sha256: string;
}

export interface IndexedDirectory {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

export interface GenerationIndex {
  readonly format: typeof FORMAT;
  readonly workload: Workload;
  readonly generation: GenerationNumber;
  readonly digest: Digest;
  /** What belongs to the parent pod alone, where there is such a thing; its tokens say when they end. */
  readonly instance?: Instance;
  /** RFC 3339, wall clock; for people, never compared. */
  readonly createdAt: string;
  readonly parent: { readonly name: string; readonly uid: string };
  readonly containers: readonly string[];
  readonly traits: Traits;
  readonly directories: readonly IndexedDirectory[];
  readonly files: readonly IndexedFile[];
}

export interface Pointer {
  readonly generation: GenerationNumber;
  readonly indexSha256: string;
}

export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What the newest generation is, where it is not the highest one. */
export interface NewestPointer extends Pointer {
  /** The highest generation when the pointer was written. A higher one is newer than what it points at. */
  readonly highest: GenerationNumber;
}

export type FormatLine = { readonly state: 'format'; readonly format: number } | { readonly state: 'garbled' };

/** The one line that every version understands: a version that changes anything else in the store writes a higher number. */
export function encodeFormatLine(format: number): string {
  return sealed(`pod-checkpointer store ${format}`);
}

export function decodeFormatLine(text: string): FormatLine {
  const format = /^pod-checkpointer store ([1-9][0-9]{0,8})$/.exec(unsealed(text) ?? '')?.[1];
  return format === undefined ? { state: 'garbled' } : { state: 'format', format: Number(format) };
}

export function encodeCounter(count: number): string {
  return sealed(String(count));
}

/** Undefined for anything that encodeCounter did not write. */
export function decodeCounter(text: string): number | undefined {
  const digits = unsealed(text);
  return digits === '0' ? 0 : decodeNumber(digits ?? '');
}

function sealed(text: string): string {
  return `${text} ${sha256(text)}\n`;
}

function unsealed(text: string): string | undefined {
  const space = text.lastIndexOf(' ');
  const content = text.slice(0, Math.max(0, space));
  return text === sealed(content) ? content : undefined;
}

export function encodePointer(pointer: Pointer): string {
  return `${pointer.generation} ${pointer.indexSha256}\n`;
}

/** Undefined for anything that is not exactly a pointer. */
export function decodePointer(text: string): Pointer | undefined {
  const [, number = '', indexSha256] = /^([0-9]+) ([0-9a-f]{64})\n$/.exec(text) ?? [];
  const generation = decodeNumber(number);
  return generation === undefined || indexSha256 === undefined ? undefined : { generation, indexSha256 };
}

/** The proven generation and the one that was proven before it change in one step, because they stand in one file. */
export interface Proven {
  readonly proven: Pointer;
  readonly previous: Pointer | undefined;
}

export function encodeProven({ proven, previous }: Proven): string {
  return previous === undefined ? encodePointer(proven) : `${encodePointer(proven).trimEnd()} ${encodePointer(previous)}`;
}

/** Undefined for anything that is not exactly such a file, or names one generation twice. */
export function decodeProven(text: string): Proven | undefined {
  const [number, sum, ...rest] = text.split(' ');
  if (rest.length === 0) {
    const proven = decodePointer(text);
    return proven && { proven, previous: undefined };
  }
  const [proven, previous] = [decodePointer(`${number} ${sum}\n`), decodePointer(rest.join(' '))];
  return proven === undefined || previous === undefined || proven.generation === previous.generation ? undefined : { proven, previous };
}

export function encodeNewestPointer({ generation, indexSha256, highest }: NewestPointer): string {
  return `${generation} ${indexSha256} ${highest}\n`;
}

/** Undefined for anything that is not exactly such a pointer, or points above what it calls the highest. */
export function decodeNewestPointer(text: string): NewestPointer | undefined {
  const space = text.lastIndexOf(' ');
  const pointer = decodePointer(`${text.slice(0, Math.max(0, space))}\n`);
  const last = text.slice(space + 1);
  const highest = last.endsWith('\n') ? decodeNumber(last.slice(0, -1)) : undefined;
  if (pointer === undefined || highest === undefined || highest < pointer.generation) return undefined;
  return { ...pointer, highest };
}

export function encodeIndex(index: GenerationIndex): string {
  const lines = JSON.stringify(index, undefined, 2).split('\n');
  const [first, ...rest] = lines;
  const covered = `${lines.join('\n')}\n`;
  return `${first}\n${checksumLine(sha256(covered))}\n${rest.join('\n')}\n`;
}

const checksumLine = (sum: string): string => `  "sha256": "${sum}",`;

/** Parses and checks an index. Throws a one-line Error that says what is wrong with it. */
export function decodeIndex(text: string): GenerationIndex {
  const [first, second, ...rest] = text.split('\n');
  if (second !== checksumLine(sha256([first, ...rest].join('\n'))))
    throw new Error('index.json does not have the SHA-256 that its second line says');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('index.json is not JSON');
  }
  if (!isRecord(value)) throw new Error('index.json is not an object');
  const { sha256: _sum, ...index } = value;
  if (index['format'] !== FORMAT) throw new Error(`index.json has format ${JSON.stringify(index['format'])}: this version reads ${FORMAT}`);
  if (!isIndex(index)) throw new Error('index.json lacks a field or has one of a wrong type');
  checkPaths(index);
  return index;
}

/** Every path stays in the generation, is there once, and lies in a directory that the index names before it: none is reached through a link. */
function checkPaths({ directories, files }: GenerationIndex): void {
  const known = new Set<string>();
  const above = new Set<string>(['']);
  for (const [kind, { path }] of [
    ...directories.map((entry) => ['directory', entry] as const),
    ...files.map((entry) => ['file', entry] as const),
  ]) {
    if (!isSafePath(path)) throw new Error(`index.json names the path ${JSON.stringify(path)}, which leads out of the generation`);
    if (known.has(path)) throw new Error(`index.json names the path ${JSON.stringify(path)} twice`);
    if (!above.has(path.slice(0, Math.max(0, path.lastIndexOf('/')))))
      throw new Error(`index.json names the path ${JSON.stringify(path)} and not the directory that it lies in`);
    known.add(path);
    if (kind === 'directory') above.add(path);
  }
}

/** A relative path that stays below where it starts: no empty part, no dot parts, no NUL. Any other byte may be in a file's name, a newline too. */
export function isSafePath(path: string): boolean {
  return !path.includes('\0') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

export function decodeWorkload(text: string): Workload | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isWorkload(value) ? { namespace: value.namespace, group: value.group, kind: value.kind, name: value.name } : undefined;
  } catch {
    return undefined;
  }
}

function isIndex(value: Record<string, unknown>): value is Record<string, unknown> & GenerationIndex {
  const { workload, generation, digest, instance, createdAt, parent, containers, traits, directories, files } = value;
  return (
    isWorkload(workload) &&
    isCount(generation) &&
    isText(digest) &&
    (instance === undefined || isInstance(instance)) &&
    isText(createdAt) &&
    isRecord(parent) &&
    isText(parent['name']) &&
    isText(parent['uid']) &&
    Array.isArray(containers) &&
    containers.every(isText) &&
    isRecord(traits) &&
    typeof traits['servesApi'] === 'boolean' &&
    (traits['asksApi'] === undefined || traits['asksApi'] === true) &&
    (traits['handBack'] === 'overlap' || traits['handBack'] === 'exclusive') &&
    Array.isArray(directories) &&
    directories.every(isIndexedDirectory) &&
    Array.isArray(files) &&
    files.every(isIndexedFile)
  );
}

function isIndexedDirectory(value: unknown): value is Record<string, unknown> & IndexedDirectory {
  return isRecord(value) && isText(value['path']) && isCount(value['mode']) && isCount(value['uid']) && isCount(value['gid']);
}

function isIndexedFile(value: unknown): boolean {
  return isIndexedDirectory(value) && isCount(value['size']) && isText(value['sha256']) && /^[0-9a-f]{64}$/.test(value['sha256']);
}

function isInstance(value: unknown): boolean {
  return isRecord(value) && isText(value['digest']) && Array.isArray(value['tokens']) && value['tokens'].every(isToken);
}

function isToken(value: unknown): boolean {
  return (
    isRecord(value) &&
    ['path', 'serviceAccount', 'audience', 'podUid', 'renewAt', 'expiresAt'].every((key) => isText(value[key])) &&
    isCount(value['expirationSeconds'])
  );
}

function isWorkload(value: unknown): value is Workload {
  return isRecord(value) && isText(value['namespace']) && isText(value['group']) && isText(value['kind']) && isText(value['name']);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
