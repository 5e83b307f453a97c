// Tar archives that depend on their entries alone: POSIX ustar, root as the owner, one time for all, sorted by the caller.
export interface Entry {
  /** A directory's ends with a slash. */
  readonly path: string;
  readonly mode: number;
  readonly bytes: Buffer;
}

const BLOCK = 512;

/** `mtime` in seconds since the epoch. Throws where a path does not fit. */
export function tar(entries: readonly Entry[], mtime: number): Buffer {
  const blocks = entries.flatMap((entry) => [
    header(entry, mtime),
    entry.bytes,
    Buffer.alloc((BLOCK - (entry.bytes.length % BLOCK)) % BLOCK),
  ]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function header({ path, mode, bytes }: Entry, mtime: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new Error(`${path}: longer than the 100 bytes that the archive format has for a path`);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  };
  block.write(path, 0, 100, 'utf8');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes.length, 124, 12);
  octal(mtime, 136, 12);
  // The checksum is that of a header whose checksum is spaces.
  block.write('        ', 148, 'latin1');
  block.write(path.endsWith('/') ? '5' : '0', 156, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
