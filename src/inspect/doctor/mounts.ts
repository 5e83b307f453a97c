/** /proc/self/mountinfo, as proc(5) describes it. Pure. */

export interface Mount {
  readonly point: string;
  /** The directory of the file system that is mounted there. */
  readonly root: string;
  readonly type: string;
  readonly readOnly: boolean;
}

/** The mount that a path lies on; undefined for text that is none. */
export function mountOf(mountinfo: string, path: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point, options = ''] = before.split(' ').map(unescaped);
    const [type, , superOptions = ''] = after.split(' ');
    if (root === undefined || point === undefined || type === undefined || type === '') continue;
    const covers = path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`);
    // Of two on one point the later one is on top.
    if (!covers || (found !== undefined && found.point.length > point.length)) continue;
    const readOnly = [...options.split(','), ...superOptions.split(',')].includes('ro');
    found = { point, root, type, readOnly };
  }
  return found;
}

/** Space, tab, newline and backslash are octal. */
const unescaped = (field: string): string =>
  field.replace(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** Where a path lies in the file system that is mounted: on the host's root file system, its path on the host. */
export function withinFileSystem({ point, root }: Mount, path: string): string {
  const rest = path.slice(point === '/' ? 0 : point.length);
  return `${root === '/' ? '' : root}${rest}` || '/';
}
