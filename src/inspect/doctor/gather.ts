/** Reads what the doctor looks at, side by side and within deadlines. Reads only. */
import { readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UNIT_NAMES } from '../../host/units.ts';
import { readVersions } from '../../pivot/read-versions.ts';
import { readRegular } from '../../platform/durable.ts';
import { readPredecessor } from '../../predecessor/read.ts';
import { hasTraces } from '../../predecessor/traces.ts';
import { askControlPlane } from '../../recovery/probe.ts';
import { type Kubeconfig, loadKubeconfig } from '../../sources/api/kubeconfig.ts';
import { ownersKubeconfig } from '../../sources/api/owners-identity.ts';
import { readBootId } from '../../sources/boot.ts';
import { type GatherOptions, readLeaderFacts } from '../gather.ts';
import { findHostRoot } from '../host-root.ts';
import { readKubelet } from '../read-kubelet.ts';
import { readRuntime } from '../read-runtime.ts';
import { readUnit } from '../read-units.ts';
import type { DoctorFacts } from './checks.ts';
import { type AccessFacts, nodeQuestions, ownersQuestions, readAccess, readClockAhead } from './read-access.ts';
import { readDirectoryFacts, readPlace } from './read-place.ts';

export interface DoctorOptions extends GatherOptions {
  readonly nodeName?: string;
  readonly ownersKubeconfig?: string;
  readonly ownersTokenDir?: string;
}

export async function gatherForDoctor(options: DoctorOptions): Promise<DoctorFacts> {
  const { checkpointDir, podManifestPath, lockFile, kubeconfig, probeTimeout } = options;
  const hostRoot = options.hostRoot ?? (await findHostRoot());
  const [place, store, manifests, locks, kubelet, config, api, runtime, bootId, bootUnit, leader, predecessor] = await Promise.all([
    readPlace(hostRoot),
    readDirectoryFacts(checkpointDir, hostRoot),
    readDirectoryFacts(podManifestPath, hostRoot),
    readDirectoryFacts(dirname(lockFile), hostRoot),
    readKubelet(hostRoot, options.kubeletConfig, podManifestPath),
    loadKubeconfig(kubeconfig).then(
      () => ({ state: 'ok' }) as const,
      (error: unknown) => ({ state: 'wrong', detail: messageOf(error) }) as const,
    ),
    askControlPlane(kubeconfig, probeTimeout),
    readRuntime(options.containerRuntimeEndpoint, options.runtimeRequestTimeout, Promise.resolve([])),
    readBootId(options.bootIdFile).then(
      (id) => ({ state: 'ok', id }) as const,
      (error: unknown) => ({ state: 'unknown', detail: messageOf(error) }) as const,
    ),
    readUnit(hostRoot, UNIT_NAMES[0]),
    readLeaderFacts(options),
    findPredecessor(podManifestPath),
  ]);
  // Only of one that answers: each question has the whole time again.
  const asked = api.state === 'ok' ? await askAbout(options) : { node: notAsked, owners: notAsked, clockAhead: undefined };
  return {
    place,
    store,
    manifests,
    locks,
    kubelet,
    kubeconfig: config,
    api,
    ...asked,
    runtime: runtime.state === 'ok' ? { state: 'ok', name: runtime.name ?? 'a runtime without a name' } : runtime,
    bootId,
    bootUnit,
    leader,
    ...(predecessor && { predecessor }),
  };
}

async function findPredecessor(podManifestPath: string) {
  const files = await readdir(podManifestPath).catch(() => []);
  if (!(await hasTraces(podManifestPath, files).catch(() => true))) return undefined;
  return readPredecessor({ podManifestPath, read: readRegular, copies: new Map(), wanted: () => false });
}

const notAsked: AccessFacts = { state: 'unknown', detail: 'the API server does not answer' };

async function askAbout(options: DoctorOptions): Promise<Pick<DoctorFacts, 'node' | 'owners' | 'clockAhead' | 'versions'>> {
  const { kubeconfig, probeTimeout, nodeName } = options;
  const node = await loadKubeconfig(kubeconfig);
  const owners = ownersKubeconfig(
    {
      ...(options.ownersKubeconfig !== undefined && { kubeconfig: options.ownersKubeconfig }),
      ...(options.ownersTokenDir !== undefined && { tokenDir: options.ownersTokenDir }),
    },
    node,
  );
  const [ofNode, ofOwners, clockAhead] = await Promise.all([
    readAccess(node, (user) => nodeQuestions(nodeName ?? nodeNameOf(user) ?? ''), probeTimeout),
    owners.then(
      (config: Kubeconfig | undefined) => (config === undefined ? undefined : readAccess(config, ownersQuestions, probeTimeout)),
      (error: unknown): AccessFacts => ({ state: 'unknown', detail: messageOf(error) }),
    ),
    readClockAhead(node, probeTimeout),
  ]);
  const reader = await owners.catch(() => undefined);
  const name = nodeName ?? nodeNameOf(ofNode.state === 'read' ? ofNode.user : undefined);
  const versions = reader === undefined || name === undefined ? undefined : await readVersions(node, reader, name, probeTimeout);
  return { node: ofNode, owners: ofOwners, clockAhead, ...(versions && { versions }) };
}

/** As the Node authorizer wants nodes to be called. */
function nodeNameOf(user: string | undefined): string | undefined {
  return /^system:node:(.+)$/.exec(user ?? '')?.[1];
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
