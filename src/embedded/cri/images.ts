/**
 * Images of the embedded runtime: a table from image reference to what its programs are on this host.
 *
 *   { "registry.local/kube-apiserver:v1": { "programs": { "kube-apiserver": ["/usr/bin/node", "embedded.js", "kube-apiserver"] },
 *                                           "entrypoint": ["kube-apiserver"] } }
 *
 * A reference that ends in `*` stands for every tag. `entrypoint` is used by a container without a command. A command's first word is looked up in
 * `programs`; one that is not there is a program of the host. `pulled: false` means that the node has to pull the image first, which succeeds.
 */
export interface ImageEntry {
  readonly programs: Readonly<Record<string, readonly string[]>>;
  readonly entrypoint: readonly string[];
  readonly pulled?: boolean;
}

export type ImageTable = Readonly<Record<string, ImageEntry>>;

export function findImage(table: ImageTable, reference: string): ImageEntry | undefined {
  const exact = table[reference];
  if (exact !== undefined) return exact;
  const pattern = Object.keys(table).find((key) => key.endsWith('*') && reference.startsWith(key.slice(0, -1)));
  return pattern === undefined ? undefined : table[pattern];
}

/** The command line of a container: its command or else the image's entry point, then its arguments, the first word resolved in the image. */
export function commandLine(image: ImageEntry, command: readonly string[], args: readonly string[]): string[] {
  const words = [...(command.length > 0 ? command : image.entrypoint), ...args];
  const [program, ...rest] = words;
  if (program === undefined) return [];
  return [...(image.programs[program] ?? [program]), ...rest];
}

/** @throws when the text is not an image table, saying what is wrong. */
export function parseImageTable(text: string, file: string): ImageTable {
  const table: unknown = JSON.parse(text);
  if (!isRecord(table)) throw new Error(`${file}: expected an object from image reference to image`);
  return Object.fromEntries(Object.entries(table).map(([reference, entry]) => [reference, parseEntry(reference, entry, file)]));
}

function parseEntry(reference: string, entry: unknown, file: string): ImageEntry {
  const fault = (what: string) => new Error(`${file}: image ${reference}: ${what}`);
  if (!isRecord(entry)) throw fault('expected an object');
  const { programs = {}, entrypoint = [], pulled } = entry;
  if (!isWords(entrypoint)) throw fault('entrypoint: expected a list of strings');
  if (!isRecord(programs)) throw fault('programs: expected an object from a name to a list of strings');
  const named = Object.entries(programs).map(([name, words]): [string, readonly string[]] => {
    if (!isWords(words)) throw fault(`programs.${name}: expected a list of strings`);
    return [name, words];
  });
  return { programs: Object.fromEntries(named), entrypoint, ...(pulled === false ? { pulled } : {}) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isWords(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((word) => typeof word === 'string');
}
