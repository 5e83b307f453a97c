/** A look at the store while another process changes it: what was deleted, and what came, in between is not damage. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { StoredWorkload } from '../../src/checkpoint/model.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, pointerPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { type KnownDamage, readStore } from '../../src/checkpoint/store/read.ts';
import { pointAt, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

let dir: string;
let store: string;
const workloadDir = () => workloadPath(store, SCHEDULER);
const at = (number: number) => generationPath(workloadDir(), number);
const aside = (number: number) => join(dir, `aside-${number}`);

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-beside-'));
  store = join(dir, 'store');
  await prepareStore(store);
  for (const content of ['one', 'two', 'three']) await saveGeneration(store, SCHEDULER, sampleCopy(content), ABOUT);
  await prove(2);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function prove(number: number): Promise<void> {
  await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
}

/** Reads, and has `change` made once, when the names of the generations are known and the first of them has not been read. */
async function readWhile(change: () => void): Promise<StoredWorkload | undefined> {
  let left = 1;
  class Changing extends Map<string, string> {
    override get(directory: string): string | undefined {
      if (left-- > 0) change();
      return super.get(directory);
    }
  }
  const damage: KnownDamage = new Changing();
  return (await readStore(store, new Map(), Date.now(), damage)).workloads.get(workloadKey(SCHEDULER))?.stored;
}

test('a generation that is deleted meanwhile is not damaged', async () => {
  const stored = await readWhile(() => renameSync(at(1), aside(1)));
  expect(stored?.damaged).toEqual(new Map());
  expect([...(stored?.generations.keys() ?? [])]).toEqual([2, 3]);
});

test('a pointer to a generation that is saved and proven meanwhile is not damaged, and is followed', async () => {
  const before = readFileSync(pointerPath(workloadDir(), 'proven'));
  await prove(3);
  const after = readFileSync(pointerPath(workloadDir(), 'proven'));
  writeFileSync(pointerPath(workloadDir(), 'proven'), before);
  renameSync(at(3), aside(3));
  const stored = await readWhile(() => {
    renameSync(aside(3), at(3));
    writeFileSync(pointerPath(workloadDir(), 'proven'), after);
  });
  expect(stored).toMatchObject({ damagedPointers: [], proven: 3, previous: 2, newest: 3 });
});

test('what is damaged at a second look, too, is damage', async () => {
  await truncate(join(at(1), 'index.json'), 10);
  writeFileSync(pointerPath(workloadDir(), 'proven'), '7 x\n');
  const stored = await readWhile(() => renameSync(at(3), aside(3)));
  expect([...(stored?.damaged.keys() ?? [])]).toEqual([1]);
  expect(stored?.damagedPointers).toEqual(['proven']);
});
