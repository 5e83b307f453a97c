/**
 * A real systemd as PID 1 of a PID namespace of its own, with the units of one directory and nothing else of the machine's: /run is a new tmpfs, the root
 * file system is read-only but for one directory, and the cgroups are a namespace's. Needs root.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findProgram } from '../packages.ts';
import { until } from '../until.ts';

const SYSTEMD = '/lib/systemd/systemd';

/** What every service depends on by default; empty here, so that nothing of the machine is started. */
const TARGETS = ['sysinit', 'basic', 'shutdown', 'umount', 'local-fs', 'network', 'network-online', 'multi-user'];

const SCRIPT = `
set -e
root=$1 units=$2
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir "$root/run"
mount -t tmpfs tmpfs "$root/run"
mount -t proc proc /proc
# PrivateTmp= makes its directories there.
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
mount --bind "$units" /etc/systemd/system
mount -n --move "$root/run" /run || true
umount -l /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -o remount,bind,ro /
exec env -i container=oci PATH=/usr/sbin:/usr/bin:/sbin:/bin SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_LOG_TARGET=console \\
  ${SYSTEMD} --system --unit=boot.target --show-status=no
`;

export interface Systemd {
  /** `systemctl <args>`, its output. */
  systemctl(...args: string[]): string;
  /** SIGKILL to everything. */
  powerOff(): void;
}

/** Undefined where one can run; else what is missing. */
export function missingForSystemd(): string | undefined {
  if (process.getuid?.() !== 0) return 'a systemd of its own needs root';
  if (findProgram('systemctl') === undefined || spawnSync(SYSTEMD, ['--version']).status !== 0)
    return 'no systemd; apt-get install systemd';
  // Also where namespaces are forbidden, as in most containers.
  const mounts = 'mount --make-rprivate / && mount -t proc proc /proc && mount -t cgroup2 cgroup2 /mnt && test -w /mnt/cgroup.procs';
  const { status } = spawnSync('unshare', [...NAMESPACES, 'sh', '-c', mounts]);
  return status === 0 ? undefined : 'namespaces or a cgroup2 of their own cannot be had here';
}

const NAMESPACES = ['--pid', '--fork', '--mount', '--uts', '--ipc', '--cgroup', '--kill-child'];

/** Writes the targets and `boot.target`, which wants these units. */
export function writeTargets(units: string, wants: readonly string[]): void {
  mkdirSync(units, { recursive: true });
  for (const name of TARGETS) writeFileSync(join(units, `${name}.target`), '[Unit]\nDefaultDependencies=no\n');
  writeFileSync(
    join(units, 'boot.target'),
    `[Unit]\nRequires=sysinit.target basic.target\nAfter=sysinit.target basic.target\nWants=${wants.join(' ')}\n`,
  );
}

/** A drop-in by which a unit writes into `<root>/<name>.log`; there is no journal. */
export function logOf(root: string, name: string): string {
  return `[Service]\nStandardOutput=append:${root}/${name}.log\nStandardError=append:${root}/${name}.log\n`;
}

/** `root`: the one directory that can be written to; not below /tmp or /var/tmp, which services have of their own. */
export async function powerOn(root: string, units: string): Promise<Systemd> {
  const child: ChildProcess = spawn('unshare', [...NAMESPACES, 'sh', '-c', SCRIPT, 'sh', root, units], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const powerOff = () => void child.kill('SIGKILL');
  const systemctl = (pid: string, ...args: string[]) =>
    spawnSync('nsenter', ['-t', pid, '-m', '-p', 'systemctl', '--no-pager', ...args], { encoding: 'utf8' }).stdout.trim();
  try {
    const pid = await until(async () => {
      if (child.exitCode !== null) throw new Error(output);
      return await childOf(child.pid);
    });
    await until(() => systemctl(pid, 'is-active', 'boot.target') === 'active', 20_000);
    return { systemctl: (...args) => systemctl(pid, ...args), powerOff };
  } catch (error) {
    powerOff();
    throw new Error(`systemd did not come up: ${output}`, { cause: error });
  }
}

/** The namespace's PID 1 once it is systemd, by its pid outside. */
async function childOf(pid: number | undefined): Promise<string | undefined> {
  for (const task of await readdir(`/proc/${pid}/task`)) {
    for (const child of (await readFile(`/proc/${pid}/task/${task}/children`, 'utf8')).trim().split(' ').filter(Boolean))
      if ((await readFile(`/proc/${child}/cmdline`, 'utf8')).startsWith(SYSTEMD)) return child;
  }
  return undefined;
}
