/** System calls from strace's output, and what must hold of their order for a change that survives a power cut. */
import { dirname } from 'node:path';

export type Call =
  | { readonly kind: 'create' | 'mkdir' | 'change' | 'sync'; readonly path: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string };

/** Only calls that succeeded. `change`: bytes, mode or owner of a file or directory. Without the store's lock, which no power cut needs to leave. */
export function parseTrace(trace: string): Call[] {
  return whole(trace.split('\n')).flatMap((line): Call[] => {
    if (!/ = [0-9]/.test(line) || line.includes('/.lock-')) return [];
    const created = /openat\(AT_FDCWD<[^>]*>, "([^"]+)", [A-Z_|]*O_CREAT/.exec(line)?.[1];
    if (created !== undefined) return [{ kind: 'create', path: created }];
    const made = /mkdir\("([^"]+)"/.exec(line)?.[1];
    if (made !== undefined) return [{ kind: 'mkdir', path: made }];
    const changed = /(?:pwrite64|fchmod|fchown|ftruncate)\([0-9]+<([^>]+)>/.exec(line)?.[1];
    if (changed !== undefined) return [{ kind: 'change', path: changed }];
    const synced = /(?:fsync|fdatasync)\([0-9]+<([^>]+)>/.exec(line)?.[1];
    if (synced !== undefined) return [{ kind: 'sync', path: synced }];
    const [, from, to] = /rename\("([^"]+)", "([^"]+)"\)/.exec(line) ?? [];
    return from === undefined || to === undefined ? [] : [{ kind: 'rename', from, to }];
  });
}

/** A call during which another thread made one stands in two lines: both as one, where it ended. */
function whole(lines: readonly string[]): string[] {
  const begun = new Map<string, string>();
  return lines.flatMap((line) => {
    const [, pid = '', start] = /^([0-9]+) +(.*) <unfinished \.\.\.>$/.exec(line) ?? [];
    if (start !== undefined) {
      begun.set(pid, start);
      return [];
    }
    const [, of = '', end] = /^([0-9]+) +<\.\.\. [a-z0-9_]+ resumed>(.*)$/.exec(line) ?? [];
    return [end === undefined ? line : `${of} ${begun.get(of) ?? ''}${end}`];
  });
}

/** What is wrong with the order; empty when nothing is. */
export function disorder(calls: readonly Call[]): string[] {
  const wrong: string[] = [];
  const syncedBetween = (path: string, after: number, before: number) =>
    calls.some((call, at) => at > after && at < before && call.kind === 'sync' && call.path === path);
  for (const [at, call] of calls.entries()) {
    if (call.kind === 'create' || call.kind === 'mkdir' || call.kind === 'change') {
      const commit = calls.findIndex((later, position) => position > at && later.kind === 'rename' && isAtOrBelow(call.path, later.from));
      const end = commit === -1 ? calls.length : commit;
      // An empty directory that is made in its place has nothing but its entry to lose.
      if (!(call.kind === 'mkdir' && commit === -1) && !syncedBetween(call.path, at, end))
        wrong.push(`${call.path} is not fsynced between its ${call.kind} and ${commit === -1 ? 'the end' : 'its rename'}`);
      const parent = dirname(call.path);
      // The entry of what is renamed itself: its directory is fsynced after the rename.
      const renamedItself = commit !== -1 && (calls[commit] as { from: string }).from === call.path;
      if (call.kind !== 'change' && !renamedItself && !syncedBetween(parent, at, end))
        wrong.push(`${parent} is not fsynced between the ${call.kind} of ${call.path} and ${commit === -1 ? 'the end' : 'the rename'}`);
    }
    if (call.kind === 'rename') {
      for (const directory of new Set([dirname(call.from), dirname(call.to)]))
        if (!syncedBetween(directory, at, calls.length))
          wrong.push(`${directory} is not fsynced after the rename of ${call.from} to ${call.to}`);
    }
  }
  return wrong;
}

const isAtOrBelow = (path: string, above: string) => path === above || path.startsWith(`${above}/`);

/** Files that were made and fsynced again after an fsync of them had failed: Linux may have dropped what it could not write, and says so only once. */
export function syncedAgain(trace: string): string[] {
  const syncs = whole(trace.split('\n')).flatMap((line) => {
    const path = /(?:fsync|fdatasync)\([0-9]+<([^>]+)>/.exec(line)?.[1];
    return path === undefined ? [] : [{ path, failed: line.includes(' = -1 ') }];
  });
  const made = new Set(parseTrace(trace).flatMap((call) => (call.kind === 'create' ? [call.path] : [])));
  return syncs.flatMap(({ path, failed }, at) =>
    failed && made.has(path) && syncs.slice(at + 1).some((later) => later.path === path) ? [path] : [],
  );
}
