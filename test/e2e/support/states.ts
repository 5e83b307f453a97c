/**
 * The states that nodes start from: made once, kept in the machine's directory, and made anew when what they were made of has changed. Making one takes
 * about a minute; a node that starts from it has a copy of its own.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { writeBusyboxImage } from '../../support/containerd/image.ts';
import { findProgram } from '../../support/packages.ts';
import { installBootkube } from './bootkube.ts';
import { buildImage, install, type Overlay } from './checkpointer.ts';
import { COMPONENTS, daemonSet, secretOf, staticPod } from './control-plane.ts';
import { createDisk } from './disk.ts';
import { eventually } from './eventually.ts';
import { imageOf, PAUSE_IMAGE, writeProgramImage } from './images.ts';
import { filesOf, NODE_NAME } from './layout.ts';
import { KUBERNETES_PROGRAMS, type Machine } from './machine.ts';
import { copyTree, RealNode } from './node.ts';
import { dsPods, isReadyPod, settled } from './settled.ts';

/** `static`: a control plane of static pods. The others are self-hosted: with one API server at a time or two, with the daemon's host units or without. */
export const STATES = ['static', 'exclusive', 'exclusive-units', 'shared', 'shared-units', 'bootkube'] as const;
export type State = (typeof STATES)[number];

/** A powered-off node in this state, in a directory of its own. */
export async function nodeIn(state: State, machine: Machine, name: string): Promise<RealNode> {
  const from = await prepared(state, machine);
  const directory = join(machine.directory, 'nodes', name);
  await rm(directory, { recursive: true, force: true });
  await mkdir(join(machine.directory, 'nodes'), { recursive: true });
  copyTree(from, directory);
  // What is on its way to the disk would hold up the first fsyncs of the node.
  execFileSync('sync', ['--file-system', directory]);
  return new RealNode(directory, machine);
}

async function prepared(state: State, machine: Machine): Promise<string> {
  const directory = join(machine.directory, 'states', state);
  const madeOf = await fingerprint(state, machine);
  const marker = join(directory, 'made-of');
  if ((await readFile(marker, 'utf8').catch(() => '')) === madeOf) return directory;
  const started = Date.now();
  await rm(directory, { recursive: true, force: true });
  const from = state === 'static' ? undefined : await prepared('static', machine);
  const making = join(machine.directory, 'states', `.${state}`);
  await rm(making, { recursive: true, force: true });
  if (from === undefined) {
    await mkdir(making, { recursive: true });
    await createDisk(making);
    await writeImages(making, machine);
  } else {
    copyTree(from, making);
    await rm(join(making, 'made-of'));
  }
  const node = new RealNode(making, machine);
  try {
    await node.powerOn();
    if (state === 'static') await makeStatic(node);
    else await makeSelfHosted(node, state, machine);
  } finally {
    await node.destroy();
  }
  await writeFile(join(making, 'made-of'), madeOf);
  await rename(making, directory);
  console.error(`state ${state} made in ${Math.round((Date.now() - started) / 1000)} s`);
  return directory;
}

async function writeImages(directory: string, machine: Machine): Promise<void> {
  const { images } = filesOf(directory);
  await mkdir(images, { recursive: true });
  const busybox = findProgram('busybox', true);
  if (busybox === undefined) throw new Error('no statically linked busybox: install busybox-static');
  await writeBusyboxImage(join(images, 'pause.tar'), PAUSE_IMAGE, busybox);
  for (const component of COMPONENTS)
    await writeProgramImage(join(images, `${component}.tar`), imageOf(component), join(machine.kubeBin, component));
}

async function makeStatic(node: RealNode): Promise<void> {
  await node.importImages();
  for (const component of COMPONENTS) await writeFile(staticManifest(node, component), JSON.stringify(staticPod(component)));
  await eventually(() => node.isReady, 120_000);
  await eventually(() => node.kubectl(['label', 'node', NODE_NAME, 'node-role.kubernetes.io/control-plane=', '--overwrite']), 60_000);
  await eventually(() => node.get('serviceaccount', '--namespace=kube-system', 'default').then(() => true), 60_000);
}

const staticManifest = (node: RealNode, component: string): string => join(node.files.manifests, `${component}.json`);

/** The DaemonSets' pods wait for the ports of the static pods, which leave when a daemon has copies of their successors. */
async function makeSelfHosted(node: RealNode, state: Exclude<State, 'static'>, machine: Machine): Promise<void> {
  const { images, disk } = node.files;
  for (const name of await readdir(images)) await rm(join(images, name));
  if (state === 'bootkube') {
    if (machine.bootkube === undefined) throw new Error('BOOTKUBE_CHECKPOINT is not set');
    await writeProgramImage(join(images, 'bootkube.tar'), imageOf('bootkube-checkpoint'), machine.bootkube);
  } else {
    await cp(await checkpointerImage(machine), join(images, 'pod-checkpointer.tar'));
  }
  await node.importImages();
  await eventually(() => node.isReady, 120_000);
  if (state === 'bootkube') await eventually(() => installBootkube(node).then(() => true), 60_000);
  else await eventually(() => install(node, { overlay: overlayOf(state) }).then(() => true), 60_000);
  const daemon = state === 'bootkube' ? 'bootkube' : 'pod-checkpointer';
  await eventually(async () => (await dsPods(node, daemon)).some(isReadyPod), 120_000);
  const objects: object[] = [];
  for (const component of COMPONENTS)
    objects.push(await secretOf(component, join(disk, 'etc-kubernetes')), daemonSet(component, state.startsWith('shared')));
  await node.kubectl(['apply', '--filename=-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  // A pod with a container has got its Secrets; the longer it fails to get its port, the longer the kubelet waits with the next attempt.
  const hasContainer = ({ status }: V1Pod): boolean => status?.containerStatuses?.[0]?.containerID !== undefined;
  for (const component of COMPONENTS) await eventually(async () => (await dsPods(node, component)).some(hasContainer), 60_000);
  for (const component of COMPONENTS) await rm(staticManifest(node, component));
  await settled(node, { daemon, timeoutMs: 180_000, stored: true });
}

function overlayOf(state: State): Overlay {
  return state.endsWith('-units') ? 'host-units' : 'node-identity';
}

/** For a node that was made without it. */
export async function addCheckpointerImage(node: RealNode, machine: Machine): Promise<void> {
  const { images } = node.files;
  await mkdir(images, { recursive: true });
  for (const name of await readdir(images)) await rm(join(images, name));
  await cp(await checkpointerImage(machine), join(images, 'pod-checkpointer.tar'));
  await node.importImages();
}

async function checkpointerImage(machine: Machine): Promise<string> {
  const directory = join(machine.directory, 'image', await sourcesDigest());
  const found = (await readdir(directory).catch(() => [])).find((name) => name.endsWith('.oci.tar'));
  return found === undefined ? buildImage(directory) : join(directory, found);
}

/** What the image and the manifests are made of. */
async function sourcesDigest(): Promise<string> {
  const hash = createHash('sha256');
  for (const top of ['src', 'scripts', 'manifests', 'package-lock.json', 'Dockerfile']) {
    const path = join(import.meta.dirname, '../../..', top);
    const files = (await stat(path)).isDirectory()
      ? (await readdir(path, { recursive: true })).sort().map((name) => join(path, name))
      : [path];
    for (const file of files) if ((await stat(file)).isFile()) hash.update(file).update(await readFile(file));
  }
  return hash.digest('hex').slice(0, 16);
}

async function fingerprint(state: State, machine: Machine): Promise<string> {
  const programs = await Promise.all(KUBERNETES_PROGRAMS.map((name) => stat(join(machine.kubeBin, name))));
  const hash = createHash('sha256').update(programs.map(({ size, mtimeMs }) => `${size} ${mtimeMs}`).join('\n'));
  for (const name of ['control-plane.ts', 'disk.ts', 'images.ts', 'layout.ts'])
    hash.update(await readFile(join(import.meta.dirname, name)));
  if (state !== 'static')
    for (const name of ['checkpointer.ts', 'bootkube.ts', 'states.ts']) hash.update(await readFile(join(import.meta.dirname, name)));
  // E2E_KEEP_STATES: while the daemon is worked on, what it was before is good enough to try the harness with.
  if (state !== 'static' && state !== 'bootkube' && process.env['E2E_KEEP_STATES'] === undefined) hash.update(await sourcesDigest());
  return hash.digest('hex');
}
