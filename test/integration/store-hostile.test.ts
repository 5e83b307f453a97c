/** What others may have put into the store's directory, or what the clock or a copy does: nothing outside the store is ever written or read through it. */
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Copy } from '../../src/checkpoint/copy-types.ts';
import { encodeFormatLine, MAX_NUMBER } from '../../src/checkpoint/store/format.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, generationsPath, workloadPath, workloadsPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import {
  discardRetired,
  type Entry,
  evicted,
  QUARANTINE_LIMIT,
  quarantineGeneration,
  RETIRED_LIMIT,
  retireWorkload,
  reviveWorkload,
} from '../../src/checkpoint/store/retention.ts';
import { numberAfter, pointAt, pruneGenerations, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { type Workload, workloadKey } from '../../src/checkpoint/workload.ts';
import { look } from '../support/store/look.ts';
import { ABOUT, APISERVER, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

let dir: string;
let store: string;
let outside: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-hostile-'));
  [store, outside] = [join(dir, 'store'), join(dir, 'outside')];
  await mkdir(outside);
  await writeFile(join(outside, 'precious'), 'precious');
  await prepareStore(store);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

const save = (content: string, workload: Workload = SCHEDULER) => saveGeneration(store, workload, sampleCopy(content), ABOUT);

async function outsideIsUntouched(): Promise<void> {
  expect(await readdir(outside)).toEqual(['precious']);
  expect(await readFile(join(outside, 'precious'), 'utf8')).toBe('precious');
}

describe('links in the store', () => {
  const PLACES: Readonly<Record<string, () => string>> = {
    'in place of the workload': () => workloadPath(store, SCHEDULER),
    'in place of its generations': () => generationsPath(workloadPath(store, SCHEDULER)),
    'in place of the next generation': () => generationPath(workloadPath(store, SCHEDULER), 2),
    'in place of a save that is being built': () => join(generationsPath(workloadPath(store, SCHEDULER)), '.building-2'),
    'in place of workload.json': () => join(workloadPath(store, SCHEDULER), 'workload.json'),
    'in place of the pointer': () => join(workloadPath(store, SCHEDULER), 'proven'),
    'in place of its temporary file': () => join(workloadPath(store, SCHEDULER), '.proven.tmp'),
  };

  test.each(
    Object.keys(PLACES).flatMap((place) => [
      { place, to: 'a directory' },
      { place, to: 'a file' },
      { place, to: 'nothing' },
    ]),
  )('$place, to $to outside: nothing there is read or changed, and the next save and proof work', async ({ place, to }) => {
    await save('old');
    const path = PLACES[place]?.() ?? '';
    await rm(path, { recursive: true, force: true });
    await symlink(to === 'a directory' ? outside : join(outside, to === 'a file' ? 'precious' : 'absent'), path);
    await readStore(store);
    const number = await save('new');
    await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
    const found = (await readStore(store)).workloads.get(workloadKey(SCHEDULER))?.stored;
    expect(found).toMatchObject({ newest: number, proven: number });
    expect((await loadGeneration(store, SCHEDULER, number)).index.digest).toBe('new');
    await outsideIsUntouched();
  });

  test.each(['workloads', 'retired', 'quarantine'])('%s as a link: nothing is done through it, and the error names it', async (name) => {
    const number = await save('old');
    await rm(join(outside, 'precious'));
    await rename(join(store, name), join(outside, name));
    await symlink(join(outside, name), join(store, name));
    const before = await readdir(outside, { recursive: true });
    await expect(prepareStore(store)).rejects.toThrow(`${join(store, name)} is not a directory`);
    if (name === 'workloads') {
      expect((await readStore(store)).workloads.size).toBe(0);
      await expect(save('new')).rejects.toThrow(`${workloadsPath(store)} is not a directory`);
      await expect(loadGeneration(store, SCHEDULER, number)).rejects.toThrow('is not a directory');
    }
    if (name === 'retired') await expect(retireWorkload(store, SCHEDULER, 1)).rejects.toThrow('is not a directory');
    if (name === 'quarantine') await expect(quarantineGeneration(store, SCHEDULER, number, 'x', 1)).rejects.toThrow('is not a directory');
    expect(await readdir(outside, { recursive: true })).toEqual(before);
  });

  test('the store itself as a link is refused', async () => {
    await rename(store, join(dir, 'moved'));
    await symlink(join(dir, 'moved'), store);
    await expect(prepareStore(store)).rejects.toThrow('is not a directory');
  });
});

describe('files where directories should be, and the other way round', () => {
  test.each([
    ['a file in place of the workload', async () => writeFile(workloadPath(store, SCHEDULER), 'x')],
    [
      'a file in place of its generations',
      async () => {
        await mkdir(workloadPath(store, SCHEDULER));
        await writeFile(generationsPath(workloadPath(store, SCHEDULER)), 'x');
      },
    ],
    [
      'a directory in place of workload.json',
      async () => mkdir(join(workloadPath(store, SCHEDULER), 'workload.json'), { recursive: true }),
    ],
    ['a directory in place of the pointer', async () => mkdir(join(workloadPath(store, SCHEDULER), 'proven/full'), { recursive: true })],
    [
      'a full directory in place of the temporary file',
      async () => mkdir(join(workloadPath(store, SCHEDULER), '.proven.tmp/full'), { recursive: true }),
    ],
    [
      'a full directory in place of a save that is being built',
      async () => mkdir(join(generationsPath(workloadPath(store, SCHEDULER)), '.building-1/full'), { recursive: true }),
    ],
  ])('%s: does not hinder the other workloads, and the next save and proof put it right', async (_, make) => {
    await save('api', APISERVER);
    await make();
    expect((await readStore(store)).workloads.get(workloadKey(APISERVER))?.stored.newest).toBe(1);
    const number = await save('new');
    await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
    expect(await look(store, SCHEDULER)).toMatchObject({ newest: 'new', serves: 'new' });
  });
});

describe('owner and mode of the store', () => {
  test('others are kept out, also where the directory let them in', async () => {
    await chmod(store, 0o777);
    await prepareStore(store);
    expect((await lstat(store)).mode & 0o7777).toBe(0o700);
  });

  test.skipIf(process.geteuid?.() !== 0)('a store of somebody else is refused, and the error says whose it is', async () => {
    await chown(store, 65_534, 65_534);
    await expect(prepareStore(store)).rejects.toThrow(`${store} belongs to uid 65534: expected 0`);
  });
});

describe('names and sizes', () => {
  const withFile = (path: string, bytes = Buffer.from('x')): Copy => ({
    ...sampleCopy('odd'),
    files: [{ path, bytes, mode: 0o400, uid: 0, gid: 0 }],
  });

  test.each([
    'secrets/with\nnewline',
    'secrets/with "quotes" and \\',
    `secrets/${'x'.repeat(255)}`,
    'secrets/..data',
    'secrets/ä\u{1f600}',
    'secrets/-rf',
  ])('a file named %j is stored and verified', async (path) => {
    const number = await saveGeneration(store, SCHEDULER, withFile(path), ABOUT);
    expect((await loadGeneration(store, SCHEDULER, number)).index.files.map((file) => file.path)).toContain(`files/${path}`);
  });

  test.each(['../../../outside/x', 'secrets/../../../../outside/x', '/etc/x', 'secrets//x', 'secrets/.', '', 'secrets/a\0b'])(
    'a file named %j is refused before anything is written',
    async (path) => {
      await expect(saveGeneration(store, SCHEDULER, withFile(path), ABOUT)).rejects.toThrow('leads out of the generation');
      expect(await readdir(generationsPath(workloadPath(store, SCHEDULER)))).toEqual([]);
      await outsideIsUntouched();
    },
  );

  test('a name that no file system takes leaves the store as it was', async () => {
    await save('old');
    await expect(saveGeneration(store, SCHEDULER, withFile(`secrets/${'x'.repeat(256)}`), ABOUT)).rejects.toThrow('ENAMETOOLONG');
    expect(await look(store, SCHEDULER)).toMatchObject({ newest: 'old', generations: { 1: 'old' } });
  });

  test('a manifest of 11 MiB, or a file of 5, is refused before anything is written', async () => {
    await save('old');
    const huge = sampleCopy('huge');
    const manifest = {
      ...huge,
      pod: { ...huge.pod, metadata: { ...huge.pod.metadata, annotations: { x: 'x'.repeat(11 * 1024 * 1024) } } },
    };
    await expect(saveGeneration(store, SCHEDULER, manifest, ABOUT)).rejects.toMatchObject({ failure: 'CopyTooLarge' });
    const file = withFile('secrets/big', Buffer.alloc(5 * 1024 * 1024));
    await expect(saveGeneration(store, SCHEDULER, file, ABOUT)).rejects.toMatchObject({ failure: 'CopyTooLarge' });
    expect(await look(store, SCHEDULER)).toMatchObject({ newest: 'old', generations: { 1: 'old' } });
  });

  test('an index or a pod of 11 MiB that somebody put there is damage, and is not read', async () => {
    const number = await save('old');
    const path = join(generationPath(workloadPath(store, SCHEDULER), number), 'index.json');
    await writeFile(path, Buffer.alloc(11 * 1024 * 1024, ' '));
    await expect(loadGeneration(store, SCHEDULER, number)).rejects.toThrow('at most 10485760 are expected');
  });

  test('that its owner had moved is known of a retired workload, and of no later retirement', async () => {
    const replaced = async () => (await readStore(store)).retired.map((one) => one.replaced);
    await save('old');
    await retireWorkload(store, SCHEDULER, 5, undefined, true);
    expect(await replaced()).toEqual([true]);
    const [entry] = (await readStore(store)).retired;
    await reviveWorkload(store, SCHEDULER, entry?.entry ?? '');
    await retireWorkload(store, SCHEDULER, 6);
    expect(await replaced()).toEqual([false]);
  });

  test('an entry that is not of the workload is neither brought back nor deleted', async () => {
    await save('old');
    await retireWorkload(store, SCHEDULER, 5);
    for (const entry of ['../../outside', '../workloads', 'kube-system.ds.kube-scheduler.5/../../../outside', 'kube-system.ds.other.5']) {
      await expect(reviveWorkload(store, SCHEDULER, entry)).rejects.toThrow('is no entry of');
      await expect(discardRetired(store, SCHEDULER, entry)).rejects.toThrow('is no entry of');
    }
    await outsideIsUntouched();
  });
});

describe('versions of the format', () => {
  test('a store of a later version is refused with what to do, and nothing in it is touched', async () => {
    await save('old');
    await writeFile(join(store, 'format'), encodeFormatLine(2));
    await chmod(store, 0o755);
    const before = await lstat(store);
    const message = `${join(store, 'format')}: the store has format 2, this version reads 1; use the version that wrote it or a newer one`;
    await expect(prepareStore(store)).rejects.toThrow(message);
    await expect(readStore(store)).rejects.toThrow(message);
    expect((await lstat(store)).mode).toBe(before.mode);
    expect((await lstat(store)).mtimeMs).toBe(before.mtimeMs);
  });

  test("somebody else's directory with a file `format` is refused", async () => {
    const other = join(dir, 'other');
    await mkdir(other);
    await writeFile(join(other, 'format'), 'zip\n');
    await expect(prepareStore(other)).rejects.toThrow('not the format line of a pod-checkpointer store');
    expect(await readdir(other)).toEqual(['format']);
  });
});

describe('a clock that is set back', () => {
  test('twice the same millisecond does not make one quarantine or retirement take the place of another', async () => {
    for (const content of ['one', 'two']) {
      const number = await save(content);
      await quarantineGeneration(store, SCHEDULER, number, content, 1_000);
      await save(content);
      await retireWorkload(store, SCHEDULER, 1_000);
    }
    expect((await readStore(store)).retired.map(({ entry }) => entry)).toEqual([
      'kube-system.ds.kube-scheduler.1000',
      'kube-system.ds.kube-scheduler.1001',
    ]);
    expect((await readdir(join(store, 'quarantine'))).filter((name) => !name.endsWith('.txt'))).toHaveLength(2);
  });

  test('a retirement in the future has the age 0', async () => {
    await save('old');
    await retireWorkload(store, SCHEDULER, 2_000_000);
    expect((await readStore(store, new Map(), 1_000_000)).retired[0]?.age).toBe(0);
  });

  test('the number of a generation is not used again when the generation is gone', async () => {
    await save('one');
    const { indexSha256 } = await loadGeneration(store, SCHEDULER, 1);
    await save('two');
    await pointAt(store, SCHEDULER, 'newest', 1, indexSha256);
    await pruneGenerations(store, SCHEDULER, [2]);
    expect(await save('three')).toBe(3);
    await quarantineGeneration(store, SCHEDULER, 3, 'x', 1);
    expect(await save('four')).toBe(4);
  });
});

describe('numbers that no save gave', () => {
  const place = (name: string) => join(generationsPath(workloadPath(store, SCHEDULER)), name);

  test.each(['999999999999', '999999999998', '1000000000000', '999999999999999', '9007199254740993', '01'])(
    'a directory %s, with nothing whole in it, neither uses the numbers up nor hides the next save',
    async (name) => {
      await save('one');
      await mkdir(place(name));
      await save('two');
      expect((await readStore(store)).workloads.get(workloadKey(SCHEDULER))?.stored).toMatchObject({ newest: 2 });
      await quarantineGeneration(store, SCHEDULER, Number(name), 'no index', 1).catch(() => undefined);
      expect(await save('three')).toBe(3);
    },
  );

  test('a whole generation with the last number there is: the next save says so and changes nothing', async () => {
    await save('one');
    const before = await look(store, SCHEDULER);
    expect(() => numberAfter([MAX_NUMBER], [])).toThrow(`generation ${MAX_NUMBER} is the last number`);
    expect(numberAfter([3], [4, 9, 2_000_000, MAX_NUMBER])).toBe(10);
    expect(numberAfter([], [])).toBe(1);
    expect(await look(store, SCHEDULER)).toEqual(before);
  });
});

describe('what goes when there is too much', () => {
  const entry = (name: string, time: number, servesApi: boolean, proven: boolean): Entry => ({ name, time, servesApi, proven });

  test('the oldest goes first, workloads that serve the API last, and of these the proven ones', () => {
    const entries = [
      entry('proven api, oldest', 1, true, true),
      entry('api, not proven', 2, true, false),
      entry('proven, older', 3, false, true),
      entry('newer', 4, false, false),
      entry('proven api, newest', 5, true, true),
    ];
    const order = [1, 2, 3, 4].map((gone) => evicted(entries, entries.length - gone).at(-1));
    expect(order).toEqual(['proven, older', 'newer', 'api, not proven', 'proven api, oldest']);
    expect(evicted(entries, 5)).toEqual([]);
  });

  test('a retired API server stays though it is the oldest of all', async () => {
    await saveGeneration(store, APISERVER, sampleCopy('api', { servesApi: true }), ABOUT);
    await retireWorkload(store, APISERVER, 1);
    for (let round = 1; round <= RETIRED_LIMIT + 2; round++) {
      await save('x', { ...SCHEDULER, name: `w${round}` });
      await retireWorkload(store, { ...SCHEDULER, name: `w${round}` }, round * 1_000);
    }
    const { retired } = await readStore(store);
    expect(retired).toHaveLength(RETIRED_LIMIT);
    expect(retired.map(({ workload }) => workload.name)).toContain('kube-apiserver');
  });

  test('a damaged generation of an API server stays in quarantine longer than those of others', async () => {
    for (const content of ['damaged', 'whole']) await saveGeneration(store, APISERVER, sampleCopy(content, { servesApi: true }), ABOUT);
    await quarantineGeneration(store, APISERVER, 1, 'x', 1);
    for (let round = 1; round <= QUARANTINE_LIMIT + 1; round++)
      await quarantineGeneration(store, SCHEDULER, await save(`${round}`), 'x', round * 1_000);
    const names = (await readdir(join(store, 'quarantine'))).filter((name) => !name.endsWith('.txt'));
    expect(names).toHaveLength(QUARANTINE_LIMIT);
    expect(names).toContain('kube-system.ds.kube-apiserver.1.1');
  });

  test('a reason whose generation is gone goes with the next one', async () => {
    const orphan = join(store, 'quarantine', 'kube-system.ds.kube-scheduler.7.5.reason.txt');
    await writeFile(orphan, 'x');
    await quarantineGeneration(store, SCHEDULER, await save('one'), 'x', 1_000);
    expect((await readdir(join(store, 'quarantine'))).sort()).toEqual([
      'kube-system.ds.kube-scheduler.1.1000',
      'kube-system.ds.kube-scheduler.1.1000.reason.txt',
    ]);
  });
});

describe('what the store keeps is bounded', () => {
  test('the quarantine holds the latest generations', async () => {
    for (let round = 1; round <= QUARANTINE_LIMIT + 3; round++) {
      const number = await save(`round ${round}`);
      await quarantineGeneration(store, SCHEDULER, number, `round ${round}`, round * 1_000);
    }
    const names = await readdir(join(store, 'quarantine'));
    expect(names.filter((name) => !name.endsWith('.txt'))).toHaveLength(QUARANTINE_LIMIT);
    expect(names.filter((name) => name.endsWith('.txt'))).toHaveLength(QUARANTINE_LIMIT);
    expect(names.some((name) => /\.(1|2|3)000$/.test(name))).toBe(false);
  });

  test('the retired workloads are the latest', async () => {
    for (let round = 1; round <= RETIRED_LIMIT + 2; round++) {
      await save('x', { ...SCHEDULER, name: `w${round}` });
      await retireWorkload(store, { ...SCHEDULER, name: `w${round}` }, round * 1_000);
    }
    const { retired } = await readStore(store);
    expect(retired).toHaveLength(RETIRED_LIMIT);
    expect(retired.some(({ workload }) => workload.name === 'w1')).toBe(false);
  });
});
