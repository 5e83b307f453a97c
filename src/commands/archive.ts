/**
 * One generation as a tar, to carry to another machine:
 *
 *     <workload>.g<number>/index.json    as in the store: size, owner, mode and SHA-256 of everything else, and of itself
 *     <workload>.g<number>/pod.json      the static pod
 *     <workload>.g<number>/files/…       what it mounts
 *
 * Without secrets there is nothing below `files/` (the index still lists it), and the values of variables in pod.json are left out.
 * The index vouches for every byte, so what the tar itself says of owners and modes counts for nothing when it is read.
 */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { extract, pack } from 'tar-stream';
import { GENERATION, WORKLOAD } from '../checkpoint/annotations.ts';
import { type Copy, GENERATION_DIR } from '../checkpoint/copy-types.ts';
import { manifestBytes, materialize } from '../checkpoint/materialize.ts';
import { violations } from '../checkpoint/static-pod-rules.ts';
import { decodeIndex, type GenerationIndex, isSafePath, MANIFEST_LIMIT, sha256 } from '../checkpoint/store/format.ts';
import { workloadFileName, workloadKey } from '../checkpoint/workload.ts';
import { InputError } from './input-error.ts';

/** Bytes; more than any pod mounts, little enough for memory. */
export const ARCHIVE_LIMIT = 256 * 1024 * 1024;
/** Files and directories. */
const ENTRIES = 20_000;

export interface Packed {
  readonly index: GenerationIndex;
  readonly indexBytes: Buffer;
  readonly pod: V1Pod;
  /** By path in the generation; pod.json among them. Undefined: without secrets. */
  readonly contents: ReadonlyMap<string, Buffer> | undefined;
}

/** The same generation gives the same bytes. */
export async function packGeneration({ index, indexBytes, pod, contents }: Packed): Promise<Buffer> {
  const tar = pack();
  const top = `${workloadFileName(index.workload)}.g${index.generation}`;
  const mtime = new Date(index.createdAt);
  const add = (entry: { path: string; mode: number; uid: number; gid: number }, bytes?: Buffer) => {
    const { path, mode, uid, gid } = entry;
    const header = { name: `${path === '' ? top : `${top}/${path}`}${bytes === undefined ? '/' : ''}`, mode, uid, gid, mtime };
    if (bytes === undefined) tar.entry({ ...header, type: 'directory' });
    else tar.entry({ ...header, type: 'file', size: bytes.length }, bytes);
  };
  add({ path: '', mode: 0o700, uid: 0, gid: 0 });
  add({ path: 'index.json', mode: 0o600, uid: 0, gid: 0 }, indexBytes);
  if (contents === undefined) add({ path: 'pod.json', mode: 0o600, uid: 0, gid: 0 }, manifestBytes(withoutValues(pod)));
  else {
    for (const entry of index.directories) add(entry);
    for (const entry of index.files) add(entry, contents.get(entry.path) ?? Buffer.alloc(0));
  }
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A variable's value may be a Secret's, where the policy is to write them into the copy. */
function withoutValues(pod: V1Pod): V1Pod {
  const emptied = (container: V1Container): V1Container =>
    container.env === undefined
      ? container
      : { ...container, env: container.env.map((one) => (one.value === undefined ? one : { ...one, value: '(left out)' })) };
  if (pod.spec === undefined) return pod;
  const { containers, initContainers } = pod.spec;
  return {
    ...pod,
    spec: { ...pod.spec, containers: containers.map(emptied), ...(initContainers && { initContainers: initContainers.map(emptied) }) },
  };
}

export interface Unpacked {
  readonly index: GenerationIndex;
  readonly copy: Copy;
}

/** Throws InputError with the first thing that is not as packGeneration made it. `name` stands for the archive in it. */
export async function unpackGeneration(bytes: Uint8Array, name: string): Promise<Unpacked> {
  const { directories, files } = await readEntries(bytes, name);
  const fail = (what: string): never => {
    throw new InputError(`${name}: ${what}; expected a tar that "checkpointer export --with-secrets" made`);
  };
  const indexBytes = files.get('index.json') ?? fail('there is no index.json in it');
  let index: GenerationIndex;
  try {
    index = decodeIndex(indexBytes.toString());
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
  const strange = [...index.directories.map(({ path }) => `${path}/`), ...index.files.map(({ path }) => path)].find(
    (path) => path !== 'pod.json' && !path.startsWith('files/'),
  );
  if (strange !== undefined) fail(`its index.json names ${JSON.stringify(strange)}, which no generation has`);
  const known = new Set(['index.json', ...index.files.map(({ path }) => path)]);
  const foreign = [...files.keys()].find((path) => !known.has(path)) ?? [...directories].find((path) => !isOf(index, path));
  if (foreign !== undefined) fail(`${JSON.stringify(foreign)} is in it and not in its index.json`);
  if (index.files.some(({ path }) => path.startsWith('files/')) && ![...files.keys()].some((path) => path.startsWith('files/')))
    fail('it was made without --with-secrets, and what the pod mounts is not in it');
  const contents = index.files.map((expected) => {
    const found = files.get(expected.path) ?? fail(`${JSON.stringify(expected.path)} is not in it`);
    if (found.length !== expected.size || sha256(found) !== expected.sha256)
      fail(`${JSON.stringify(expected.path)} is not what its index.json says`);
    return { ...expected, bytes: found };
  });
  const manifest = files.get('pod.json') ?? fail('there is no pod.json in it');
  const pod = unplaced(manifest, index) ?? fail('its pod.json is not the copy that its index.json describes');
  const refused = violations(pod);
  if (refused[0] !== undefined) fail(`the kubelet would refuse its pod: ${refused[0].field}: ${refused[0].message}`);
  const below = <T extends { readonly path: string }>(entries: readonly T[]) =>
    entries.flatMap((entry) => (entry.path.startsWith('files/') ? [{ ...entry, path: entry.path.slice('files/'.length) }] : []));
  const copy: Copy = {
    digest: index.digest,
    ...(index.instance && { instance: index.instance }),
    pod,
    traits: index.traits,
    directories: below(index.directories),
    files: below(contents).map(({ path, bytes: content, mode, uid, gid }) => ({ path, bytes: content, mode, uid, gid })),
  };
  return { index, copy };
}

const isOf = ({ directories }: GenerationIndex, path: string): boolean => path === '' || directories.some((one) => one.path === path);

interface Entries {
  readonly directories: ReadonlySet<string>;
  readonly files: ReadonlyMap<string, Buffer>;
}

/** By path below the one directory that everything lies in. Nothing is written: a name that leads out of it leads nowhere, and is refused all the same. */
async function readEntries(bytes: Uint8Array, name: string): Promise<Entries> {
  const files = new Map<string, Buffer>();
  const directories = new Set<string>();
  const tar = extract();
  tar.end(bytes);
  let top: string | undefined;
  try {
    for await (const entry of tar) {
      const { name: path, type } = entry.header;
      const [first = '', ...rest] = path.replace(/\/$/, '').split('/');
      const inside = rest.join('/');
      top ??= first;
      const shown = JSON.stringify(path);
      if (!isSafePath(path.replace(/\/$/, ''))) throw new InputError(`${name}: ${shown} leads out of the directory that it is in`);
      if (first !== top) throw new InputError(`${name}: ${shown} lies outside of ${JSON.stringify(top)}: expected one directory`);
      if (type !== 'file' && type !== 'directory')
        throw new InputError(`${name}: ${shown} is a ${type ?? 'thing of unknown kind'}: expected files and directories only`);
      if (files.has(inside) || directories.has(inside)) throw new InputError(`${name}: ${shown} is in it twice`);
      if (files.size + directories.size >= ENTRIES) throw new InputError(`${name}: more than ${ENTRIES} entries`);
      const chunks: Buffer[] = [];
      for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
      if (type === 'directory') directories.add(inside);
      else files.set(inside, Buffer.concat(chunks));
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`${name}: not a whole tar (${error instanceof Error ? error.message : String(error)}); a compressed one is none`);
  }
  if (top === undefined) throw new InputError(`${name}: an empty tar`);
  return { directories, files };
}

/** The copy's pod before it had a place in a store; undefined where it is none that materialize made: then nothing of it is trusted. */
function unplaced(manifest: Buffer, { workload, generation, containers }: GenerationIndex): V1Pod | undefined {
  if (manifest.length > MANIFEST_LIMIT) return undefined;
  let placed: V1Pod;
  try {
    placed = JSON.parse(manifest.toString()) as V1Pod;
    const place = placeOf(placed, `/workloads/${workloadFileName(workload)}/generations/${generation}`);
    const pod = structuredClone(placed);
    const { [GENERATION]: _number, ...annotations } = pod.metadata?.annotations ?? {};
    pod.metadata = { ...pod.metadata, name: (pod.metadata?.name ?? '').replace(new RegExp(`-g${generation}$`), ''), annotations };
    for (const { hostPath } of pod.spec?.volumes ?? [])
      if (hostPath?.path.startsWith(`${place}/`)) hostPath.path = GENERATION_DIR + hostPath.path.slice(place.length);
    const same = manifestBytes(materialize(pod, { generationDir: place, generation })).equals(manifest);
    const named = pod.spec?.containers.map((container) => container.name).join('\n') === containers.join('\n');
    const owned =
      [undefined, workloadKey(workload)].some((key) => annotations[WORKLOAD] === key) && pod.metadata.namespace === workload.namespace;
    return same && named && owned ? pod : undefined;
  } catch {
    return undefined;
  }
}

/** Absolute path of the generation in the store that it was exported from: it is nowhere but in the volumes of the pod. */
function placeOf(pod: V1Pod, end: string): string {
  for (const { hostPath } of pod.spec?.volumes ?? []) {
    const at = hostPath?.path.indexOf(`${end}/files`) ?? -1;
    if (hostPath?.path.startsWith('/') === true && at >= 0) return hostPath.path.slice(0, at + end.length);
  }
  return `/nowhere${end}`;
}
