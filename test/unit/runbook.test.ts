/** The runbook has an entry for everything that sends somebody there, and for nothing else. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Members of a union of string literals, as it stands in the source. */
function union(source: string, name: string): string[] {
  const [, body = ''] = new RegExp(`export type ${name} =([^;]*);`).exec(source.replaceAll(/\/\*\*[\s\S]*?\*\//g, '')) ?? [];
  return [...body.matchAll(/'([A-Za-z]+)'/g)].map(([, member = '']) => member);
}

const failures = union(read('src/checkpoint/store/errors.ts'), 'StoreFailure');
const reasons = [...union(read('src/checkpoint/verdict.ts'), 'Reason'), ...failures];
const { groups } = load(read('manifests/monitoring/alerts.yaml')) as { groups: { rules: { alert: string }[] }[] };
const alerts = groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));

interface Entry {
  readonly name: string;
  readonly text: string;
}

const [, reasonCodes = '', alertEntries = ''] = read('docs/runbook.md').split(/^## .*$/m);
const entries = (section: string): Entry[] =>
  section
    .split(/^### /m)
    .slice(1)
    .map((text) => ({ name: text.slice(0, text.indexOf('\n')), text }));

describe('the runbook', () => {
  it('has one entry for each reason code, and no other', () => {
    expect(reasons.length).toBeGreaterThan(35);
    expect(
      entries(reasonCodes)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(reasons.toSorted());
  });

  it('has one entry for each alert, and no other', () => {
    expect(
      entries(alertEntries)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(alerts.toSorted());
  });

  it.each([...entries(reasonCodes), ...entries(alertEntries)])(
    '$name: what it means, what the daemon does, what is left to do',
    ({ text }) => {
      for (const part of ['Means', 'Daemon', 'You']) expect(text).toMatch(new RegExp(`^- \\*\\*${part}\\*\\*: \\S.*[.:?]$`, 'm'));
    },
  );

  it('names no entry that there is not', () => {
    const known = new Set([...reasons, ...alerts, 'NothingMarked', 'NotProven', 'NotSaved']);
    const named = [...(reasonCodes + alertEntries).matchAll(/`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`/g)].map(([, name = '']) => name);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });
});
