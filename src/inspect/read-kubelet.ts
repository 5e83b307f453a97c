/** The kubelet's configuration, from its files and its command line. Neither needs the kubelet or the API server to answer. */
import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isErrno } from '../platform/durable.ts';
import type { KubeletFacts, PulledRecord } from './facts.ts';
import { identity } from './host-root.ts';

export const DEFAULT_KUBELET_CONFIG = '/var/lib/kubelet/config.yaml';
const DEFAULT_ROOT_DIR = '/var/lib/kubelet';
/** A record is a few hundred bytes; a node with more images than this is not looked at as a whole. */
const RECORDS = 1_000;

/**
 * @param root where the host's file system is; undefined: only what is mounted here can be read.
 * @param ours where copies are put.
 */
export async function readKubelet(
  root: string | undefined,
  configFile: string | undefined,
  ours?: string,
  proc = join(root ?? '/', 'proc'),
): Promise<KubeletFacts> {
  const flags = await kubeletFlags(proc);
  const file = configFile ?? flags?.get('config') ?? DEFAULT_KUBELET_CONFIG;
  const at = (path: string) => (root === undefined ? path : join(root, path));
  const [config, pulled] = await Promise.all([
    readConfig(at(file), flags?.has('config-dir') === true ? at(flags.get('config-dir') ?? '') : undefined),
    readPulled(join(at(flags?.get('root-dir') ?? DEFAULT_ROOT_DIR), 'image_manager', 'pulled')),
  ]);
  const lockFile = flags?.get('lock-file');
  const flagged = flags?.get('pod-manifest-path');
  // Where the host's processes are hidden (ProtectProc=, a container), a flag of the kubelet may set what its configuration does not.
  const unset = root === undefined && flags === undefined ? undefined : '';
  const configured = typeof config.fields === 'object' ? (config.fields['staticPodPath'] ?? unset) : undefined;
  const policy = config.fields?.['imagePullCredentialsVerificationPolicy'];
  const staticPodPath =
    flagged !== undefined
      ? { path: flagged, from: "the kubelet's --pod-manifest-path" }
      : typeof configured === 'string'
        ? { path: configured, from: file }
        : undefined;
  const isOurs = ours !== undefined && staticPodPath !== undefined && (await isSame(ours, at(staticPodPath.path)));
  return {
    staticPodPath: isOurs ? { ...staticPodPath, isOurs } : staticPodPath,
    imagePullVerification: typeof policy === 'string' ? policy : undefined,
    pulled,
    ...(lockFile !== undefined && lockFile !== '' && { lockFile: at(lockFile) }),
    detail: config.detail,
  };
}

/** One directory by two names. */
async function isSame(one: string, other: string): Promise<boolean> {
  const [found, found2] = await Promise.all([identity(one), identity(other)]);
  return found !== undefined && found === found2;
}

type Fields = Readonly<Record<string, unknown>>;

async function readConfig(
  file: string,
  dropIns: string | undefined,
): Promise<{ readonly fields: Fields | undefined; readonly detail: string | undefined }> {
  try {
    const text = await readFile(file, 'utf8');
    const { load } = await import('js-yaml');
    let fields = Object(load(text)) as Fields;
    // As the kubelet merges them: in the order of their names, the last one wins.
    const names = dropIns === undefined ? [] : (await readdir(dropIns)).filter((name) => name.endsWith('.conf')).sort();
    for (const name of names) fields = { ...fields, ...(Object(load(await readFile(join(dropIns ?? '', name), 'utf8'))) as Fields) };
    return { fields, detail: undefined };
  } catch (error) {
    // Not the parser's message, which quotes the file.
    const why = isErrno(error, 'ENOENT') ? 'does not exist' : isErrno(error, 'EACCES', 'EPERM') ? 'may not be read' : 'cannot be read';
    return { fields: undefined, detail: `the kubelet's configuration ${file} ${why}` };
  }
}

/** The flags of the kubelet that runs here, as far as they say something; undefined where none is seen. */
async function kubeletFlags(proc: string): Promise<ReadonlyMap<string, string> | undefined> {
  const names = await readdir(proc).catch(() => []);
  // At once and up to the first: what /proc says comes from no disk, and a promise for each process of a node costs more than reading it.
  for (const pid of names.filter((name) => /^[0-9]+$/.test(name))) {
    const flags = parseKubeletFlags(commandLine(`${proc}/${pid}/cmdline`).split('\0'));
    if (flags !== undefined) return flags;
  }
  return undefined;
}

function commandLine(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Undefined for a command line that is not a kubelet's. Pure. */
export function parseKubeletFlags(words: readonly string[]): ReadonlyMap<string, string> | undefined {
  const [program = '', first = ''] = words;
  const name = basename(program);
  if (name !== 'kubelet' && !(name === 'hyperkube' && first === 'kubelet')) return undefined;
  const flags = new Map<string, string>();
  for (const [i, word] of words.entries()) {
    const match = /^--?([a-z0-9-]+)(?:=(.*))?$/.exec(word);
    if (match?.[1] === undefined) continue;
    const next = words[i + 1];
    flags.set(match[1], match[2] ?? (next === undefined || next.startsWith('-') ? '' : next));
  }
  return flags;
}

/** The kubelet's ImagePulledRecord files (kubelet.config.k8s.io), one for each image reference. Undefined where it keeps none. */
async function readPulled(directory: string): Promise<ReadonlyMap<string, PulledRecord> | undefined> {
  const names = await readdir(directory).catch(() => undefined);
  if (names === undefined) return undefined;
  const texts = await Promise.all(names.slice(0, RECORDS).map((name) => readFile(join(directory, name), 'utf8').catch(() => '')));
  return new Map(texts.flatMap((text) => parsePulledRecord(text) ?? []));
}

/** Undefined for anything else. The credentials in it are names and hashes; neither is kept. */
export function parsePulledRecord(text: string): [ref: string, record: PulledRecord][] | undefined {
  try {
    const { imageRef, credentialMapping } = Object(JSON.parse(text)) as { imageRef?: unknown; credentialMapping?: unknown };
    if (typeof imageRef !== 'string') return undefined;
    const images = Object.entries(Object(credentialMapping) as Record<string, { nodePodsAccessible?: unknown } | null>);
    return [[imageRef, new Map(images.map(([image, used]) => [image, { everyPod: used?.nodePodsAccessible === true }]))]];
  } catch {
    return undefined;
  }
}
