/**
 * Reads files that hardly ever change, again and again: one whose inode, size and times are as they were is not opened. A quiet node's loop reads some ten
 * small files of each workload at each turn, and opening, reading and closing one takes four times what looking at it does. So it is with the names in a
 * directory, which is another one (its times are) when a name came or went.
 */
import { lstat } from 'node:fs/promises';
import { isErrno, kindOf, listDirectory, readRegular } from './durable.ts';

/** As readRegular does. */
export type ReadFile = (path: string, limit: number) => Promise<Buffer | undefined>;

/** The names in a directory that is one, not a link to one, sorted; none where there is nothing, or something else. */
export type ListDirectory = (path: string) => Promise<readonly string[]>;

export interface RememberingReader {
  /** What it returns is shared: nobody writes into it. */
  readonly read: ReadFile;
  readonly list: ListDirectory;
  /** Forgets the files and directories that were not read since this was called last. */
  forgetUnread(): void;
}

/**
 * A file that changed this recently (milliseconds) is read each time: the kernel's time stamps move in steps of some milliseconds, so one that is written to
 * twice within a step may look the same.
 */
const RECENT = 2_000;

type Looks = { readonly state: 'absent' } | { readonly state: 'unsettled' } | { readonly state: 'settled'; readonly text: string };

interface Listed {
  readonly looks: string;
  readonly names: readonly string[];
}

interface Remembered {
  readonly looks: string;
  readonly bytes: Buffer;
}

export function createRememberingReader(wallClock: () => number = Date.now): RememberingReader {
  let known = new Map<string, Remembered>();
  let seen = new Map<string, Remembered>();
  let knownLists = new Map<string, Listed>();
  let seenLists = new Map<string, Listed>();
  return {
    async read(path, limit) {
      // Before it is read, so that a change while it is looks different the next time.
      const looks = await looksOf(path, wallClock());
      if (looks.state === 'absent') return undefined;
      if (looks.state === 'unsettled') return readRegular(path, limit);
      const before = seen.get(path) ?? known.get(path);
      if (before?.looks === looks.text && before.bytes.length <= limit) {
        seen.set(path, before);
        return before.bytes;
      }
      const bytes = await readRegular(path, limit);
      if (bytes !== undefined) seen.set(path, { looks: looks.text, bytes });
      return bytes;
    },
    async list(path) {
      const looks = await looksOf(path, wallClock());
      if (looks.state === 'absent') return [];
      const before = seenLists.get(path) ?? knownLists.get(path);
      if (looks.state === 'settled' && before?.looks === looks.text) {
        seenLists.set(path, before);
        return before.names;
      }
      if ((await kindOf(path)) !== 'directory') return [];
      const names = (await listDirectory(path)).sort();
      if (looks.state === 'settled') seenLists.set(path, { looks: looks.text, names });
      return names;
    },
    forgetUnread() {
      known = seen;
      seen = new Map();
      knownLists = seenLists;
      seenLists = new Map();
    },
  };
}

/** What is the matter with a path that cannot be looked at, reading it says. */
async function looksOf(path: string, now: number): Promise<Looks> {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = await lstat(path);
    return Math.abs(now - ctimeMs) < RECENT
      ? { state: 'unsettled' }
      : { state: 'settled', text: `${dev} ${ino} ${size} ${mtimeMs} ${ctimeMs}` };
  } catch (error) {
    return { state: isErrno(error, 'ENOENT') ? 'absent' : 'unsettled' };
  }
}
