/**
 * Mounts without mount namespaces. A container of the embedded runtime is a plain process that sees the host's files, so a mount is done to its
 * words instead of its file system: a path below a mount's containerPath becomes the same path below its hostPath.
 *
 * Rewritten: each part of the command and the arguments, and each environment value, where it
 *   is a path                 /etc/kubernetes/secrets/ca.crt
 *   is a flag with a path     --client-ca-file=/etc/kubernetes/secrets/ca.crt
 *   is a URL of a file        unix:///run/cri.sock, file:///var/lib/etcd, also behind a flag
 * The mount with the longest containerPath wins. Paths inside files are not seen: a kubeconfig in a volume has to hold its data itself, or name
 * files beside it.
 *
 * What proc(5) would show a container of its mounts is in a file of its own; the word /proc/self/mountinfo becomes that file's path.
 */
import { writeFileSync } from 'node:fs';

export interface PathMount {
  readonly containerPath: string;
  readonly hostPath: string;
}

export function substitutePaths(value: string, mounts: readonly PathMount[]): string {
  const parts = /^(?<prefix>--?[A-Za-z0-9][^=]*=)?(?<scheme>(?:unix|file):\/\/)?(?<path>\/.*)$/s.exec(value)?.groups;
  if (parts === undefined) return value;
  return `${parts['prefix'] ?? ''}${parts['scheme'] ?? ''}${hostPathOf(parts['path'] ?? '', mounts)}`;
}

/** Where a path of the container lies on the host; the path itself when no mount covers it. */
export function hostPathOf(path: string, mounts: readonly PathMount[]): string {
  const covering = mounts
    .map((mount) => ({ hostPath: mount.hostPath, containerPath: withoutSlash(mount.containerPath) }))
    .filter(({ containerPath }) => path === containerPath || path.startsWith(`${containerPath}/`))
    .sort((a, b) => b.containerPath.length - a.containerPath.length)[0];
  return covering === undefined ? path : withoutSlash(covering.hostPath) + path.slice(covering.containerPath.length);
}

function withoutSlash(path: string): string {
  return path.replace(/\/+$/, '');
}

const MOUNTINFO = '/proc/self/mountinfo';

/** Writes the mountinfo of a container with these mounts. Returns the mounts, and that of the file itself. */
export function withMountinfo(file: string, mounts: readonly PathMount[]): PathMount[] {
  const lines = mounts.map(
    ({ containerPath, hostPath }, index) =>
      `${index + 100} 99 8:1 ${escaped(hostPath)} ${escaped(containerPath)} rw,relatime - ext4 /dev/sda1 rw`,
  );
  writeFileSync(file, ['99 1 0:50 / / rw,relatime - overlay overlay rw', ...lines, ''].join('\n'));
  return [...mounts, { containerPath: MOUNTINFO, hostPath: file }];
}

/** Space, tab, newline and backslash are octal there. */
function escaped(path: string): string {
  return path.replaceAll(/[ \t\n\\]/g, (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`);
}
