// Programs that tests run and the Debian packages that have them. Without one, the tests named here are skipped.
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface SystemPackage {
  readonly name: string;
  readonly program: string;
  readonly tests: string;
}

export const SYSTEM_PACKAGES: readonly SystemPackage[] = [
  { name: 'containerd', program: 'containerd', tests: 'the CRI source on a real containerd' },
  { name: 'runc', program: 'runc', tests: 'the CRI source on a real containerd' },
  { name: 'busybox-static', program: 'busybox', tests: 'the CRI source on a real containerd' },
  { name: 'strace', program: 'strace', tests: 'the order of writes and fsyncs' },
  { name: 'xfsprogs', program: 'mkfs.xfs', tests: 'power cuts at the block level' },
  { name: 'e2fsprogs', program: 'mkfs.ext4', tests: 'power cuts at the block level' },
  { name: 'mount', program: 'mount', tests: 'power cuts at the block level' },
  { name: 'systemd', program: 'systemd-analyze', tests: 'systemd-analyze of the units, and the boot order on a real systemd' },
  { name: 'util-linux', program: 'flock', tests: 'the leader lock' },
  { name: 'zsh', program: 'zsh', tests: 'completion in zsh' },
  { name: 'fish', program: 'fish', tests: 'completion in fish' },
  { name: 'buildah', program: 'buildah', tests: 'the image and the release' },
  { name: 'qemu-user-static', program: 'qemu-aarch64-static', tests: 'the image for arm64' },
];

export function missingPackages(names: readonly string[] = SYSTEM_PACKAGES.map(({ name }) => name)): SystemPackage[] {
  return SYSTEM_PACKAGES.filter(
    ({ name, program }) => names.includes(name) && findProgram(program, name.endsWith('-static')) === undefined,
  );
}

/** PATH, and where Debian puts programs for root, which PATH need not have. */
export const PROGRAM_PATH = [process.env['PATH'] ?? '', '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(delimiter);

/** Path of a program; of a statically linked one if that is asked for. */
export function findProgram(program: string, statically = false): string | undefined {
  return PROGRAM_PATH.split(delimiter)
    .map((directory) => join(directory, program))
    .find((path) => existsSync(path) && (!statically || isStatic(path)));
}

/** An ELF program that names no dynamic loader; the name stands near the beginning. */
function isStatic(path: string): boolean {
  const file = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(4096);
    const length = readSync(file, bytes);
    return !/\/lib[0-9a-z]*\/ld-/.test(bytes.toString('latin1', 0, length));
  } finally {
    closeSync(file);
  }
}
