/** Reads what a pivot begins with: the static pods' files, the API server, the disk. Reads only. */
import { access, constants, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { V1Node, V1Pod, V1Secret } from '@kubernetes/client-node';
import { CONFIG_MIRROR } from '../checkpoint/annotations.ts';
import { readClockAhead } from '../inspect/doctor/read-access.ts';
import { kindOf, readRegular } from '../platform/durable.ts';
import type { Kubeconfig } from '../sources/api/kubeconfig.ts';
import { type ManifestFacts, nodeFacts, type PivotFacts } from './checks.ts';
import type { Cluster } from './cluster.ts';
import { COMPONENTS, type Component, mainContainer, parseStaticPod, type Refusal } from './component.ts';
import { type NodeFacts, toDaemonSet } from './daemonset.ts';
import { type Difference, templateDifferences } from './differences.ts';
import type { Credentials } from './journal.ts';
import { leaseHolder } from './lease.ts';
import { credentialFiles, credentialsSecret, secretOf, secretRefusals, type Wanted, withSecrets } from './secrets.ts';
import { sharedFile } from './static-pod.ts';

const MANIFEST_LIMIT = 1024 * 1024;
const CLOCK_MS = 2_000;

export interface GatherOptions {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly from: readonly string[];
  readonly nodeName: string;
  readonly credentials: Credentials;
  readonly deploys: boolean;
}

export interface StaticManifest {
  readonly component: Component;
  readonly file: string;
  readonly mode: number;
  readonly bytes: Buffer;
  readonly pod: V1Pod;
}

export interface Gathered {
  readonly facts: PivotFacts;
  readonly manifests: readonly StaticManifest[];
  readonly node: V1Node | undefined;
  readonly wanted: ReadonlyMap<Component, Wanted>;
  readonly daemonSets: Readonly<Record<string, unknown>>;
}

type Read =
  | { readonly state: 'ok'; readonly manifest: StaticManifest }
  | { readonly state: 'bad'; readonly file: string; readonly trouble: string };

/** Never throws for what it finds: that is what the checks are for. */
export async function gatherForPivot(cluster: Cluster, kubeconfig: Kubeconfig, options: GatherOptions): Promise<Gathered> {
  const { nodeName, checkpointDir } = options;
  const reads = new Map(
    await Promise.all(COMPONENTS.map(async (component) => [component, await readManifest(component, options)] as const)),
  );
  const manifests = [...reads.values()].flatMap((read) => (read.state === 'ok' ? [read.manifest] : []));
  const api = await answers(cluster);
  const asked = api.state === 'ok' ? await ask(cluster, nodeName, options.deploys) : NOTHING;
  const node = asked.node === undefined ? undefined : nodeFacts(asked.node);
  const made =
    node === undefined
      ? { wanted: new Map<Component, Wanted>(), refusals: [] }
      : await wantedOf(manifests, node, options.credentials, cluster);
  const differences = new Map<Component, readonly Difference[]>();
  for (const [component, { daemonSet }] of made.wanted) {
    const there = asked.daemonSets.get(component);
    if (there !== undefined) differences.set(component, templateDifferences(daemonSet, there));
  }
  const facts: PivotFacts = {
    nodeName,
    node: asked.node,
    api,
    manifests: [...reads].map(([component, read]) => manifestFacts(component, read, asked.pods, nodeName)),
    anyManifest: options.from.length > 0,
    checkpointer: asked.checkpointer,
    freeBytes: await freeBytes(checkpointDir),
    checkpointDir,
    manifestsWritable: await areWritable(manifests.map(({ file }) => dirname(file))),
    clockAhead: await readClockAhead(kubeconfig, CLOCK_MS),
    refusals: made.refusals,
    differences,
    leaseHolder: asked.leaseHolder,
  };
  return { facts, manifests, node: asked.node, wanted: made.wanted, daemonSets: Object.fromEntries(asked.daemonSets) };
}

async function readManifest(component: Component, { podManifestPath, from }: GatherOptions): Promise<Read> {
  const candidates = from.length > 0 ? from.map((file) => resolve(file)) : [join(resolve(podManifestPath), `${component}.yaml`)];
  const troubles: string[] = [];
  for (const file of candidates) {
    try {
      // What is written to another directory the kubelet never sees.
      if (dirname(file) !== resolve(podManifestPath))
        throw new Error(`${file} is not in the kubelet's directory ${podManifestPath} (--pod-manifest-path)`);
      const bytes = await readRegular(file, MANIFEST_LIMIT);
      if (bytes === undefined) throw new Error(`there is no file ${file}`);
      const pod = parseStaticPod(bytes.toString('utf8'), file);
      if (from.length > 0 && mainContainer(component, pod.spec?.containers ?? []) === undefined) continue;
      if ((await kindOf(sharedFile(file))) !== 'absent')
        throw new Error(`${sharedFile(file)} is there, where the static pod that shares its port would be written: move it away`);
      return { state: 'ok', manifest: { component, file, mode: (await stat(file)).mode & 0o777, bytes, pod } };
    } catch (error) {
      troubles.push(error instanceof Error ? error.message : String(error));
    }
  }
  return {
    state: 'bad',
    file: candidates.join(', '),
    trouble: troubles.join('; ') || `none of ${candidates.join(', ')} runs ${component}`,
  };
}

function manifestFacts(component: Component, read: Read, pods: readonly V1Pod[], nodeName: string): ManifestFacts {
  if (read.state === 'bad') return { component, file: read.file, image: undefined, trouble: read.trouble, running: false };
  const { file, pod } = read.manifest;
  const name = `${pod.metadata?.name ?? ''}-${nodeName.toLowerCase()}`;
  const mirror = pods.find(({ metadata }) => metadata?.name === name && metadata.annotations?.[CONFIG_MIRROR] !== undefined);
  const image = mainContainer(component, pod.spec?.containers ?? [])?.image;
  // Another image runs than the file says while the kubelet has not got to it yet.
  const same = mainContainer(component, mirror?.spec?.containers ?? [])?.image === image;
  return { component, file, image, trouble: undefined, running: mirror !== undefined && isPodReady(mirror) && same };
}

const isPodReady = ({ status }: V1Pod): boolean =>
  status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') === true;

async function answers(cluster: Cluster): Promise<PivotFacts['api']> {
  try {
    await cluster.ready();
    return { state: 'ok', version: await cluster.version() };
  } catch (error) {
    return { state: 'bad', detail: error instanceof Error ? error.message : String(error) };
  }
}

interface Asked {
  readonly node: V1Node | undefined;
  readonly pods: readonly V1Pod[];
  readonly daemonSets: ReadonlyMap<Component, NonNullable<Awaited<ReturnType<Cluster['daemonSet']>>>>;
  readonly checkpointer: PivotFacts['checkpointer'];
  readonly leaseHolder: string | undefined;
}

const NOTHING: Asked = { node: undefined, pods: [], daemonSets: new Map(), checkpointer: 'not ready', leaseHolder: undefined };
const CHECKPOINTER = 'pod-checkpointer';

async function ask(cluster: Cluster, nodeName: string, deploys: boolean): Promise<Asked> {
  const [node, pods, holder, checkpointer, ...sets] = await Promise.all([
    cluster.node(nodeName),
    cluster.pods(nodeName),
    leaseHolder(cluster),
    cluster.daemonSet(CHECKPOINTER),
    ...COMPONENTS.map((component) => cluster.daemonSet(component)),
  ]);
  const found = COMPONENTS.flatMap((component, i) => {
    const set = sets[i];
    return set === undefined ? [] : [[component, set] as const];
  });
  return {
    node,
    pods,
    daemonSets: new Map(found),
    checkpointer: checkpointer === undefined ? (deploys ? 'to be deployed' : 'absent') : isCheckpointerReady(pods) ? 'ready' : 'not ready',
    leaseHolder: holder,
  };
}

/** On the node of these pods. */
export function isCheckpointerReady(pods: readonly V1Pod[]): boolean {
  return pods.some(
    (pod) =>
      pod.metadata?.ownerReferences?.some(({ kind, name }) => kind === 'DaemonSet' && name === CHECKPOINTER) === true && isPodReady(pod),
  );
}

/** What the API server is to have, and why it cannot. */
export async function wantedOf(
  manifests: readonly { readonly component: Component; readonly pod: V1Pod }[],
  node: NodeFacts,
  credentials: Credentials,
  cluster: Cluster,
): Promise<{ readonly wanted: Map<Component, Wanted>; readonly refusals: readonly Refusal[] }> {
  const wanted = new Map<Component, Wanted>();
  const refusals: Refusal[] = [];
  for (const { component, pod } of manifests) {
    const outcome = toDaemonSet(component, pod, node);
    if (outcome.kind === 'refused') {
      refusals.push(...outcome.refusals);
      continue;
    }
    if (credentials === 'files') {
      wanted.set(component, { daemonSet: outcome.daemonSet, secrets: [] });
      continue;
    }
    const files = credentialFiles(component, pod);
    const bytes = await readAll(files.map(({ path }) => path));
    const there: V1Secret | undefined = await cluster.secret(credentialsSecret(component)).catch(() => undefined);
    refusals.push(...secretRefusals(component, files, bytes, there, node.hostIP));
    wanted.set(component, {
      daemonSet: withSecrets(component, pod, outcome.daemonSet),
      secrets: [secretOf(component, files, bytes)],
    });
  }
  return { wanted, refusals };
}

/** By path; a file that cannot be read is left out. Follows links, as the kubelet's mount does. */
export async function readAll(paths: readonly string[]): Promise<ReadonlyMap<string, Buffer>> {
  const found = await Promise.all(
    paths.map(async (path) => {
      const bytes = await readFile(path).catch(() => undefined);
      return bytes === undefined ? [] : [[path, bytes] as const];
    }),
  );
  return new Map(found.flat());
}

async function freeBytes(checkpointDir: string): Promise<number | undefined> {
  try {
    await access(checkpointDir, constants.W_OK | constants.X_OK);
    const { bavail, bsize } = await statfs(checkpointDir);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

async function areWritable(directories: readonly string[]): Promise<boolean> {
  const found = await Promise.all(
    [...new Set(directories)].map((directory) =>
      access(directory, constants.W_OK | constants.X_OK).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.every((writable) => writable);
}
