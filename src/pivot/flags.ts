/** A container's command line as flags: Kubernetes' own programs take `--name=value`, and the last one counts. */
import type { V1Container } from '@kubernetes/client-node';

type Line = Pick<V1Container, 'command' | 'args'>;

/** Where a flag that is added goes: behind the program's name in whichever of the two lists has its flags. */
const LISTS = ['command', 'args'] as const;

/** Undefined where it is not given; a switch without a value is `true`. */
export function flagValue(container: Line, name: string): string | undefined {
  const words = [...(container.command ?? []), ...(container.args ?? [])];
  const at = words.findLastIndex((word) => isFlag(word, name));
  if (at < 0) return undefined;
  const word = words[at] ?? '';
  return word.includes('=') ? word.slice(word.indexOf('=') + 1) : 'true';
}

export function isOn(value: string | undefined): boolean {
  return value !== undefined && ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}

/** Every mention of the flag is taken away, and one is put in the place of the first; behind all others where there was none. */
export function withFlag<C extends Line>(container: C, name: string, value: string): C {
  const list = LISTS.find((key) => container[key]?.some((word) => isFlag(word, name)));
  const word = `--${name}=${value}`;
  if (list !== undefined) {
    const first = container[list]?.findIndex((one) => isFlag(one, name));
    return mapLines(container, (words, key) =>
      words.flatMap((one, i) => (!isFlag(one, name) ? [one] : key === list && i === first ? [word] : [])),
    );
  }
  const target = (container.args ?? []).length > 0 || container.command === undefined ? 'args' : 'command';
  return { ...container, [target]: [...(container[target] ?? []), word] };
}

export function withoutFlag<C extends Line>(container: C, name: string): C {
  return mapLines(container, (words) => words.filter((word) => !isFlag(word, name)));
}

/** All flags with their values, in their order: for comparing two command lines. */
export function flagsOf(container: Line): ReadonlyMap<string, string> {
  const words = [...(container.command ?? []), ...(container.args ?? [])].filter((word) => /^--?[a-z]/.test(word));
  return new Map(words.map((word) => [nameOf(word), word.includes('=') ? word.slice(word.indexOf('=') + 1) : 'true']));
}

export function mapLines<C extends Line>(
  container: C,
  change: (words: readonly string[], list: (typeof LISTS)[number]) => readonly string[],
): C {
  const changed = Object.fromEntries(
    LISTS.flatMap((key) => {
      const words = container[key];
      return words === undefined ? [] : [[key, change(words, key)]];
    }),
  );
  return { ...container, ...changed };
}

function nameOf(word: string): string {
  return word.replace(/^--?/, '').split('=')[0] ?? '';
}

function isFlag(word: string, name: string): boolean {
  return /^--?[a-z]/.test(word) && nameOf(word) === name;
}
