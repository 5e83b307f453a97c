/** Golden files: what was produced once, read by a person, and must not change unnoticed. `UPDATE_GOLDENS=1` writes them anew. */
import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';

export function expectGolden(file: string, value: unknown): void {
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  if (process.env['UPDATE_GOLDENS'] === '1') writeFileSync(file, text);
  expect(text, `${file} differs; if the change is meant, run the test with UPDATE_GOLDENS=1 and read the diff`).toBe(
    readFileSync(file, 'utf8'),
  );
}
