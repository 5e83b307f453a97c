/**
 * Paths inside a volume. Files of a copy are written by root, so what the API server validates is checked again here: nothing that comes
 * from a pod or an object's keys may reach outside the volume's own directory.
 */

/** Linux' limits for a name and a path, in bytes. */
const MAX_NAME = 255;
const MAX_PATH = 4096;

/**
 * The path without empty and `.` elements, or undefined for one that is not safe: absolute, with a `..` element, beginning with `..` (the kubelet
 * keeps those names for itself), too long, or with a NUL byte. The kubelet's own checks of a volume's payload are the same.
 */
export function safeRelativePath(path: string): string | undefined {
  if (path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) > MAX_PATH) return undefined;
  const elements = path.split('/').filter((element) => element !== '' && element !== '.');
  if (elements.length === 0 || elements.some((element) => element === '..' || Buffer.byteLength(element) > MAX_NAME)) return undefined;
  return elements[0]?.startsWith('..') ? undefined : elements.join('/');
}

/** `a/b/c` → `a`, `a/b`. */
export function parentsOf(path: string): string[] {
  const elements = path.split('/');
  return elements.slice(1).map((_, i) => elements.slice(0, i + 1).join('/'));
}

/** A DNS label: what the API server allows as the name of a volume, and what is used as the name of its directory. */
export function isDnsLabel(name: string): boolean {
  return name.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name);
}
