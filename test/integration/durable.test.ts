/** Temporary files: unique, and none of a killed writer stays. Short writes. */
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { replaceDurable } from '../../src/platform/durable.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'durable-'));
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function left(name: string, secondsAgo: number): Promise<void> {
  const at = Date.now() / 1000 - secondsAgo;
  await writeFile(join(dir, name), 'half');
  await utimes(join(dir, name), at, at);
}

test('writers of one file at the same time, without a lock: it is whole, and nothing is left', async () => {
  const path = join(dir, 'proven');
  const contents = Array.from({ length: 12 }, (_, number) => String(number).repeat(10_000));
  await Promise.all(contents.map((content) => replaceDurable(path, Buffer.from(content))));
  expect(contents).toContain(await readFile(path, 'utf8'));
  expect(await readdir(dir)).toEqual(['proven']);
});

test('what a killed writer left is removed by the next writer after a minute, and nothing of anybody else', async () => {
  await left('.pod-checkpointer.kube-system.a-g1-a1.json.17-0123456789ab.tmp', 61);
  await left('.pod-checkpointer.kube-system.b-g1-a1.json.17-0123456789ab.tmp', 30);
  await left('.other.json.17-0123456789ab.tmp', 61);
  await left('.pod-checkpointer.notes', 61);
  await mkdir(join(dir, 'kube-apiserver.yaml'));
  await replaceDurable(join(dir, 'pod-checkpointer.kube-system.a-g2-a2.json'), Buffer.from('{}'));
  expect((await readdir(dir)).sort()).toEqual([
    '.other.json.17-0123456789ab.tmp',
    '.pod-checkpointer.kube-system.b-g1-a1.json.17-0123456789ab.tmp',
    '.pod-checkpointer.notes',
    'kube-apiserver.yaml',
    'pod-checkpointer.kube-system.a-g2-a2.json',
  ]);
});

test('a change that may not be committed leaves the file and nothing else', async () => {
  const path = join(dir, 'proven');
  await replaceDurable(path, Buffer.from('old'));
  const confirm = () => Promise.reject(new Error('the lock was lost'));
  await expect(replaceDurable(path, Buffer.from('new'), { confirm })).rejects.toThrow('the lock was lost');
  expect(await readFile(path, 'utf8')).toBe('old');
  expect(await readdir(dir)).toEqual(['proven']);
});

test('a write that the file system takes only the first part of is no success: the rest is asked for, and refused', () => {
  // Above its limit for a file's size a process gets a short write first, as on a nearly full disk, and an error for the rest.
  const durable = JSON.stringify(join(import.meta.dirname, '../../src/platform/durable.ts'));
  const path = JSON.stringify(join(dir, 'file'));
  const script = `import { createDurable } from ${durable};
    const made = createDurable(${path}, Buffer.alloc(10_000, 'x'), 0o600);
    console.log(await made.then(() => 'done', (error) => error.code));`;
  const limited = ['--fsize=4096', process.execPath, '--input-type=module', '-e', script];
  const { stdout, stderr } = spawnSync('prlimit', limited, { encoding: 'utf8' });
  expect(stdout, stderr).toBe('EFBIG\n');
});
