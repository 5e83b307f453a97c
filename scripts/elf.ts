/**
 * 64-bit little-endian ELF files (elf(5)), as bytes: also those of a machine whose programs do not run on this one, and where there are no binutils.
 */
const [CLASS, DATA] = [4, 5];
const MACHINE = 0x12;
const PHOFF = 0x20;
const SHOFF = 0x28;
const [PHENTSIZE, PHNUM, SHNUM, SHSTRNDX] = [0x36, 0x38, 0x3c, 0x3e];
/** In a program header: its kind, where its bytes lie in the file, where in memory, and how many of them the file has. */
const [P_TYPE, P_OFFSET, P_VADDR, P_FILESZ] = [0x00, 0x08, 0x10, 0x20];
const [PT_LOAD, PT_DYNAMIC, PT_INTERP] = [1, 2, 3];
const [DT_NEEDED, DT_STRTAB] = [1, 5];
const DYNAMIC_ENTRY = 16;

/** By e_machine, as Node calls them. */
const ARCHITECTURES: ReadonlyMap<number, string> = new Map([
  [62, 'x64'],
  [183, 'arm64'],
]);

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

export function isElf(bytes: Buffer): boolean {
  return bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f454c46;
}

/** `x64`, `arm64`, or the number of another machine. Throws for anything but a 64-bit little-endian ELF file. */
export function architectureOf(program: Buffer): string {
  expectElf(program);
  const machine = program.readUInt16LE(MACHINE);
  return ARCHITECTURES.get(machine) ?? `machine ${machine}`;
}

export interface Links {
  /** Path of the loader, undefined in a library and in a static program. */
  readonly interpreter: string | undefined;
  /** Names of the libraries that the loader has to find, such as libc.so.6. */
  readonly needed: readonly string[];
}

/** What the loader is asked for. Throws for anything but a 64-bit little-endian ELF file. */
export function linksOf(program: Buffer): Links {
  const segments = segmentsOf(program);
  const of = (wanted: number) => segments.find(({ type }) => type === wanted);
  const interpreter = of(PT_INTERP);
  const dynamic = of(PT_DYNAMIC);
  const entries = Array.from({ length: (dynamic?.size ?? 0) / DYNAMIC_ENTRY }, (_, index) => {
    const at = (dynamic?.offset ?? 0) + index * DYNAMIC_ENTRY;
    return { tag: number(program, at), value: number(program, at + 8) };
  });
  // The names stand where the program has them in memory.
  const address = entries.find(({ tag }) => tag === DT_STRTAB)?.value ?? 0;
  const holder = segments.find((one) => one.type === PT_LOAD && one.address <= address && address < one.address + one.size);
  const names = address - (holder?.address ?? 0) + (holder?.offset ?? 0);
  return {
    interpreter: interpreter && text(program, interpreter.offset),
    needed: entries.filter(({ tag }) => tag === DT_NEEDED).map(({ value }) => text(program, names + value)),
  };
}

/**
 * Leaves out what of an executable is never loaded: symbols, debug information and the section table. What strip(1) does.
 * Throws for anything but a 64-bit little-endian ELF file.
 */
export function withoutSymbols(program: Buffer): Buffer {
  const segments = segmentsOf(program);
  const headers = number(program, PHOFF) + segments.length * program.readUInt16LE(PHENTSIZE);
  const loaded = Buffer.from(program.subarray(0, Math.max(headers, ...segments.map(({ offset, size }) => offset + size))));
  loaded.writeBigUInt64LE(0n, SHOFF);
  loaded.writeUInt16LE(0, SHNUM);
  loaded.writeUInt16LE(0, SHSTRNDX);
  return loaded;
}

function segmentsOf(program: Buffer): Segment[] {
  expectElf(program);
  const size = program.readUInt16LE(PHENTSIZE);
  return Array.from({ length: program.readUInt16LE(PHNUM) }, (_, index) => {
    const header = number(program, PHOFF) + index * size;
    return {
      type: program.readUInt32LE(header + P_TYPE),
      offset: number(program, header + P_OFFSET),
      address: number(program, header + P_VADDR),
      size: number(program, header + P_FILESZ),
    };
  });
}

function expectElf(program: Buffer): void {
  if (!isElf(program) || program[CLASS] !== 2 || program[DATA] !== 1) throw new Error('not a 64-bit little-endian ELF file');
}

function number(program: Buffer, at: number): number {
  return Number(program.readBigUInt64LE(at));
}

function text(program: Buffer, at: number): string {
  return program.toString('latin1', at, program.indexOf(0, at));
}
