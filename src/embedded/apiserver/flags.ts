/** Command lines of the embedded control plane's programs, in the spelling of the real ones: `--name=value`, `--name value`, `--switch`. */

export interface FlagSpec {
  /** Flags that take a value, with their defaults. */
  readonly values: Readonly<Record<string, string>>;
  /** Flags that are on when they are there, or say `=false`. */
  readonly switches: readonly string[];
  /** Flags of the real program that make no difference here; they take a value or `=value`. */
  readonly ignored: readonly string[];
}

export interface Flags {
  /** The flag's value, or its default. */
  value(name: string): string;
  isOn(name: string): boolean;
}

export class UsageError extends Error {}

/** Throws a UsageError for a flag that there is not, or a value that is missing. */
export function parseFlags(spec: FlagSpec, argv: readonly string[]): Flags {
  const given = new Map<string, string>();
  const rest = [...argv];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    const match = /^--?([a-z][a-z0-9-]*)(?:=(.*))?$/s.exec(arg);
    if (match === null) throw new UsageError(`unknown command ${JSON.stringify(arg)}`);
    const [, name = '', inline] = match;
    if (spec.switches.includes(name)) given.set(name, inline ?? 'true');
    else if (name in spec.values || spec.ignored.includes(name)) {
      const value = inline ?? rest.shift();
      if (value === undefined) throw new UsageError(`flag needs an argument: --${name}`);
      given.set(name, value);
    } else throw new UsageError(`unknown flag: --${name}`);
  }
  return {
    value: (name) => given.get(name) ?? spec.values[name] ?? '',
    isOn: (name) => (given.get(name) ?? 'false') !== 'false',
  };
}

export function portFlag(flags: Flags, name: string): number {
  const port = Number(flags.value(name));
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new UsageError(`invalid argument ${JSON.stringify(flags.value(name))} for "--${name}"`);
  return port;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A Go duration (`1m30s`, `250ms`, `0`) in milliseconds. */
export function durationFlag(flags: Flags, name: string): number {
  const text = flags.value(name);
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== text)
    throw new UsageError(`invalid argument ${JSON.stringify(text)} for "--${name}": expected a duration such as 30s`);
  return parts.reduce((sum, [, amount, unit = '']) => sum + Number(amount) * (UNITS[unit] ?? 0), 0);
}

export function requireFlag(flags: Flags, name: string): string {
  const value = flags.value(name);
  if (value === '') throw new UsageError(`--${name} must be specified`);
  return value;
}
