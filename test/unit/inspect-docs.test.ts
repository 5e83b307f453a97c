import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const documented = readFileSync(join(ROOT, 'docs/inspect.md'), 'utf8');

it('every finding has its line in docs/inspect.md', () => {
  const files = readdirSync(join(ROOT, 'src/inspect'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const codes = files
    .filter((file) => !file.startsWith('doctor'))
    .flatMap((file) =>
      [...readFileSync(join(ROOT, 'src/inspect', file), 'utf8').matchAll(/\b(?:warning|fatal)\(\s*'([A-Za-z]+)'/g)].map(([, code]) => code),
    );
  expect(codes.length).toBeGreaterThan(20);
  expect(codes.filter((code) => !documented.includes(`\`${code}\``))).toEqual([]);
});

it('every loss that a copy notes has its line, too', () => {
  const source = readFileSync(join(ROOT, 'src/checkpoint/copy/warnings.ts'), 'utf8');
  const codes = [...source.matchAll(/^ {2}([A-Z][A-Za-z]+):$/gm)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(3);
  expect(codes.filter((code) => !documented.includes(`\`${code}\``))).toEqual([]);
});
