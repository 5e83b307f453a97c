/**
 * Reads what bootkube's pod-checkpointer left (see checkpoint.ts for its places). Changes nothing, and follows no link. Loaded only where something of it is
 * there: `hasTraces` is all that a node without it pays.
 */
import { constants } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Refusal } from '../checkpoint/copy-types.ts';
import type { CopyOutcome } from '../checkpoint/model.ts';
import { FILE_LIMIT, MANIFEST_LIMIT } from '../checkpoint/store/format.ts';
import { NOT_OF_THE_DISK } from '../checkpoint/store/read-files.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { isErrno, kindOf, listDirectory, readRegular } from '../platform/durable.ts';
import type { ReadFile } from '../platform/remembered.ts';
import {
  CONFIG_MAPS,
  copyOfCheckpoint,
  INACTIVE,
  type PredecessorManifest,
  parsePredecessorManifest,
  SECRETS,
  type StoredObject,
} from './checkpoint.ts';
import { mayBeManifest } from './traces.ts';

export type PredecessorSnapshot =
  | {
      readonly state: 'ok';
      readonly checkpoints: readonly FoundCheckpoint[];
      /** Whether its directories can be written to from here: they may be mounted read-only. Not where the disk does not say all that is in them. */
      readonly removable: boolean;
      /** Those of its directories that hold nothing but such directories, the inner ones first. */
      readonly empty: readonly string[];
      /** The disk does not say all that is there. */
      readonly unread?: true;
    }
  | { readonly state: 'unknown'; readonly detail: string };

/** All that it left of one pod. */
export interface FoundCheckpoint {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly key: WorkloadKey | undefined;
  readonly workload: Workload | undefined;
  readonly isCheckpointer: boolean;
  /** A copy of ours that it took for one of its own. */
  readonly isOfOurs: boolean;
  /** Its manifest in the kubelet's directory. */
  readonly active: string | undefined;
  /** That declares ports of the host. */
  readonly holdsHostPort: boolean;
  readonly inactive: boolean;
  /** Secrets or ConfigMaps. */
  readonly data: boolean;
  /** Our copy of it; only of those that were asked for. */
  readonly copy: CopyOutcome | undefined;
}

/** By pod: a copy is made again only when a file that it was made from is another. */
export type CopyCache = Map<string, { readonly from: readonly Uint8Array[]; readonly copy: CopyOutcome }>;

export interface PredecessorPlace {
  readonly podManifestPath: string;
  readonly read: ReadFile;
  readonly copies: CopyCache;
  /** Whether a copy of this workload is wanted. */
  readonly wanted: (key: WorkloadKey) => boolean;
}

/** Never throws: what cannot be read is unknown. */
export async function readPredecessor(place: PredecessorPlace): Promise<PredecessorSnapshot> {
  try {
    return await look(place);
  } catch (error) {
    return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
  }
}

async function look({ podManifestPath, read, copies, wanted }: PredecessorPlace): Promise<PredecessorSnapshot> {
  const base = dirname(podManifestPath);
  const unread = new Set<string>();
  const active = await readManifests(podManifestPath, read, unread);
  // What runs is known without them.
  const besides = await Promise.all([
    readManifests(join(base, INACTIVE), read, unread),
    podDirectories(join(base, SECRETS)),
    podDirectories(join(base, CONFIG_MAPS)),
  ]).catch((error: unknown) => {
    if (!isErrno(error, ...OF_THE_DISK)) throw error;
    return undefined;
  });
  const isWhole = besides !== undefined && unread.size === 0;
  const [inactive, secrets, configMaps] = besides ?? [new Map<string, Read>(), new Set<string>(), new Set<string>()];
  const ids = new Set([...active.keys(), ...inactive.keys(), ...secrets.keys(), ...configMaps.keys()]);
  const before = new Map(copies);
  copies.clear();
  const checkpoints: FoundCheckpoint[] = [];
  for (const id of [...ids].sort()) {
    const [running, kept] = [active.get(id), inactive.get(id)];
    // What runs is what is known to run.
    const one = running ?? kept;
    const [namespace = '', name = ''] = id.split('/');
    const data = secrets.has(id) || configMaps.has(id);
    const key = one?.manifest.ours ?? (one?.manifest.workload && workloadKey(one.manifest.workload));
    const made =
      one?.manifest.workload !== undefined && !one.manifest.isCheckpointer && key !== undefined && wanted(key)
        ? await makeCopy(one, base, read, before.get(id))
        : undefined;
    if (made !== undefined) copies.set(id, made);
    checkpoints.push({
      namespace,
      name,
      uid: one?.manifest.uid ?? '',
      key,
      workload: one?.manifest.workload,
      isCheckpointer: one?.manifest.isCheckpointer === true,
      isOfOurs: one?.manifest.ours !== undefined,
      active: running?.file,
      holdsHostPort: running?.manifest.holdsHostPort === true,
      inactive: kept !== undefined,
      data,
      copy: made?.copy,
    });
  }
  if (!isWhole) return { state: 'ok', checkpoints, removable: false, empty: [], unread: true };
  return { state: 'ok', checkpoints, removable: await areWritable(base), empty: await emptyDirectories(base) };
}

/** The manifest by which the kubelet starts the pod-checkpointer itself; it keeps one there while it works. Throws what the file system answers. */
export async function findItself(podManifestPath: string): Promise<string | undefined> {
  const manifests = await readManifests(podManifestPath, readRegular, new Set());
  const itself = [...manifests.values()].find(({ manifest }) => manifest.isCheckpointer);
  return itself && join(podManifestPath, itself.file);
}

interface Read {
  readonly file: string;
  readonly bytes: Buffer;
  readonly manifest: PredecessorManifest;
}

/** It says nothing of the file. */
const isPassing = (error: unknown): boolean => isErrno(error, ...NOT_OF_THE_DISK);
/** A bad block: it stays, and must not hide the rest. */
const OF_THE_DISK = ['EIO', 'EUCLEAN', 'EBADMSG'];

/** By `namespace/name`. A file that it did not write is nothing of it. @param unread gets those that may be of it and that the disk does not give. */
async function readManifests(directory: string, read: ReadFile, unread: Set<string>): Promise<Map<string, Read>> {
  const found = new Map<string, Read>();
  if ((await kindOf(directory)) !== 'directory') return found;
  for (const file of await listDirectory(directory)) {
    if (!mayBeManifest(file)) continue;
    const bytes = await read(join(directory, file), MANIFEST_LIMIT).catch((error: unknown) => {
      if (isPassing(error)) throw error;
      if (isErrno(error, ...OF_THE_DISK)) unread.add(join(directory, file));
      return undefined;
    });
    const manifest = bytes && parsed(file, bytes);
    if (bytes && manifest) found.set(`${manifest.namespace}/${manifest.name}`, { file, bytes, manifest });
  }
  return found;
}

const PARSED = new WeakMap<Buffer, PredecessorManifest | 'foreign'>();

function parsed(file: string, bytes: Buffer): PredecessorManifest | undefined {
  const known = PARSED.get(bytes) ?? parsePredecessorManifest(file, bytes) ?? 'foreign';
  PARSED.set(bytes, known);
  return known === 'foreign' ? undefined : known;
}

/** `namespace/pod` of each directory two levels down. */
async function podDirectories(directory: string): Promise<Set<string>> {
  const found = new Set<string>();
  for (const namespace of await subdirectories(directory))
    for (const pod of await subdirectories(join(directory, namespace))) found.add(`${namespace}/${pod}`);
  return found;
}

async function subdirectories(directory: string): Promise<string[]> {
  if ((await kindOf(directory)) !== 'directory') return [];
  const names = (await listDirectory(directory)).sort();
  const kinds = await Promise.all(names.map((name) => kindOf(join(directory, name))));
  return names.filter((_, i) => kinds[i] === 'directory');
}

async function makeCopy(
  { manifest, bytes }: Read,
  base: string,
  read: ReadFile,
  before: { readonly from: readonly Uint8Array[]; readonly copy: CopyOutcome } | undefined,
): Promise<{ readonly from: readonly Uint8Array[]; readonly copy: CopyOutcome }> {
  const place = (directory: string) => join(base, directory, manifest.namespace, manifest.name);
  const objects = await Promise.all([readObjects(place(SECRETS), read), readObjects(place(CONFIG_MAPS), read)]).catch(
    (error: unknown): Refusal => {
      if (isPassing(error)) throw error;
      return { code: 'PredecessorUnreadable', field: 'spec.volumes', message: error instanceof Error ? error.message : String(error) };
    },
  );
  // Something else lies among its files: of them a copy cannot be made, and the others have nothing to do with that.
  if (!Array.isArray(objects)) return { from: [bytes], copy: { kind: 'refused', refusals: [objects] } };
  const [secrets, configMaps] = objects;
  const names = [...secrets, ...configMaps].flatMap(([name, files]) => [...files.keys()].map((key) => Buffer.from(`${name}/${key}`)));
  const from = [bytes, ...names, ...[...secrets.values(), ...configMaps.values()].flatMap((files) => [...files.values()])];
  if (before !== undefined && before.from.length === from.length && before.from.every((one, i) => same(one, from[i]))) return before;
  return { from, copy: copyOfCheckpoint(manifest, { secrets, configMaps }, base) };
}

const same = (one: Uint8Array, other: Uint8Array | undefined): boolean =>
  one === other || (other !== undefined && Buffer.compare(one, other) === 0);

async function readObjects(directory: string, read: ReadFile): Promise<Map<string, StoredObject>> {
  const objects = new Map<string, StoredObject>();
  for (const name of await subdirectories(directory)) {
    const files = new Map<string, Uint8Array>();
    // It wrote each key through a temporary file with a dot in front, of which a power cut may have left one.
    for (const key of (await listDirectory(join(directory, name))).sort()) {
      const bytes = isTemporary(key) ? undefined : await read(join(directory, name, key), FILE_LIMIT);
      if (bytes !== undefined) files.set(key, bytes);
    }
    objects.set(name, files);
  }
  return objects;
}

/** ioutil.TempFile with the pattern ".": a dot and digits. */
const isTemporary = (name: string): boolean => /^\.[0-9]+$/.test(name);

async function areWritable(base: string): Promise<boolean> {
  for (const name of [INACTIVE, SECRETS, CONFIG_MAPS]) {
    const there = (await kindOf(join(base, name))) === 'directory';
    if (there && !(await isWritable(join(base, name)))) return false;
  }
  return true;
}

async function isWritable(path: string): Promise<boolean> {
  try {
    await access(path, constants.W_OK);
    return true;
  } catch (error) {
    if (isErrno(error, 'EROFS', 'EACCES', 'EPERM')) return false;
    throw error;
  }
}

/** They go only where the directory that they lie in can be written to. */
async function emptyDirectories(base: string): Promise<string[]> {
  if (!(await isWritable(base))) return [];
  const empty: string[] = [];
  for (const name of [SECRETS, CONFIG_MAPS]) {
    const directory = join(base, name);
    const namespaces = await subdirectories(directory);
    const hollow: string[] = [];
    for (const namespace of namespaces)
      if ((await listDirectory(join(directory, namespace))).length === 0) hollow.push(join(directory, namespace));
    empty.push(...hollow);
    const all = (await kindOf(directory)) === 'directory' ? await listDirectory(directory) : undefined;
    if (all !== undefined && all.length === hollow.length) empty.push(directory);
  }
  const inactive = join(base, INACTIVE);
  if ((await isItsOwn(inactive)) && (await listDirectory(inactive)).length === 0) empty.push(inactive);
  return empty;
}

/** The name is one that a person could choose, too. It makes its directory for root alone, mkdir(1) does not. */
async function isItsOwn(path: string): Promise<boolean> {
  const found = await lstat(path).catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  });
  return found?.isDirectory() === true && (found.mode & 0o777) === 0o700;
}
