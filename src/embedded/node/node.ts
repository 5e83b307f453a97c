/**
 * An embedded node: one directory, a container runtime and a kubelet as processes, and the power that they run on.
 *
 *  1. Off: nothing of it runs. On: runtime and kubelet run, or were ended on purpose.
 *  2. A power cut is SIGKILL to every process of the node at once; `etc` and `var` stay, `run` and what a kubelet keeps in memory are gone.
 *  3. The node never outlives its maker: when this process ends, however it ends, the power goes.
 */
import { randomUUID } from 'node:crypto';
import { type FSWatcher, readFileSync, watch } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ApiClient, createClient } from '../controllers/client.ts';
import { readKubeconfig } from '../controllers/kubeconfig.ts';
import type { ImageTable } from '../cri/images.ts';
import { type CriClient, connectCri } from '../kubelet/cri-client.ts';
import { MEMORY_PLUGINS } from '../kubelet/volumes.ts';
import { type ClusterPki, writeClusterPki } from '../pki.ts';
import { CHECKPOINTER, CONTROL_PLANE, type ControlPlaneOptions, checkpointerFlags, VERSION } from './control-plane.ts';
import { diskDirectories, freePorts, type Layout, layoutOf, type Ports } from './layout.ts';
import { cutPower, cutPowerNow } from './processes.ts';
import { type NodeProgram, startProgram } from './programs.ts';
import { pollReadyz, type ReadyzPoller } from './readyz.ts';
import { Timeline } from './timeline.ts';
import { waitFor } from './wait.ts';

export interface NodeOptions {
  /** Command line in front of a program's name: Node and the entry of the embedded programs. */
  readonly embedded: readonly string[];
  /** Command line of the daemon: Node and its bundle. Undefined: no checkpointer runs. */
  readonly checkpointer?: readonly string[];
  /** The node's directory; by default a new one, which `destroy` removes. */
  readonly dir?: string;
  readonly name?: string;
  /** Whether two API servers may share the port. Default true. */
  readonly portSharing?: boolean;
  /** Whether the API server's pod declares its port. Default true. */
  readonly declarePorts?: boolean;
  /** Further flags of the programs. */
  readonly kubeletFlags?: readonly string[];
  readonly apiserverFlags?: readonly string[];
  readonly checkpointerFlags?: readonly string[];
  /** Whether the daemon runs as a pod. Default: when `checkpointer` is given. */
  readonly checkpointerPod?: boolean;
  /** Whether that pod has the ServiceAccount that may read owners. Default true. */
  readonly checkpointerAccount?: boolean;
  /** Further images. */
  readonly images?: ImageTable;
}

type Power = { readonly state: 'off' } | { readonly state: 'on'; readonly runtime: NodeProgram; readonly kubelet: NodeProgram };

export interface RunningContainer {
  readonly pod: string;
  readonly namespace: string;
  readonly container: string;
  readonly attempt: number;
  readonly state: 'created' | 'running' | 'exited' | 'unknown';
  readonly id: string;
  readonly sandboxId: string;
}

/** By the numbers of CRI's ContainerState. */
const CONTAINER_STATES: Readonly<Record<number, RunningContainer['state']>> = { 0: 'created', 1: 'running', 2: 'exited' };

export class EmbeddedNode {
  readonly id = randomUUID();
  readonly name: string;
  readonly layout: Layout;
  readonly ports: Ports;
  readonly pki: ClusterPki;
  readonly timeline = new Timeline();
  /** Asks /readyz from the first power on until `destroy`. */
  readonly readyz: ReadyzPoller;
  readonly #options: NodeOptions;
  readonly #ownsDirectory: boolean;
  readonly #caCertificate: string;
  readonly #api: ApiClient;
  readonly #manifestWatch: FSWatcher;
  readonly #manifestFiles = new Set<string>();
  readonly #exitHook: () => void;
  #cri: CriClient | undefined;
  #power: Power = { state: 'off' };

  /** Use `createNode`. */
  constructor(options: NodeOptions, layout: Layout, ports: Ports, pki: ClusterPki) {
    this.#options = options;
    this.#ownsDirectory = options.dir === undefined;
    this.name = options.name ?? DEFAULT_NAME;
    this.layout = layout;
    this.ports = ports;
    this.pki = pki;
    this.#caCertificate = readFileSync(pki.caCert, 'utf8');
    this.#api = createClient(readKubeconfig(layout.adminConf));
    this.readyz = pollReadyz(ports.apiserver, this.#caCertificate, (up, at) => this.timeline.record({ kind: 'readyz', up }, at));
    this.#manifestWatch = watch(layout.manifests, () => void this.#lookAtManifests());
    this.#exitHook = () => cutPowerNow(this.id);
    process.on('exit', this.#exitHook);
  }

  /** Requests as cluster administrator. Throws while no API server answers. */
  api(): ApiClient {
    return this.#api;
  }

  /** A client of the container runtime; it waits for a runtime that is not up. */
  cri(): CriClient {
    this.#cri ??= connectCri(`unix://${this.layout.criSocket}`, 10_000);
    return this.#cri;
  }

  /** Boots: a new boot id, an empty `run`, the runtime and at once the kubelet. Returns when both were started. */
  async powerOn(options: { readonly beforeKubelet?: () => Promise<void> } = {}): Promise<void> {
    if (this.#power.state === 'on') throw new Error(`node ${this.name} is on already`);
    const { layout } = this;
    await this.#clearMemory();
    const bootId = randomUUID();
    await mkdir(join(layout.run, 'lock'), { recursive: true });
    await writeFile(layout.bootIdFile, `${bootId}\n`);
    this.timeline.record({ kind: 'power-on', bootId });
    const runtime = this.#startRuntime();
    await options.beforeKubelet?.();
    this.#power = { state: 'on', runtime, kubelet: this.#startKubelet() };
  }

  /** Power cut. Returns when no process of the node is left. */
  async powerOff(): Promise<void> {
    this.timeline.record({ kind: 'power-off' });
    this.#power = { state: 'off' };
    await cutPower(this.id);
  }

  /** Ends the kubelet (its pods go on), or does so and starts another one. */
  async stopKubelet(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#on().kubelet.end(signal);
  }

  async restartKubelet(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { runtime } = this.#on();
    await this.stopKubelet(signal);
    this.#power = { state: 'on', runtime, kubelet: this.#startKubelet() };
  }

  /** Ends the container runtime (its containers go on), or does so and starts another one. */
  async stopRuntime(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#on().runtime.end(signal);
  }

  async restartRuntime(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const { kubelet } = this.#on();
    await this.stopRuntime(signal);
    this.#power = { state: 'on', kubelet, runtime: this.#startRuntime() };
  }

  /** Starts the daemon on the host, as its systemd unit would. `flags` come after those that every checkpointer here has. */
  startCheckpointer(...flags: string[]): NodeProgram {
    const { checkpointer } = this.#options;
    if (checkpointer === undefined)
      throw new Error('the node was made without the daemon: give createNode its command line as `checkpointer`');
    return this.start('checkpointer', [
      ...checkpointer,
      'run',
      `--node-name=${this.name}`,
      ...checkpointerFlags(this.layout, this.ports),
      ...flags,
    ]);
  }

  /** Starts any program as the node's own. Its standard error goes to `log/<name>.log` and to the timeline. */
  start(name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}): NodeProgram {
    return startProgram({
      name,
      command,
      nodeId: this.id,
      logDir: this.layout.log,
      env: { CHECKPOINTER_BOOT_ID_FILE: this.layout.bootIdFile, ...env },
      onLine: (line) => this.timeline.record({ kind: 'log', program: name, line }),
    });
  }

  /** Starts one of the embedded programs on the host. */
  startEmbedded(name: string, program: string, flags: readonly string[]): NodeProgram {
    return this.start(name, [...this.#options.embedded, program, ...flags]);
  }

  /** What the control plane is made of on this node, for bootstrap. */
  controlPlane(): ControlPlaneOptions {
    const { portSharing = true, declarePorts = true, checkpointer, checkpointerPod = checkpointer !== undefined } = this.#options;
    const { checkpointerAccount = true } = this.#options;
    const { pki, layout, ports } = this;
    const read = (file: string) => readFileSync(file, 'utf8');
    return {
      layout,
      ports,
      portSharing,
      declarePorts,
      files: {
        caCert: read(pki.caCert),
        apiserverCert: read(pki.apiserverCert),
        apiserverKey: read(pki.apiserverKey),
        controllerManagerConf: read(pki.controllerManagerConf),
        schedulerConf: read(pki.schedulerConf),
      },
      apiserverFlags: this.#options.apiserverFlags ?? [],
      checkpointerFlags: checkpointerPod ? (this.#options.checkpointerFlags ?? []) : undefined,
      checkpointerAccount,
    };
  }

  /** Every container that the runtime has, with the pod that it belongs to. */
  async containers(): Promise<RunningContainer[]> {
    return (await this.cri().listContainers()).map(({ id, podSandboxId, labels, metadata, state }) => ({
      id,
      sandboxId: podSandboxId,
      pod: labels['io.kubernetes.pod.name'] ?? '',
      namespace: labels['io.kubernetes.pod.namespace'] ?? '',
      container: labels['io.kubernetes.container.name'] ?? '',
      attempt: metadata?.attempt ?? 0,
      state: CONTAINER_STATES[state] ?? 'unknown',
    }));
  }

  /** Names of the files in the static pod directory that the kubelet reads. */
  async manifests(): Promise<string[]> {
    return (await readdir(this.layout.manifests)).filter((name) => !name.startsWith('.')).sort();
  }

  /** What the newest attempt of a container said; the pod's name may be only its beginning. Empty where there is none. */
  async containerLog(podName: string, container: string): Promise<string> {
    const pods = (await readdir(this.layout.podLogs)).filter((entry) => entry.split('_')[1]?.startsWith(podName));
    const logs = await Promise.all(
      pods.map(async (pod) => {
        const directory = join(this.layout.podLogs, pod, container);
        return (await readdir(directory).catch(() => [])).map((file) => ({
          attempt: Number.parseInt(file, 10),
          path: join(directory, file),
        }));
      }),
    );
    const newest = logs.flat().sort((a, b) => b.attempt - a.attempt)[0];
    return newest === undefined ? '' : readFile(newest.path, 'utf8');
  }

  waitFor<T>(what: string, condition: () => T | Promise<T>, timeoutMs = 30_000): Promise<NonNullable<T>> {
    return waitFor(what, condition, timeoutMs);
  }

  /** Cuts the power for good and removes a directory that the node made itself. */
  async destroy(): Promise<void> {
    this.readyz.stop();
    this.#manifestWatch.close();
    this.#cri?.close();
    this.#api.close();
    await cutPower(this.id);
    process.off('exit', this.#exitHook);
    if (this.#ownsDirectory) await rm(this.layout.root, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }

  #on(): Extract<Power, { state: 'on' }> {
    if (this.#power.state === 'off') throw new Error(`node ${this.name} is off`);
    return this.#power;
  }

  #startRuntime(): NodeProgram {
    const { layout } = this;
    return this.startEmbedded('cri', 'cri', [
      `--socket=${layout.criSocket}`,
      `--state-dir=${layout.criState}`,
      `--images=${layout.images}`,
      '--power-line',
    ]);
  }

  #startKubelet(): NodeProgram {
    const { layout } = this;
    return this.startEmbedded('kubelet', 'kubelet', [
      `--kubeconfig=${layout.kubeletConf}`,
      `--node-name=${this.name}`,
      `--pod-manifest-path=${layout.manifests}`,
      `--container-runtime-endpoint=unix://${layout.criSocket}`,
      `--root-dir=${layout.kubelet}`,
      `--pod-logs-dir=${layout.podLogs}`,
      `--boot-id-file=${layout.bootIdFile}`,
      `--lock-file=${layout.kubeletLockFile}`,
      '--power-line',
      ...(this.#options.kubeletFlags ?? []),
    ]);
  }

  /** Whatever a boot finds empty: /run, and the volumes that a kubelet keeps in memory. */
  async #clearMemory(): Promise<void> {
    await rm(this.layout.run, { recursive: true, force: true });
    const pods = join(this.layout.kubelet, 'pods');
    for (const uid of await readdir(pods).catch(() => []))
      for (const plugin of MEMORY_PLUGINS) await rm(join(pods, uid, 'volumes', plugin), { recursive: true, force: true });
  }

  async #lookAtManifests(): Promise<void> {
    const now = await this.manifests().catch((): string[] => []);
    const before = [...this.#manifestFiles];
    this.#manifestFiles.clear();
    for (const file of now) this.#manifestFiles.add(file);
    for (const file of now) if (!before.includes(file)) this.timeline.record({ kind: 'manifest', change: 'added', file });
    for (const file of before) if (!now.includes(file)) this.timeline.record({ kind: 'manifest', change: 'removed', file });
  }
}

const DEFAULT_NAME = 'master-1';

/** Lays out the node's disk: certificates, kubeconfigs, images. The node is off. */
export async function createNode(options: NodeOptions): Promise<EmbeddedNode> {
  const layout = layoutOf(options.dir ?? (await mkdtemp(join(tmpdir(), 'node-'))));
  for (const directory of diskDirectories(layout)) await mkdir(directory, { recursive: true });
  const ports = await freePorts();
  const pki = await writeClusterPki(layout.kubernetes, {
    server: `https://127.0.0.1:${ports.apiserver}`,
    names: ['localhost', '127.0.0.1', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc'],
    nodeName: options.name ?? DEFAULT_NAME,
  });
  await writeFile(layout.images, JSON.stringify(imageTable(options), undefined, 2));
  return new EmbeddedNode(options, layout, ports, pki);
}

function imageTable({ embedded, checkpointer, images }: NodeOptions): ImageTable {
  const components = CONTROL_PLANE.map((name): [string, ImageTable[string]] => [
    `registry.local/${name}:*`,
    { programs: { [name]: [...embedded, name] }, entrypoint: [name] },
  ]);
  return {
    ...Object.fromEntries(components),
    ...(checkpointer === undefined
      ? {}
      : { [`registry.local/${CHECKPOINTER}:${VERSION}`]: { programs: { checkpointer }, entrypoint: ['checkpointer'] } }),
    'registry.local/pause:*': { programs: {}, entrypoint: ['sleep', 'infinity'] },
    'registry.local/sleep:*': { programs: {}, entrypoint: ['sleep', 'infinity'] },
    'registry.local/crash:*': { programs: {}, entrypoint: ['sh', '-c', 'exit 1'] },
    ...images,
  };
}
