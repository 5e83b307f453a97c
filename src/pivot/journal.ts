/**
 * What a pivot has to remember, in the store's directory:
 *
 *   pivot/journal.json                          where the node stands; replaced as a whole (temporary file, fsync, rename, fsync of the directory)
 *   pivot/lock                                  held (flock) by whoever pivots on this node
 *   pivot/<start>/original/<component>.yaml     the static pods' manifests as they were, byte for byte
 *   pivot/<start>/base/<component>.yaml         the manifest to put back where that is another one: the DaemonSet was changed meanwhile
 *   pivot/<start>/applied/<component>.json      the DaemonSet as the API server stored it first
 *   pivot/<start>/node.json, daemonsets.json    what the API server had before: the node's labels, and DaemonSets of these names
 *
 * `<start>` is when the pivot began. A finished one is left where it is: nothing here is ever deleted by the checkpointer.
 * The manifests hold no secrets, only paths; the directory is the store's all the same, and root's.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createDurable, ensureDirectory, readRegular, replaceDurable, syncDirectory } from '../platform/durable.ts';
import { COMPONENTS, type Component, fields } from './component.ts';
import { type Place, STEPS, type Target } from './steps.ts';

const VERSION = 1;
/** etcd takes objects of 1.5 MiB. */
const LIMIT = 4 * 1024 * 1024;

export type Credentials = 'files' | 'secrets';

export interface ManifestFile {
  readonly component: Component;
  /** Absolute. */
  readonly file: string;
  /** Permission bits. */
  readonly mode: number;
}

export interface Journal {
  readonly node: string;
  /** RFC 3339, of this pivot: also the name of its directory. */
  readonly start: string;
  readonly target: Target;
  readonly place: Place;
  readonly manifests: readonly ManifestFile[];
  readonly credentials: Credentials;
}

export const pivotDir = (checkpointDir: string): string => join(checkpointDir, 'pivot');
export const journalPath = (checkpointDir: string): string => join(pivotDir(checkpointDir), 'journal.json');
export const pivotLockPath = (checkpointDir: string): string => join(pivotDir(checkpointDir), 'lock');

export class JournalError extends Error {
  override readonly name = 'JournalError';
}

/** Undefined where this node never began a pivot. Throws JournalError for one that cannot be understood. */
export async function readJournal(checkpointDir: string): Promise<Journal | undefined> {
  const path = journalPath(checkpointDir);
  const bytes = await readRegular(path, LIMIT);
  if (bytes === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new JournalError(
      `${path} is not JSON: it was changed by somebody else; the manifests as they were lie in ${pivotDir(checkpointDir)}`,
    );
  }
  const { version, ...journal } = fields(value);
  if (version !== VERSION)
    throw new JournalError(`${path} has version ${String(version)}, expected ${VERSION}: use the checkpointer that wrote it`);
  if (!isJournal(journal))
    throw new JournalError(
      `${path} is not a pivot's journal: it was changed by somebody else; the manifests as they were lie in ${pivotDir(checkpointDir)}`,
    );
  return journal;
}

export async function writeJournal(checkpointDir: string, journal: Journal): Promise<void> {
  const text = `${JSON.stringify({ version: VERSION, ...journal }, undefined, 2)}\n`;
  await replaceDurable(journalPath(checkpointDir), Buffer.from(text), { lane: 'urgent' });
}

/** The directories that a pivot's files go to. Durable when it returns. The store itself must exist. */
export async function preparePivotDir(checkpointDir: string): Promise<void> {
  await ensureDirectory(pivotDir(checkpointDir));
}

type Part = 'original' | 'base' | 'applied';
const partPath = (checkpointDir: string, start: string, part: Part, component: Component): string =>
  join(pivotDir(checkpointDir), start, part, `${component}.${part === 'applied' ? 'json' : 'yaml'}`);

export function snapshotDir(checkpointDir: string, start: string): string {
  return join(pivotDir(checkpointDir), start);
}

/** Durable when it returns; before the journal that names it is written. Nothing of an earlier one is overwritten. */
export async function writeSnapshot(
  checkpointDir: string,
  start: string,
  originals: ReadonlyMap<Component, Buffer>,
  api: { readonly node: unknown; readonly daemonSets: unknown },
): Promise<void> {
  const root = snapshotDir(checkpointDir, start);
  for (const directory of [root, ...(['original', 'base', 'applied'] as const).map((part) => join(root, part))])
    await mkdir(directory, { mode: 0o700 });
  for (const [component, bytes] of originals) await createDurable(partPath(checkpointDir, start, 'original', component), bytes, 0o600);
  await createDurable(join(root, 'node.json'), json(api.node), 0o600);
  await createDurable(join(root, 'daemonsets.json'), json(api.daemonSets), 0o600);
  for (const directory of [join(root, 'original'), root, pivotDir(checkpointDir)]) await syncDirectory(directory);
}

const json = (value: unknown): Buffer => Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);

/** Throws JournalError where it is missing: without it there is no way back by itself. */
export async function readOriginal(checkpointDir: string, start: string, component: Component): Promise<Buffer> {
  const path = partPath(checkpointDir, start, 'original', component);
  const bytes = await readRegular(path, LIMIT);
  if (bytes === undefined)
    throw new JournalError(
      `${path} is missing: expected the static pod as it was; put kubeadm's manifest there (kubeadm init phase control-plane)`,
    );
  return bytes;
}

/** What is put back: the original, or what was made of a DaemonSet that had changed. */
export async function readBase(checkpointDir: string, start: string, component: Component): Promise<Buffer> {
  return (
    (await readRegular(partPath(checkpointDir, start, 'base', component), LIMIT)) ?? (await readOriginal(checkpointDir, start, component))
  );
}

export async function writeBase(checkpointDir: string, start: string, component: Component, bytes: Buffer): Promise<void> {
  await replaceDurable(partPath(checkpointDir, start, 'base', component), bytes);
}

export async function readApplied(checkpointDir: string, start: string, component: Component): Promise<unknown> {
  const bytes = await readRegular(partPath(checkpointDir, start, 'applied', component), LIMIT);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch {
    return undefined;
  }
}

export async function writeApplied(checkpointDir: string, start: string, component: Component, object: unknown): Promise<void> {
  await replaceDurable(partPath(checkpointDir, start, 'applied', component), json(object));
}

function isJournal(value: Readonly<Record<string, unknown>>): value is Readonly<Record<string, unknown>> & Journal {
  const { node, start, target, place, manifests, credentials } = value;
  return (
    typeof node === 'string' &&
    typeof start === 'string' &&
    /^[0-9TZ-]+$/.test(start) &&
    (target === 'self-hosted' || target === 'static') &&
    isPlace(fields(place)) &&
    Array.isArray(manifests) &&
    manifests.every(isManifestFile) &&
    COMPONENTS.every((component) => manifests.some((one: ManifestFile) => one.component === component)) &&
    (credentials === 'files' || credentials === 'secrets')
  );
}

function isManifestFile(value: unknown): value is ManifestFile {
  const { component, file, mode } = fields(value);
  return COMPONENTS.some((one) => one === component) && typeof file === 'string' && file.startsWith('/') && typeof mode === 'number';
}

function isPlace({ state, done, step }: Readonly<Record<string, unknown>>): boolean {
  const within = (value: unknown, limit: number) => typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= limit;
  return state === 'healthy' ? within(done, STEPS.length) : state === 'between' && within(step, STEPS.length - 1);
}
