import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodeFormatLine } from '../../src/checkpoint/store/format.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { retireWorkload } from '../../src/checkpoint/store/retention.ts';
import { pointAt, saveGeneration } from '../../src/checkpoint/store/write.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';
import { ABOUT, APISERVER, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');

let dir: string;
let store: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-verify-'));
  store = join(dir, 'store');
  await prepareStore(store);
  for (const content of ['old', 'new']) await saveGeneration(store, SCHEDULER, sampleCopy(content), ABOUT);
  await pointAt(store, SCHEDULER, 'proven', 1, (await loadGeneration(store, SCHEDULER, 1)).indexSha256);
  await saveGeneration(store, APISERVER, sampleCopy('api'), ABOUT);
  await retireWorkload(store, APISERVER, 1_000);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

function verify(...flags: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, 'verify', '--checkpoint-dir', store, ...flags], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr });
    });
  });
}

describe('a store without this program', () => {
  const shell = (script: string, cwd: string) => execFileSync('sh', ['-euc', script], { cwd, encoding: 'utf8' }).trim();

  test('is read with cat, sed and sha256sum, as the head of the format says', () => {
    const workloadDir = workloadPath(store, SCHEDULER);
    const [generation, sum] = shell('cat proven', workloadDir).split(' ');
    expect(shell(`sha256sum generations/${generation}/index.json`, workloadDir).split(' ')[0]).toBe(sum);
    const generationDir = generationPath(workloadDir, Number(generation));
    expect(shell('sed -n 2p index.json', generationDir)).toBe(
      `"sha256": "${shell('sed 2d index.json | sha256sum', generationDir).split(' ')[0]}",`,
    );
    const index: { files: { path: string; sha256: string }[] } = JSON.parse(shell('cat index.json', generationDir));
    const sums = index.files.map(({ path, sha256 }) => `${sha256}  ${path}`).join('\n');
    expect(execFileSync('sha256sum', ['-c'], { cwd: generationDir, input: `${sums}\n`, encoding: 'utf8' })).toContain('pod.json: OK');
    expect(shell("printf %s 'pod-checkpointer store 1' | sha256sum", store).split(' ')[0]).toBe(shell('cat format', store).split(' ')[3]);
  });
});

describe('checkpointer verify', () => {
  test('of a whole store: lists all generations, the retired ones too, and exits with 0', async () => {
    const { code, stdout } = await verify('-o', 'json');
    expect(code).toBe(0);
    const scheduler = 'kube-system/DaemonSet/kube-scheduler';
    expect(JSON.parse(stdout)).toMatchObject({
      version: 1,
      whole: true,
      problems: [],
      quarantined: [],
      generations: [
        { workload: scheduler, place: 'workloads', generation: 1, roles: ['proven'], state: 'whole', files: 4 },
        { workload: scheduler, place: 'workloads', generation: 2, roles: ['newest'], state: 'whole', files: 4 },
        { workload: 'kube-system/DaemonSet/kube-apiserver', place: 'retired', generation: 1, state: 'whole' },
      ],
    });
  });

  test('of a damaged store: names what is wrong in which file and exits with 3', async () => {
    await truncate(join(generationPath(workloadPath(store, SCHEDULER), 1), 'files/secrets/key-1'), 5);
    const json = await verify('-o', 'json');
    expect(json.code).toBe(3);
    const report = JSON.parse(json.stdout);
    expect(report.whole).toBe(false);
    expect(report.generations[0]).toMatchObject({ state: 'damaged', detail: 'files/secrets/key-1 has 5 bytes, 300 were written' });
    const { code, stdout } = await verify();
    expect(code).toBe(3);
    expect(stdout).toContain('files/secrets/key-1 has 5 bytes, 300 were written');
    expect(stdout).toContain('DAMAGED');
  });

  test('finds damaged pointers, and what the store did not make', async () => {
    await writeFile(join(workloadPath(store, SCHEDULER), 'proven'), '7 x\n');
    await mkdir(join(store, 'workloads/kube-system.ds.stray'));
    await symlink('/etc', join(store, 'workloads/kube-system.ds.link'));
    const { code, stdout } = await verify('-o', 'json');
    expect(code).toBe(3);
    expect(JSON.parse(stdout).problems.map(({ path }: { path: string }) => path.slice(store.length + 1))).toEqual([
      'workloads/kube-system.ds.kube-scheduler/proven',
      'workloads/kube-system.ds.link',
      'workloads/kube-system.ds.stray',
    ]);
  });

  test('changes nothing', async () => {
    const state = async () => {
      const names = (await readdir(store, { recursive: true })).sort();
      return Promise.all(names.map(async (name) => `${name} ${(await lstat(join(store, name), { bigint: true })).ctimeNs}`));
    };
    const before = await state();
    expect((await verify()).code).toBe(0);
    expect(await state()).toEqual(before);
  });

  test('of a store of a later version, and of no store: says so and exits with 2', async () => {
    await writeFile(join(store, 'format'), encodeFormatLine(2));
    expect(await verify()).toMatchObject({ code: 2, stderr: expect.stringContaining('the store has format 2, this version reads 1') });
    await rm(store, { recursive: true });
    expect(await verify()).toMatchObject({ code: 2, stderr: expect.stringContaining('there is no such directory') });
  });
});

const strace = findProgram('strace');

test.skipIf(skipLoudly('checkpointer verify on a disk that fails', strace === undefined ? 'strace is not installed' : undefined))(
  'checkpointer verify names a directory that the disk cannot read, and goes on past it',
  () => {
    const directory = join(workloadPath(store, SCHEDULER), 'generations');
    const inject = ['openat', 'statx', 'lstat', 'newfstatat', 'getdents64'].flatMap((call) => ['-e', `inject=${call}:error=EIO`]);
    const under = ['-f', '-qq', '-o', '/dev/null', '-P', directory, '-e', 'trace=%file,getdents64', ...inject];
    const { status, stdout } = spawnSync(
      strace ?? '',
      [...under, process.execPath, CLI, 'verify', '--checkpoint-dir', store, '-o', 'json'],
      { encoding: 'utf8' },
    );
    expect(status).toBe(3);
    const { problems, generations } = JSON.parse(stdout) as {
      problems: { path: string; detail: string }[];
      generations: { place: string }[];
    };
    expect(problems).toEqual([{ path: workloadPath(store, SCHEDULER), detail: expect.stringContaining('EIO') }]);
    expect(generations.map(({ place }) => place)).toEqual(['retired']);
  },
);
