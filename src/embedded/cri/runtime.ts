/**
 * The embedded container runtime: sandboxes and containers as processes of this host.
 *
 *  1. A sandbox is READY while its process lives and it was not stopped. A container is what its record says, checked against its process.
 *  2. Containers outlive the runtime: a restarted one finds their processes by pid and start time and goes on watching them.
 *  3. After a power cut nothing of that lives: sandboxes are NotReady, containers exited with code 255 and reason Unknown, as containerd reports them.
 *  4. No namespaces: ports, files and the process table are the host's. Two servers on one port really collide. For mounts see mounts.ts.
 *  5. When a container's main process ends, the rest of its process group is killed.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, type ProcessRef, signal } from '../node/processes.ts';
import { commandLine, findImage, type ImageEntry, type ImageTable } from './images.ts';
import { hostPathOf, substitutePaths, withMountinfo } from './mounts.ts';
import type { ContainerRecord, Records, SandboxRecord } from './records.ts';
import { type Started, startContainerProcess, startSandboxProcess } from './spawn.ts';

export type RuntimeEvent = 'created' | 'started' | 'stopped' | 'deleted';

export type RuntimeErrorCode = 'NotFound' | 'FailedPrecondition' | 'Unknown';

export class RuntimeError extends Error {
  readonly code: RuntimeErrorCode;
  constructor(code: RuntimeErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

export type SandboxConfig = Omit<SandboxRecord, 'id' | 'createdAt' | 'process' | 'stopped'>;
export type ContainerConfig = Omit<ContainerRecord, 'id' | 'createdAt' | 'phase' | 'sandboxId' | 'commandLine' | 'logPath'> & {
  readonly command: readonly string[];
  readonly args: readonly string[];
  /** Relative to the sandbox's log directory. */
  readonly logPath: string;
};

/** How often processes are looked at that another instance of the runtime started; its own children report themselves. */
const ADOPTED_POLL_MS = 100;
/** How often a stop looks whether the process has ended. */
const STOP_POLL_MS = 5;

export class Runtime {
  readonly #records: Records;
  readonly #images: ImageTable;
  readonly #notify: (event: RuntimeEvent, sandboxId: string, containerId: string) => void;
  readonly #children = new Set<string>();

  constructor(records: Records, images: ImageTable, notify: (event: RuntimeEvent, sandboxId: string, containerId: string) => void) {
    this.#records = records;
    this.#images = images;
    this.#notify = notify;
  }

  /** Takes over what an earlier instance left: what still runs is watched, what has ended is written down. */
  adopt(): void {
    for (const container of this.containers()) this.#settle(container.id, undefined);
    setInterval(() => this.#pollAdopted(), ADOPTED_POLL_MS).unref();
  }

  sandboxes(): SandboxRecord[] {
    return [...this.#records.sandboxes.values()];
  }

  containers(): ContainerRecord[] {
    return [...this.#records.containers.values()];
  }

  isReady(sandbox: SandboxRecord): boolean {
    return !sandbox.stopped && isAlive(sandbox.process);
  }

  sandbox(id: string): SandboxRecord {
    const sandbox = this.#records.sandboxes.get(id);
    if (sandbox === undefined) throw new RuntimeError('NotFound', `sandbox ${id}: not found`);
    return sandbox;
  }

  container(id: string): ContainerRecord {
    const container = this.#records.containers.get(id);
    if (container === undefined) throw new RuntimeError('NotFound', `container ${id}: not found`);
    return container;
  }

  async runSandbox(config: SandboxConfig): Promise<string> {
    const { process, child } = await startSandboxProcess();
    const id = newId();
    this.#records.save({ ...config, id, createdAt: Date.now(), process, stopped: false });
    this.#notify('created', id, id);
    this.#notify('started', id, id);
    child.once('exit', () => this.#notify('stopped', id, id));
    return id;
  }

  async stopSandbox(id: string): Promise<void> {
    const sandbox = this.#records.sandboxes.get(id);
    if (sandbox === undefined) return;
    await Promise.all(this.#containersIn(id).map((container) => this.stopContainer(container.id, 0)));
    this.#records.save({ ...sandbox, stopped: true });
    if (isAlive(sandbox.process)) signal(sandbox.process.pid, 'SIGKILL');
  }

  async removeSandbox(id: string): Promise<void> {
    const sandbox = this.#records.sandboxes.get(id);
    if (sandbox === undefined) return;
    await this.stopSandbox(id);
    for (const container of this.#containersIn(id)) await this.removeContainer(container.id);
    this.#records.remove(sandbox);
    this.#notify('deleted', id, id);
  }

  createContainer(sandboxId: string, config: ContainerConfig): string {
    const sandbox = this.sandbox(sandboxId);
    if (!this.isReady(sandbox)) throw new RuntimeError('Unknown', `sandbox ${sandboxId} is not running: no container can be created in it`);
    const image = this.image(config.image);
    if (image === undefined) throw new RuntimeError('NotFound', `image ${config.image}: not found; pull it first`);
    const { command, args, logPath, ...rest } = config;
    const words = commandLine(image, command, args);
    if (words.length === 0)
      throw new RuntimeError('Unknown', `container ${config.metadata.name}: no command, and image ${config.image} has no entry point`);
    const id = newId();
    this.#records.save({
      ...rest,
      id,
      sandboxId,
      commandLine: words,
      logPath: logPath === '' || sandbox.logDirectory === '' ? '' : `${sandbox.logDirectory}/${logPath}`,
      createdAt: Date.now(),
      phase: { state: 'created' },
    });
    this.#notify('created', sandboxId, id);
    return id;
  }

  async startContainer(id: string): Promise<void> {
    const container = this.container(id);
    if (container.phase.state !== 'created')
      throw new RuntimeError('FailedPrecondition', `container ${id} is ${container.phase.state}: only a created container can be started`);
    const startedAt = Date.now();
    const mounts = withMountinfo(this.#records.mountinfoFile(id), container.mounts);
    let started: Started;
    try {
      started = await startContainerProcess({
        commandLine: container.commandLine.map((word) => substitutePaths(word, mounts)),
        env: Object.fromEntries(container.env.map(({ key, value }) => [key, substitutePaths(value, mounts)])),
        workingDir: container.workingDir === '' ? '/' : hostPathOf(container.workingDir, mounts),
        logPath: container.logPath,
        exitFile: this.#records.exitFile(id),
      });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#finish(container, { startedAt, exitCode: 128, reason: 'StartError', message });
      throw new RuntimeError('Unknown', `container ${id}: ${message}`);
    }
    this.#children.add(id);
    this.#records.save({ ...container, phase: { state: 'running', process: started.process, startedAt } });
    started.child.once('exit', (_code, signalName) => {
      this.#children.delete(id);
      this.#settle(id, signalName ?? undefined);
    });
    this.#notify('started', container.sandboxId, id);
  }

  /** SIGTERM to the container's process group, SIGKILL after the timeout (seconds; 0: at once). Returns when it has ended. */
  async stopContainer(id: string, timeoutSeconds: number): Promise<void> {
    const container = this.#records.containers.get(id);
    if (container?.phase.state !== 'running') return;
    const { process } = container.phase;
    if (timeoutSeconds > 0) {
      signal(-process.pid, 'SIGTERM');
      if (await this.#ended(id, process, timeoutSeconds * 1000)) return;
    }
    signal(-process.pid, 'SIGKILL');
    if (!(await this.#ended(id, process, 5_000)))
      throw new RuntimeError('Unknown', `container ${id}: process ${process.pid} runs 5 s after SIGKILL`);
  }

  async removeContainer(id: string): Promise<void> {
    if (!this.#records.containers.has(id)) return;
    await this.stopContainer(id, 0);
    const container = this.container(id);
    this.#records.remove(container);
    this.#notify('deleted', container.sandboxId, id);
  }

  /** The image where it is on the node. */
  image(reference: string): ImageEntry | undefined {
    const entry = findImage(this.#images, reference);
    return entry !== undefined && (entry.pulled !== false || this.#records.isPulled(reference)) ? entry : undefined;
  }

  images(): string[] {
    return Object.keys(this.#images).filter((reference) => this.image(reference) !== undefined);
  }

  pullImage(reference: string): void {
    if (findImage(this.#images, reference) === undefined)
      throw new RuntimeError(
        'NotFound',
        `failed to pull and unpack image "${reference}": failed to resolve reference "${reference}": not found`,
      );
    this.#records.setPulled(reference, true);
  }

  removeImage(reference: string): void {
    this.#records.setPulled(reference, false);
  }

  #containersIn(sandboxId: string): ContainerRecord[] {
    return this.containers().filter((container) => container.sandboxId === sandboxId);
  }

  async #ended(id: string, process: ProcessRef, withinMs: number): Promise<boolean> {
    const deadline = Date.now() + withinMs;
    while (isAlive(process)) {
      if (Date.now() >= deadline) return false;
      await sleep(STOP_POLL_MS);
    }
    this.#settle(id, undefined);
    return true;
  }

  #pollAdopted(): void {
    for (const container of this.containers()) {
      if (container.phase.state === 'running' && !this.#children.has(container.id)) this.#settle(container.id, undefined);
    }
  }

  /** Writes down that a running container has ended, if it has; a killed shim left no exit code. */
  #settle(id: string, killedBy: NodeJS.Signals | undefined): void {
    const container = this.#records.containers.get(id);
    if (container?.phase.state !== 'running') return;
    const { process, startedAt } = container.phase;
    if (isAlive(process)) return;
    const own = this.#children.has(id) || killedBy !== undefined;
    const exitCode = this.#records.exitCode(id) ?? (own ? 137 : 255);
    signal(-process.pid, 'SIGKILL');
    const reason = exitCode === 0 ? 'Completed' : exitCode === 255 && !own ? 'Unknown' : 'Error';
    this.#finish(container, { startedAt, exitCode, reason, message: '' });
  }

  #finish(container: ContainerRecord, end: { startedAt: number; exitCode: number; reason: string; message: string }): void {
    this.#records.save({ ...container, phase: { state: 'exited', finishedAt: Date.now(), ...end } });
    this.#notify('stopped', container.sandboxId, container.id);
  }
}

/** 64 hexadecimal digits, as containerd's. */
function newId(): string {
  return randomBytes(32).toString('hex');
}
