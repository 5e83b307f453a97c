// Which shared libraries programs take. Read from the files and not asked of the loader, which runs only on its own architecture.
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { architectureOf, linksOf } from './elf.ts';

export interface Library {
  /** Where the program's loader looks for it. */
  readonly path: string;
  /** The file itself. */
  readonly file: string;
}

const TRIPLETS: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' };

/**
 * The loader of some programs and their libraries, with what these need in turn, sorted by path.
 * @param root the system that the programs are of; its links have to be relative.
 * Throws where a library is in none of the directories that the loaders of distributions know without being told, or is another architecture's.
 */
export function librariesOf(programs: readonly string[], root = '/'): Library[] {
  const found = new Map<string, Library>();
  const visit = (file: string, bytes: Buffer): void => {
    const { interpreter, needed } = linksOf(bytes);
    const arch = architectureOf(bytes);
    const triplet = TRIPLETS[arch] ?? '';
    const add = (wanted: string, paths: readonly string[]): void => {
      const name = basename(wanted);
      if (found.has(name)) return;
      const path = paths.find((one) => existsSync(join(root, one)));
      if (path === undefined) throw new Error(`${file} needs ${wanted}: below ${root} there is none of ${paths.join(' ')}`);
      const library = join(root, path);
      const content = readFileSync(library);
      if (architectureOf(content) !== arch)
        throw new Error(`${file} needs ${wanted} for ${arch}, and ${library} is for ${architectureOf(content)}`);
      // Debian 13's packages hold /usr/lib alone; /lib leads there on a whole system, and programs name their loader in /lib.
      found.set(name, { path: wanted.startsWith('/') ? wanted : path, file: library });
      visit(library, content);
    };
    // First, because libc names the loader among the libraries, and its place is the program's word.
    if (interpreter !== undefined) add(interpreter, [interpreter, `/usr${interpreter}`]);
    for (const name of needed)
      add(
        name,
        [`/lib/${triplet}`, `/usr/lib/${triplet}`, '/lib64', '/usr/lib64', '/lib', '/usr/lib'].map((directory) => join(directory, name)),
      );
  };
  for (const program of programs) visit(program, readFileSync(program));
  return [...found.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
}
