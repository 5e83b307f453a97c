/**
 * Leaves out what of an ELF executable is never loaded: symbols, debug information and the section table (elf(5)). What strip(1) does, where there are no
 * binutils, and for another machine's programs too.
 */
const [CLASS, DATA] = [4, 5];
const PHOFF = 0x20;
const SHOFF = 0x28;
const [PHENTSIZE, PHNUM, SHNUM, SHSTRNDX] = [0x36, 0x38, 0x3c, 0x3e];
/** In a program header: where its bytes lie in the file, and how many. */
const [P_OFFSET, P_FILESZ] = [0x08, 0x20];

/** Throws for anything but a 64-bit little-endian ELF file. */
export function withoutSymbols(program: Buffer): Buffer {
  if (program.length < 64 || program.readUInt32BE(0) !== 0x7f454c46 || program[CLASS] !== 2 || program[DATA] !== 1)
    throw new Error('not a 64-bit little-endian ELF file');
  const table = Number(program.readBigUInt64LE(PHOFF));
  const size = program.readUInt16LE(PHENTSIZE);
  const count = program.readUInt16LE(PHNUM);
  const ends = Array.from({ length: count }, (_, index) => {
    const header = table + index * size;
    return Number(program.readBigUInt64LE(header + P_OFFSET)) + Number(program.readBigUInt64LE(header + P_FILESZ));
  });
  const loaded = Buffer.from(program.subarray(0, Math.max(table + count * size, ...ends)));
  loaded.writeBigUInt64LE(0n, SHOFF);
  loaded.writeUInt16LE(0, SHNUM);
  loaded.writeUInt16LE(0, SHSTRNDX);
  return loaded;
}
