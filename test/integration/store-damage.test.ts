/** Every way to break every file of a store: it is found before anything is handed to the kubelet, moved aside with its reason, and the generation before it serves. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, chown, mkdir, mkdtemp, open, readdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { act } from '../../src/act.ts';
import type { StoredWorkload } from '../../src/checkpoint/model.ts';
import { DamagedError } from '../../src/checkpoint/store/errors.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { pointAt, recordActivation, saveGeneration, settleBoot } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { candidate } from '../../src/recovery/candidate.ts';
import { effectsOn } from '../support/store/effects.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

const run = promisify(execFile);

let dir: string;
let store: string;
let manifests: string;

/** Generation 1 was proven, 2 is, 3 is newer. */
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-damage-'));
  [store, manifests] = [join(dir, 'store'), join(dir, 'manifests')];
  await mkdir(manifests);
  await prepareStore(store);
  for (const [content, proven] of [
    ['older', true],
    ['old', true],
    ['newer', false],
  ] as const) {
    const number = await saveGeneration(store, SCHEDULER, sampleCopy(content), ABOUT);
    if (proven) await pointAt(store, SCHEDULER, 'proven', number, (await loadGeneration(store, SCHEDULER, number)).indexSha256);
  }
  await recordActivation(store, SCHEDULER, 7);
  await settleBoot(store, 'boot-1');
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function stored(): Promise<StoredWorkload> {
  const found = (await readStore(store)).workloads.get(workloadKey(SCHEDULER));
  if (found === undefined) throw new Error('the workload is not in the store any more');
  return found.stored;
}

const generation = (number: number) => generationPath(workloadPath(store, SCHEDULER), number);

async function overwrite(path: string, change: (bytes: Buffer) => Buffer): Promise<void> {
  const bytes = change(Buffer.from(await readFile(path)));
  const file = await open(path, constants.O_WRONLY | constants.O_TRUNC);
  await file.write(bytes);
  await file.close();
}

function flip(bytes: Buffer, at: number): Buffer {
  bytes.writeUInt8(bytes.readUInt8(at) ^ 0x01, at);
  return bytes;
}

/** What a disk, a file system check or a person does to a file. */
const DAMAGE: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  'cut to nothing': (path) => truncate(path, 0),
  'cut in the middle': (path) => overwrite(path, (bytes) => bytes.subarray(0, bytes.length >> 1)),
  'cut by its last byte': (path) => overwrite(path, (bytes) => bytes.subarray(0, -1)),
  'longer by a byte': (path) => overwrite(path, (bytes) => Buffer.concat([bytes, Buffer.from('\n')])),
  'torn: its second half is zeros': (path) => overwrite(path, (bytes) => bytes.fill(0, bytes.length >> 1)),
  'a bit of its first byte flipped': (path) => overwrite(path, (bytes) => flip(bytes, 0)),
  'a bit in its middle flipped': (path) => overwrite(path, (bytes) => flip(bytes, bytes.length >> 1)),
  'a bit of its last byte flipped': (path) => overwrite(path, (bytes) => flip(bytes, bytes.length - 1)),
  removed: (path) => rm(path),
  'replaced by other bytes of the same length': (path) => overwrite(path, (bytes) => bytes.fill('x')),
  'replaced by a directory': async (path) => {
    await rm(path);
    await mkdir(path);
  },
  'replaced by a link to the same bytes elsewhere': async (path) => {
    await rename(path, join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), path);
  },
  'replaced by a FIFO': async (path) => {
    await rm(path);
    await run('mkfifo', [path]);
  },
};

const OWNED: typeof DAMAGE = {
  'given to somebody else': (path) => chown(path, 65_534, 65_534),
  'made readable to all': (path) => chmod(path, 0o777),
};

const FILES = ['index.json', 'pod.json', 'files/secrets/key-0', 'files/secrets/key-1', 'files/config/config.yaml'];
const isRoot = process.geteuid?.() === 0;
let damages = 0;

afterAll(() => console.log(`damages to generations and pointers: ${damages}, all found, nothing damaged was handed to the kubelet`));

describe('a damaged file of the proven generation', () => {
  const kinds = { ...DAMAGE, ...(isRoot ? OWNED : {}) };
  const all = FILES.flatMap((file) =>
    Object.keys(kinds)
      // The owner of the index itself is nowhere written down; its bytes are what counts.
      .filter((kind) => file !== 'index.json' || !(kind in OWNED))
      .map((kind) => ({ file, kind })),
  );

  test.each(all)('$file $kind: is quarantined with its reason, and the generation before it is activated', async ({ file, kind }) => {
    await kinds[kind]?.(join(generation(2), file));
    damages++;
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow(DamagedError);
    // As the daemon does it: what decide takes from the store is activated, until it is whole.
    const effects = effectsOn(store, manifests);
    for (let round = 0; (await readdir(manifests)).length === 0 && round < 3; round++) {
      const seen = await stored();
      for (const [number, detail] of seen.damaged)
        await act({ kind: 'quarantine', workload: SCHEDULER, generation: number, detail }, effects);
      const next = candidate(await stored());
      if (next === undefined) throw new Error('nothing to activate');
      await act({ kind: 'activate', workload: SCHEDULER, generation: next, activation: seen.activations + 1 }, effects).catch(
        (error: unknown) => expect(error).toBeInstanceOf(DamagedError),
      );
    }
    const [manifest] = await readdir(manifests);
    expect(await readFile(join(manifests, manifest ?? ''), 'utf8')).toContain('"content": "older"');
    const quarantine = (await readdir(join(store, 'quarantine'))).sort();
    expect(quarantine).toEqual([
      expect.stringMatching(/^kube-system\.ds\.kube-scheduler\.2\.[0-9]+$/),
      expect.stringMatching(/^kube-system\.ds\.kube-scheduler\.2\.[0-9]+\.reason\.txt$/),
    ]);
    expect(await readFile(join(store, 'quarantine', quarantine[1] ?? ''), 'utf8')).toContain(file);
    // The other generations are not touched, and the pointers lead to what is whole.
    expect(await stored()).toMatchObject({ proven: 1, previous: undefined, newest: 3, damagedPointers: [] });
  });

  test.each(['files', 'files/secrets', 'files/config'])('the directory %s replaced by a link to the same files: is found', async (path) => {
    await rename(join(generation(2), path), join(dir, 'elsewhere'));
    await symlink(join(dir, 'elsewhere'), join(generation(2), path));
    damages++;
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow(`${path} is not a directory`);
  });

  test('the generation as a whole replaced by a link, by a file, or gone: is found', async () => {
    await rename(generation(2), join(dir, 'elsewhere'));
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow('generation 2 is missing');
    await symlink(join(dir, 'elsewhere'), generation(2));
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow('generation 2 is not a directory');
    await rm(generation(2));
    await writeFile(generation(2), '');
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow('generation 2 is not a directory');
    damages += 3;
    expect((await stored()).damaged.get(2)).toBe('generation 2 is not a directory');
  });

  test.each([
    ['extra', async (path: string) => writeFile(path, '')],
    ['files/extra', async (path: string) => mkdir(path)],
    ['files/secrets/.hidden', async (path: string) => writeFile(path, '')],
    ['files/config/link', async (path: string) => symlink('/etc/shadow', path)],
  ])('%s beside what its index names: is found', async (path, make) => {
    await make(join(generation(2), path));
    damages++;
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow(`"${path}" is there and not in index.json`);
  });

  test('another generation under its number: is found', async () => {
    await rm(generation(2), { recursive: true });
    await run('cp', ['-a', generation(3), generation(2)]);
    damages++;
    await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow('index.json is of generation 3');
  });
});

// A volume that its pod may not enter any more, or that others may write to, is not the one that was proven.
describe.skipIf(!isRoot)('a directory of a generation', () => {
  test.each(['files', 'files/secrets', 'files/config'].flatMap((path) => Object.keys(OWNED).map((kind) => ({ path, kind }))))(
    '$path $kind: is found',
    async ({ path, kind }) => {
      await OWNED[kind]?.(join(generation(2), path));
      damages++;
      await expect(loadGeneration(store, SCHEDULER, 2)).rejects.toThrow(`${path} has another mode or owner than when it was written`);
    },
  );
});

describe('a damaged pointer', () => {
  test.each(Object.keys(DAMAGE))(
    'proven %s: the one that was proven before it serves, nothing is deleted, and the next proof repairs it',
    async (kind) => {
      await DAMAGE[kind]?.(join(workloadPath(store, SCHEDULER), 'proven'));
      damages++;
      const seen = await stored();
      expect(candidate(seen)).toBe(1);
      expect([...seen.generations.keys()]).toEqual([1, 2, 3]);
      if (kind !== 'removed') expect(seen.damagedPointers).toEqual(['proven']);
      await act({ kind: 'prove', workload: SCHEDULER, generation: 3 }, effectsOn(store, manifests));
      expect(await stored()).toMatchObject({ proven: 3, newest: 3, damagedPointers: [] });
    },
  );

  test.each(Object.keys(DAMAGE))('newest %s: the highest whole generation is the newest', async (kind) => {
    const { indexSha256 } = await loadGeneration(store, SCHEDULER, 2);
    await pointAt(store, SCHEDULER, 'newest', 2, indexSha256);
    expect((await stored()).newest).toBe(2);
    await DAMAGE[kind]?.(join(workloadPath(store, SCHEDULER), 'newest'));
    damages++;
    expect(await stored()).toMatchObject({ newest: 3, proven: 2 });
  });
});

describe('damage to what is beside the generations', () => {
  test.each(Object.keys(DAMAGE))('workload.json %s: the indexes say whose they are, and the next save repairs it', async (kind) => {
    await DAMAGE[kind]?.(join(workloadPath(store, SCHEDULER), 'workload.json'));
    expect(await stored()).toMatchObject({ proven: 2, newest: 3 });
    await saveGeneration(store, SCHEDULER, sampleCopy('next'), ABOUT);
    expect(JSON.parse(await readFile(join(workloadPath(store, SCHEDULER), 'workload.json'), 'utf8'))).toEqual(SCHEDULER);
  });

  test.each(Object.keys(DAMAGE).filter((kind) => kind !== 'removed'))(
    'activations %s: the count goes on above what it was',
    async (kind) => {
      await DAMAGE[kind]?.(join(workloadPath(store, SCHEDULER), 'activations'));
      expect((await stored()).activations).toBeGreaterThan(7);
    },
  );

  test.each(Object.keys(DAMAGE))('node.json %s: the boot counts as not settled', async (kind) => {
    const path = join(store, 'node.json');
    await DAMAGE[kind]?.(path);
    const { settledBootId, workloads } = await readStore(store);
    expect(settledBootId === undefined || settledBootId !== 'boot-1' || kind.includes('byte')).toBe(true);
    expect(workloads.size).toBe(1);
  });

  test.each(Object.keys(DAMAGE))('format %s: the store is read, and repaired at the next start', async (kind) => {
    await DAMAGE[kind]?.(join(store, 'format'));
    expect(await stored()).toMatchObject({ proven: 2 });
    await prepareStore(store);
    expect(await readFile(join(store, 'format'), 'utf8')).toMatch(/^pod-checkpointer store 1 [0-9a-f]{64}\n$/);
    expect(await stored()).toMatchObject({ proven: 2 });
  });
});
