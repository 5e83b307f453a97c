/**
 * A real node in namespaces of this machine: etcd, containerd, the kubelet, and what it runs. Its power is the life of its first process: SIGKILL to that
 * ends every process of the PID namespace at once, and mounts, network and IPC go with them. What stays is the disk.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { readStatus, type Status } from '../../../src/status.ts';
import { PROGRAM_PATH } from '../../support/packages.ts';
import { until } from '../../support/until.ts';
import { BOOT_ID_FILE, filesOf, type NodeFiles, SERVER } from './layout.ts';
import type { Machine } from './machine.ts';
import type { Change } from './outages.ts';

const ENVIRONMENT = { ...process.env, PATH: PROGRAM_PATH };

type Power =
  | { readonly state: 'off' }
  | { readonly state: 'on'; readonly launcher: ChildProcess; readonly init: number; readonly probe: ChildProcess };

export class RealNode {
  readonly directory: string;
  readonly files: NodeFiles;
  readonly changes: Change[] = [];
  readonly #kubeBin: string;
  #power: Power = { state: 'off' };
  readonly #onExit = () => this.#cut();

  constructor(directory: string, machine: Machine) {
    this.directory = directory;
    this.files = filesOf(directory);
    this.#kubeBin = machine.kubeBin;
    process.on('exit', this.#onExit);
  }

  /** Returns when it was, milliseconds since the epoch. Readiness is asked for from now on. */
  async powerOn(): Promise<number> {
    if (this.#power.state === 'on') throw new Error(`${this.directory}: is on already`);
    const log = openSync(join(this.files.logs, 'init.log'), 'a');
    const at = Date.now();
    // The node never outlives its maker, however that ends.
    const launcher = spawn(
      'setpriv',
      [
        '--pdeathsig=KILL',
        'unshare',
        '--mount',
        '--pid',
        '--net',
        '--uts',
        '--ipc',
        '--fork',
        '--kill-child',
        '--',
        process.execPath,
        join(import.meta.dirname, 'init.ts'),
        this.directory,
        this.#kubeBin,
      ],
      { stdio: ['ignore', log, log], env: ENVIRONMENT, detached: true },
    );
    closeSync(log);
    const init = await until(() => childrenOf(launcher.pid)[0], 5_000);
    // Its own process, and the node's own network: two probes of the same node share nothing.
    const probe = spawn(
      'setpriv',
      [
        '--pdeathsig=KILL',
        'nsenter',
        `--net=/proc/${init}/ns/net`,
        process.execPath,
        join(import.meta.dirname, 'probe.ts'),
        `${SERVER}/readyz`,
        this.files.pki,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'], env: ENVIRONMENT },
    );
    createInterface({ input: probe.stdout }).on('line', (line) => this.changes.push(JSON.parse(line) as Change));
    this.#power = { state: 'on', launcher, init, probe };
    return at;
  }

  /** Returns when nothing of the node is left. */
  async powerOff(): Promise<void> {
    const power = this.#power;
    if (power.state === 'off') return;
    this.#power = { state: 'off' };
    // The launcher reaps the first process, which ends after every other one of its namespace.
    const ended = [power.launcher, power.probe].map(endOf);
    for (const pid of [power.init, power.probe.pid]) killed(pid);
    await Promise.all(ended);
    if (this.changes.at(-1)?.up === true) this.changes.push({ at: Date.now(), up: false, answers: false });
    await this.#removeCgroups();
  }

  /** A power cut, a second of darkness, power. Returns when that came back. */
  async powerCut(): Promise<number> {
    await this.powerOff();
    return this.powerOn();
  }

  async destroy(): Promise<void> {
    await this.powerOff();
    process.off('exit', this.#onExit);
  }

  /** Runs a program in the node's mounts and network; `input` is its standard input. Gives its output, throws where it fails. */
  inside(command: readonly string[], input?: string, timeoutMs?: number): Promise<string> {
    const [program, ...args] = this.commandInside(command);
    return execute(program, args, input, timeoutMs);
  }

  /** The words that run these in the node's mounts and network. */
  commandInside(command: readonly string[]): readonly [string, ...string[]] {
    return ['nsenter', `--target=${this.#on().init}`, '--mount', '--pid', '--net', '--uts', '--ipc', '--', ...command];
  }

  /** As cluster administrator. */
  kubectl(args: readonly string[], input?: string): Promise<string> {
    return this.inside(['kubectl', '--kubeconfig=/etc/kubernetes/admin.conf', '--request-timeout=10s', ...args], input);
  }

  async get<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.kubectl(['get', '--output=json', ...args])) as T;
  }

  /** Waits for the container runtime and puts every archive of the directory into it. */
  async importImages(): Promise<void> {
    await until(() => this.inside(['ctr', 'version']).then(() => true), 30_000);
    for (const name of (await readdir(this.files.images)).sort())
      await this.inside(['ctr', '--namespace=k8s.io', 'images', 'import', join(this.files.images, name)]);
  }

  /** A signal to the programs of this name that the first process started: the kubelet, containerd, etcd. */
  signal(name: string, signal: NodeJS.Signals): void {
    const pids = childrenOf(this.#on().init).filter((pid) => commandOf(pid) === name);
    if (pids.length === 0) throw new Error(`no ${name} runs on the node`);
    for (const pid of pids) process.kill(pid, signal);
  }

  async status(): Promise<Status | undefined> {
    return readStatus(this.files.store);
  }

  /** Names of the files in the kubelet's directory. */
  async manifests(): Promise<string[]> {
    return (await readdir(this.files.manifests)).filter((name) => !name.startsWith('.')).sort();
  }

  /** Of this boot, as the machine sees it: the node's own /run. */
  get bootIdFile(): string {
    return `/proc/${this.#on().init}/root${BOOT_ID_FILE}`;
  }

  get isReady(): boolean {
    return this.changes.at(-1)?.up === true;
  }

  #on(): Power & { readonly state: 'on' } {
    if (this.#power.state === 'off') throw new Error(`${this.directory}: the power is off`);
    return this.#power;
  }

  #cut(): void {
    if (this.#power.state === 'off') return;
    const { init, launcher, probe } = this.#power;
    this.#power = { state: 'off' };
    for (const pid of [init, launcher.pid, probe.pid]) killed(pid);
  }

  /** A power cut leaves no cgroups; here they are the machine's, and a kubelet takes half a minute to look into those of another boot. */
  async #removeCgroups(): Promise<void> {
    const cri = join(this.files.disk, 'containerd/io.containerd.grpc.v1.cri');
    const ids = new Set<string>();
    for (const kind of ['sandboxes', 'containers']) for (const id of await readdir(join(cri, kind)).catch(() => [])) ids.add(id);
    // One whose last process has just ended is busy for a moment.
    await until(() => !removeCgroups('/sys/fs/cgroup', ids), 5_000);
  }
}

/** Removes those that bear the id of a sandbox or container, and says whether one of them is left. */
function removeCgroups(directory: string, ids: ReadonlySet<string>): boolean {
  let left = false;
  for (const name of entriesOf(directory)) {
    const path = join(directory, name);
    if (ids.has(name.replace(/^.*[:-]/, '').replace(/\.scope$/, ''))) left = !removeTree(path) || left;
    else left = removeCgroups(path, ids) || left;
  }
  return left;
}

function removeTree(directory: string): boolean {
  for (const name of entriesOf(directory)) removeTree(join(directory, name));
  try {
    rmdirSync(directory);
    return true;
  } catch {
    return false;
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

function childrenOf(pid: number | undefined): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .split(' ')
      .filter((word) => word !== '')
      .map(Number);
  } catch {
    return [];
  }
}

function endOf(child: ChildProcess): Promise<unknown> {
  return child.exitCode !== null || child.signalCode !== null ? Promise.resolve() : once(child, 'exit');
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}

function killed(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

export function execute(program: string, args: readonly string[], input?: string, timeoutMs = 120_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, args, { env: ENVIRONMENT, maxBuffer: 64 << 20, timeout: timeoutMs }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${args.slice(args.indexOf('--') + 1).join(' ')}: ${stderr.trim() || error.message}`));
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input ?? '');
  });
}

/** Copies a directory tree with owners, modes and links. */
export function copyTree(from: string, to: string): void {
  const { status, stderr } = spawnSync('cp', ['--archive', '--reflink=auto', from, to], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`cp ${from} ${to}: ${stderr}`);
}

export async function readLog(node: RealNode, name: string): Promise<string> {
  return readFile(join(node.files.logs, `${name}.log`), 'utf8').catch(() => '');
}
