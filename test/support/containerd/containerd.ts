// A containerd of its own for a test: own root, state, socket and cgroup, no network plugin, nothing shared with one that the machine may run.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, open, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram, missingPackages, PROGRAM_PATH } from '../packages.ts';
import { until } from '../until.ts';
import { writeBusyboxImage } from './image.ts';

const execute = promisify(execFile);
const run = (program: string, args: readonly string[]): Promise<unknown> =>
  execute(program, args, { env: { ...process.env, PATH: PROGRAM_PATH } });

export const IMAGE = 'test.local/busybox:1';

/** What keeps a containerd from running here, undefined when nothing does. */
export function missingForContainerd(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  if (!mayMount()) return 'no capability to mount (CAP_SYS_ADMIN): run on a machine or in a privileged container';
  const missing = missingPackages(['containerd', 'runc', 'busybox-static']).map(({ name }) => name);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(', ')}`;
}

function mayMount(): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${effective}`) & (1n << 21n)) !== 0n;
}

export class Containerd {
  readonly directory: string;
  readonly socket: string;
  /** For `cgroup_parent` of the sandboxes. */
  readonly cgroup: string;
  #process: ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
    this.socket = join(directory, 'containerd.sock');
    this.cgroup = `/pod-checkpointer-test-${process.pid}`;
  }

  /** Starts one and puts IMAGE into it. */
  static async create(): Promise<Containerd> {
    // Not under TMPDIR: the path of a unix socket is short.
    const containerd = new Containerd(await mkdtemp('/tmp/containerd-'));
    try {
      await writeFile(join(containerd.directory, 'config.toml'), configuration(containerd.directory));
      await containerd.start();
      const archive = join(containerd.directory, 'image.tar');
      await writeBusyboxImage(archive, IMAGE, findProgram('busybox', true) ?? '/bin/busybox');
      await run('ctr', ['--address', containerd.socket, '--namespace', 'k8s.io', 'images', 'import', '--snapshotter', 'native', archive]);
    } catch (error) {
      const log = await readFile(join(containerd.directory, 'log'), 'utf8').catch(() => '');
      await containerd.destroy();
      throw new Error(`containerd did not come up: ${error instanceof Error ? error.message : String(error)}\n${log.slice(-2000)}`);
    }
    return containerd;
  }

  /** Starts the process and waits until it answers. */
  async start(): Promise<void> {
    const log = await open(join(this.directory, 'log'), 'a');
    try {
      this.#process = spawn('containerd', ['--config', join(this.directory, 'config.toml')], {
        stdio: ['ignore', log.fd, log.fd],
        env: { ...process.env, PATH: PROGRAM_PATH },
      });
      await once(this.#process, 'spawn');
    } finally {
      await log.close();
    }
    await until(
      () =>
        run('ctr', ['--address', this.socket, 'version']).then(
          () => true,
          () => false,
        ),
      20_000,
    );
  }

  /** SIGKILL to the daemon alone: its containers live on. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** Ends every process of it and removes every file, mount and cgroup. */
  async destroy(): Promise<void> {
    await this.kill();
    await this.#killShims();
    await this.#removeShimSockets();
    await this.#unmountAll();
    await rm(this.directory, { recursive: true, force: true });
    await this.#removeCgroups();
  }

  /** Shims name the socket in their arguments; sandboxes and containers are below our cgroup. */
  async #killShims(): Promise<void> {
    await until(async () => {
      const left: number[] = [];
      for (const pid of await processes()) if (await this.#owns(pid)) left.push(pid);
      for (const pid of left) kill(pid);
      return left.length === 0;
    }, 10_000);
  }

  async #owns(pid: number): Promise<boolean> {
    const read = (file: string): Promise<string> => readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '');
    // A zombie has ended; who reaps it, and when, depends on the machine's init.
    if (/^State:\s+[ZX]/m.test(await read('status'))) return false;
    return (await read('cmdline')).split('\0').includes(this.socket) || (await read('cgroup')).includes(`:${this.cgroup}/`);
  }

  /** A shim listens below /run/containerd whatever the state directory is, and names the socket in its bundle. */
  async #removeShimSockets(): Promise<void> {
    const tasks = join(this.directory, 'state/io.containerd.runtime.v2.task/k8s.io');
    for (const id of await readdir(tasks).catch(() => [])) {
      const address = await readFile(join(tasks, id, 'address'), 'utf8').catch(() => '');
      if (address.startsWith('unix:///run/containerd/s/')) await rm(address.slice('unix://'.length).trim(), { force: true });
    }
  }

  async #unmountAll(): Promise<void> {
    const mounts = (await readFile('/proc/self/mounts', 'utf8')).split('\n').map((line) => line.split(' ')[1] ?? '');
    for (const mount of mounts.filter((path) => path.startsWith(`${this.directory}/`)).sort((a, b) => b.length - a.length)) {
      await run('umount', ['--lazy', mount]);
    }
  }

  async #removeCgroups(): Promise<void> {
    for (const hierarchy of ['', ...(await readdir('/sys/fs/cgroup'))]) {
      await removeEmptyTree(join('/sys/fs/cgroup', hierarchy, this.cgroup));
    }
  }
}

async function processes(): Promise<number[]> {
  return (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name)).map(Number);
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It ended by itself.
  }
}

async function removeEmptyTree(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeEmptyTree(join(path, entry.name));
  await rmdir(path).catch(() => undefined);
}

function configuration(directory: string): string {
  const text = (path: string): string => JSON.stringify(join(directory, path));
  return `version = 2
root = ${text('root')}
state = ${text('state')}
[grpc]
  address = ${text('containerd.sock')}
[ttrpc]
  address = ${text('containerd.sock.ttrpc')}
[plugins."io.containerd.internal.v1.opt"]
  path = ${text('opt')}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(IMAGE)}
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_selinux = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${text('cni/bin')}
    conf_dir = ${text('cni/conf')}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = ${text('runc')}
`;
}
