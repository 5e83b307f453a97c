/**
 * Format 1 of the store, under `--checkpoint-dir` (root, 0700):
 *
 *     format                                  "pod-checkpointer store 1\n"
 *     node.json                               what is remembered about the node: the boot in which cold-boot activation was completed
 *     status.json, leader.json                what was last decided and who leads; for people, rebuilt when lost
 *     workloads/<namespace>.<kind>.<name>/
 *       workload.json                         namespace, group, kind, name
 *       newest, proven, previous              pointers: "<generation> <sha256 of its index.json>\n"
 *       activations                           "<number of activations so far>\n"
 *       generations/<number>/                 one complete copy, immutable once it has this name
 *         index.json                          what it is, and size, owner, mode and sha256 of every file beside it
 *         pod.json                            the static pod; put into the kubelet's directory by hand, it runs
 *         files/<volume>/…                    what the pod mounts
 *       generations/.building-<number>/       a save that has not been committed; removed by the next one
 *     retired/<workload>.<milliseconds>/      workloads out of use, kept for a while
 *     quarantine/<workload>.<number>.<ms>/    generations that did not verify, with the reason in `reason.txt`
 *
 * The rename of `.building-<n>` to `<n>` is the commit of a generation, the rename of a pointer makes it count. A pointer vouches for an index, an index
 * for its files. To read a generation without this program:
 *
 *     cat proven; sha256sum generations/12/index.json
 *     cd generations/12 && jq -r '.files[] | .sha256 + "  " + .path' index.json | sha256sum -c
 */
import { createHash } from 'node:crypto';
import type { Instance } from '../copy-types.ts';
import type { Digest, GenerationNumber, Traits } from '../model.ts';
import type { Workload } from '../workload.ts';

export const FORMAT = 1;
export const FORMAT_LINE = `pod-checkpointer store ${FORMAT}\n`;
/** Largest index, manifest and pointer file that is read back; the kubelet itself takes manifests up to 10 MiB. */
export const MANIFEST_LIMIT = 10 * 1024 * 1024;
/** Largest file of a volume: an object in etcd is at most 1.5 MiB, its base64 decoded smaller. */
export const FILE_LIMIT = 4 * 1024 * 1024;

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

export function encodePointer(pointer: Pointer): string {
  return `${pointer.generation} ${pointer.indexSha256}\n`;
}

/** Undefined for anything that is not exactly a pointer. */
export function decodePointer(text: string): Pointer | undefined {
  const match = /^([1-9][0-9]{0,14}) ([0-9a-f]{64})\n$/.exec(text);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { generation: Number(match[1]), indexSha256: match[2] };
}

export function encodeIndex(index: GenerationIndex): string {
  return `${JSON.stringify(index, undefined, 2)}\n`;
}

/** Parses and checks an index. Throws a one-line Error that says what is wrong with it. */
export function decodeIndex(text: string): GenerationIndex {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('index.json is not JSON');
  }
  if (!isRecord(value)) throw new Error('index.json is not an object');
  if (value['format'] !== FORMAT) throw new Error(`index.json has format ${JSON.stringify(value['format'])}: this version reads ${FORMAT}`);
  if (!isIndex(value)) throw new Error('index.json lacks a field or has one of a wrong type');
  for (const entry of [...value.directories, ...value.files]) {
    if (!isSafePath(entry.path))
      throw new Error(`index.json names the path ${JSON.stringify(entry.path)}, which leads out of the generation`);
  }
  return value;
}

/** A relative path that stays below where it starts: no empty part, no dot parts, no NUL. */
export function isSafePath(path: string): boolean {
  return path !== '' && !path.includes('\0') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
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
