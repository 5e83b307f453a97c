/** Tables and ages as kubectl prints them. */

/** Gives a cell, already padded, its colour. */
export type Paint = (padded: string, text: string, column: number) => string;

/**
 * The same without control characters in its texts. What an API server, a runtime or a pod's author wrote stays on its line, and tells a terminal nothing:
 * whoever looks is root.
 */
export function printable<T>(value: T): T {
  if (typeof value === 'string') return value.replaceAll(/\p{Cc}+/gu, ' ') as T;
  if (Array.isArray(value)) return value.map(printable) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, printable(member)])) as T;
}

export function table(head: readonly string[], cells: readonly (readonly string[])[], paint: Paint = (padded) => padded): string {
  const rows = printable(cells);
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[], painted: Paint): string => {
    const last = row.findLastIndex((cell) => cell !== '');
    const cells = row.slice(0, last + 1);
    return `${cells.map((cell, column) => painted(column === last ? cell : cell.padEnd(widths[column] ?? 0), cell, column)).join('   ')}\n`;
  };
  return [line(head, (padded) => padded), ...rows.map((row) => line(row, paint))].join('');
}

/** `45s`, `3m`, `7h`, `12d` since an RFC 3339 time; `0s` for one in the future: clocks are set back. */
export function age(since: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000));
  if (Number.isNaN(seconds)) return '-';
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

/** `512 B`, `1.4 MiB`. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}
