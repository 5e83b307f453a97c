/** Durations as Kubernetes' flags spell them: Go's `1m30s`, `500ms`, `2h`. */
const UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds. Throws a one-line Error for anything else; a bare number is refused, because nobody can tell its unit. */
export function parseDuration(text: string): number {
  if (text === '0') return 0;
  if (!/^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/.test(text))
    throw new Error(`"${text}" is not a duration: write a number with a unit, such as 500ms, 3s, 1m30s or 2h`);
  let total = 0;
  for (const [, value, unit] of text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)) total += Number(value) * (UNIT[unit ?? ''] ?? 0);
  return Math.round(total);
}
