/** Results that benchmarks' tables are made of: the last one of each scenario. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { dirname } from 'node:path';

interface Scenario {
  readonly scenario: string;
}

/** Of the machine in the last minute. */
export const load = (): number => Math.round((loadavg()[0] ?? Number.NaN) * 10) / 10;

export function remember<R extends Scenario>(file: string, bench: string, result: R): void {
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} CPUs, Linux ${release()}, Node ${process.version}`;
  const before = earlier(file);
  const at = before.findIndex(({ scenario }) => scenario === result.scenario);
  const results: readonly Scenario[] = at < 0 ? [...before, result] : before.with(at, result);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify({ bench, machine, results }, null, 2)}\n`);
}

function earlier(file: string): readonly Scenario[] {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { readonly results: readonly Scenario[] }).results;
  } catch {
    return [];
  }
}
