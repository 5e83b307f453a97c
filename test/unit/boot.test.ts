import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readBootId } from '../../src/sources/boot.ts';

test('the boot id is the kernel’s, the same at every reading', async () => {
  const id = await readBootId();
  expect(id).toMatch(/^[0-9a-f-]{36}$/);
  expect(await readBootId()).toBe(id);
});

test.each(['', 'not a boot id\n'])('a file that holds %j is an error that names it', async (content) => {
  const directory = await mkdtemp(join(tmpdir(), 'boot-'));
  const path = join(directory, 'boot_id');
  await writeFile(path, content);
  await expect(readBootId(path)).rejects.toThrow(`${path} holds`);
  await rm(directory, { recursive: true });
});
