/** export and import: a generation from one store into another, with the real command line and the tar(1) of the machine. */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { encodeIndex, type GenerationIndex } from '../../src/checkpoint/store/format.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { unpackGeneration } from '../../src/commands/archive.ts';
import { InputError } from '../../src/commands/input-error.ts';
import { withTransaction } from '../../src/lock/transaction.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { Program } from '../support/lines.ts';
import { ABOUT, SCHEDULER, sampleCopy } from '../support/store/sample.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');
const SAVER = join(import.meta.dirname, '../support/store/saver.ts');
const API = workloadNamed('kube-apiserver');

let from: Host;
let to: Host;
let tar: string;

beforeEach(async () => {
  [from, to] = [await testHost(), await testHost()];
  onTestFinished(async () => {
    await from[Symbol.asyncDispose]();
    await to[Symbol.asyncDispose]();
  });
  tar = join(from.dir, 'out.tar');
});

const storeOf = (host: Host) => `--checkpoint-dir=${host.store}`;
const exported = (...args: string[]) => checkpointer('export', 'kube-apiserver', '-f', tar, ...args, storeOf(from));
const imported = (...args: string[]) => checkpointer('import', '-f', tar, ...args, storeOf(to));
const stored = async (host: Host) => (await readStore(host.store)).workloads.get(workloadKey(API))?.stored;

describe('a generation that is carried to another machine', () => {
  it('has the same digest, bytes, owners and modes there, in the place that it has there, and is not proven', async () => {
    await from.save('kube-apiserver');
    const out = await exported('--with-secrets');
    expect(out).toEqual({ code: 0, out: `${tar}: generation 1 of ${workloadKey(API)}, with secrets\n`, err: '' });
    expect(statSync(tar).mode & 0o7777).toBe(0o600);

    const dry = await imported('--dry-run');
    expect([dry.code, dry.out]).toEqual([0, expect.stringContaining('is whole and would be stored')]);
    expect(await stored(to)).toBeUndefined();
    const { code, out: said } = await imported();
    expect([code, said]).toEqual([0, expect.stringContaining('is stored as generation 1, not proven')]);
    const [one, other] = [await loadGeneration(from.store, API, 1), await loadGeneration(to.store, API, 1)];
    const files = ({ index }: typeof one) => index.files.filter(({ path }) => path !== 'pod.json');
    expect(files(other)).toEqual(files(one));
    expect(other.index.directories).toEqual(one.index.directories);
    expect([other.index.digest, other.index.parent]).toEqual([one.index.digest, one.index.parent]);
    expect(JSON.stringify(other.pod)).toBe(JSON.stringify(one.pod).replaceAll(from.store, to.store));
    expect(await stored(to)).toMatchObject({ newest: 1, proven: undefined });
    expect((await checkpointer('verify', storeOf(to))).code).toBe(0);
    expect((await imported()).out).toContain('is stored already');
    // With nothing else to go by it is what a boot gets.
    const boot = await checkpointer('recover', '--boot', '--dry-run', ...to.flags());
    expect(boot.out).toContain('activate g1-a1');
  });

  it('goes through a pipe, larger than that holds, into a store that is not there yet', async () => {
    const copy = sampleCopy('large', { files: 3, bytesEach: 1_500_000 });
    await withTransaction(from.store, () => saveGeneration(from.store, SCHEDULER, copy, ABOUT));
    const fresh = join(to.dir, 'fresh');
    const run = `"$0" "$1" export kube-scheduler -f - --with-secrets "$2" | "$0" "$1" import -f - "$3"`;
    const child = spawn('bash', ['-o', 'pipefail', '-c', run, process.execPath, CLI, storeOf(from), `--checkpoint-dir=${fresh}`]);
    const [said, [code]] = await Promise.all([text(child.stdout), once(child, 'close')]);
    expect([code, said]).toEqual([0, expect.stringContaining('is stored as generation 1')]);
    expect(statSync(fresh).mode & 0o7777).toBe(0o700);
    const { index } = await loadGeneration(fresh, SCHEDULER, 1);
    expect(index.files.reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(6_000_000);
  });

  it('unpacks with tar(1) as it lies in the store', async () => {
    await from.save('kube-apiserver');
    await exported('--with-secrets');
    const dir = join(from.dir, 'unpacked');
    mkdirSync(dir);
    execFileSync('tar', ['-xpf', tar, '-C', dir]);
    const unpacked = join(dir, 'kube-system.ds.kube-apiserver.g1');
    execFileSync('diff', ['-r', unpacked, join(from.store, 'workloads/kube-system.ds.kube-apiserver/generations/1')]);
    const { index } = await loadGeneration(from.store, API, 1);
    for (const { path, mode, uid } of index.files) {
      const found = statSync(join(unpacked, path));
      expect([path, found.mode & 0o7777, found.uid]).toEqual([path, mode, uid]);
    }
  });

  it('is written only where nothing is, and follows no link', async () => {
    await from.save('kube-apiserver');
    writeFileSync(join(from.dir, 'precious'), 'precious');
    symlinkSync('precious', tar);
    const { code, err } = await exported('--with-secrets');
    expect([code, err]).toEqual([2, expect.stringContaining('cannot be made (EEXIST)')]);
    expect(readFileSync(join(from.dir, 'precious'), 'utf8')).toBe('precious');
    expect(lstatSync(tar).isSymbolicLink()).toBe(true);
    await checkpointer('export', 'kube-apiserver', '-f', join(from.dir, 'good.tar'), '--with-secrets', storeOf(from));
    symlinkSync('good.tar', join(from.dir, 'link.tar'));
    const linked = await checkpointer('import', '-f', join(from.dir, 'link.tar'), storeOf(to));
    expect([linked.code, linked.err]).toEqual([2, expect.stringContaining('cannot be read: ELOOP')]);
  });

  it('stands beside what a daemon saves at the same time', async () => {
    await from.save('kube-apiserver');
    await exported('--with-secrets');
    const saver = new Program(SAVER, [to.store, 'busy', '15']);
    await saver.says('saving');
    const { code, err } = await checkpointer('import', '-f', tar, storeOf(to));
    expect([code, err]).toEqual([0, '']);
    await saver.ended;
    expect((await readStore(to.store)).workloads.get(workloadKey(SCHEDULER))?.stored.generations.size).toBe(15);
    expect((await checkpointer('verify', storeOf(to))).code).toBe(0);
  });

  it('does not become the newest where there is one of the same number or higher, unless that is asked for', async () => {
    await from.save('kube-apiserver', 'registry.example.org/old:1');
    await exported('--with-secrets');
    await to.save('kube-apiserver', 'registry.example.org/new:1');
    const refused = await imported();
    expect([refused.code, refused.err]).toEqual([2, expect.stringContaining('has generation 1 here, and this is 1 of another store')]);
    const { code, out } = await imported('--as-newest');
    expect([code, out]).toEqual([0, expect.stringContaining('is stored as generation 2, not proven')]);
    expect(await stored(to)).toMatchObject({ newest: 2, proven: 1 });
  });
});

describe('without secrets', () => {
  it('nothing that the pod mounts is in the tar, nor the values of variables; what there would be is listed', async () => {
    const copy = sampleCopy('planted', { files: 2 });
    const [main] = copy.pod.spec?.containers ?? [];
    if (main === undefined) throw new Error('no container');
    main.env = [
      { name: 'PASSWORD', value: 'planted-value' },
      { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } },
    ];
    if (copy.pod.spec !== undefined)
      copy.pod.spec.initContainers = [{ ...main, name: 'before', env: [{ name: 'PASSWORD', value: 'planted-value' }] }];
    delete copy.pod.metadata?.annotations?.['content'];
    await withTransaction(from.store, () => saveGeneration(from.store, SCHEDULER, copy, ABOUT));
    const { code } = await checkpointer('export', 'kube-scheduler', '-f', tar, storeOf(from));
    expect(code).toBe(0);
    expect(execFileSync('tar', ['-tf', tar], { encoding: 'utf8' }).trim().split('\n')).toEqual([
      'kube-system.ds.kube-scheduler.g1/',
      'kube-system.ds.kube-scheduler.g1/index.json',
      'kube-system.ds.kube-scheduler.g1/pod.json',
    ]);
    const whole = readFileSync(tar, 'utf8');
    expect(whole).not.toContain('planted-value');
    expect(whole).not.toContain('planted key');
    expect(whole).toContain('"path": "files/secrets/key-1"');
    expect(whole).toContain('status.hostIP');
    const { code: refused, err } = await checkpointer('import', '-f', tar, storeOf(to));
    expect([refused, err]).toEqual([2, expect.stringContaining('was made without --with-secrets')]);
    expect(await readdir(join(to.store, 'workloads'))).toEqual([]);
  });
});

describe('a tar that is not as it was made', () => {
  let unpacked: string;
  const top = 'kube-system.ds.kube-apiserver.g1';
  const pack = (...args: string[]) => execFileSync('tar', ['-cf', tar, '-C', join(from.dir, 'unpacked'), ...args]);

  beforeEach(async () => {
    await from.save('kube-apiserver');
    unpacked = join(from.dir, 'unpacked', top);
    mkdirSync(join(from.dir, 'unpacked'));
    // As the store has it, which is as tar(1) unpacks it: see above.
    cpSync(join(from.store, 'workloads/kube-system.ds.kube-apiserver/generations/1'), unpacked, { recursive: true });
  });

  const wholeTar = (): Buffer => {
    pack(top);
    return readFileSync(tar);
  };

  it('is one that tar(1) may have made anew', async () => {
    expect((await unpackGeneration(wholeTar(), 'it')).index.generation).toBe(1);
  });

  /** With an index that vouches for whatever the pod is now. */
  function replacePod(change: (pod: string) => string): void {
    const pod = Buffer.from(change(readFileSync(join(unpacked, 'pod.json'), 'utf8')));
    const { sha256: _sum, ...index } = JSON.parse(readFileSync(join(unpacked, 'index.json'), 'utf8')) as GenerationIndex & {
      sha256: string;
    };
    const files = index.files.map((file) =>
      file.path === 'pod.json' ? { ...file, size: pod.length, sha256: createHash('sha256').update(pod).digest('hex') } : file,
    );
    writeFileSync(join(unpacked, 'pod.json'), pod);
    writeFileSync(join(unpacked, 'index.json'), encodeIndex({ ...index, files }));
  }

  it.each<[string, () => void, string]>([
    [
      'a file with one other byte',
      () => {
        writeFileSync(join(unpacked, 'files/keys/tls.key'), 'key of kube-apiserveR');
        pack(top);
      },
      'is not what its index.json says',
    ],
    ['a file that is not there', () => pack('--exclude=tls.key', top), 'tls.key" is not in it'],
    [
      'a file too many',
      () => {
        writeFileSync(join(unpacked, 'files/keys/more'), '');
        pack(top);
      },
      'more" is in it and not in its index.json',
    ],
    [
      'an index that was edited',
      () => {
        const index = readFileSync(join(unpacked, 'index.json'), 'utf8');
        writeFileSync(join(unpacked, 'index.json'), index.replace('"mode": 384', '"mode": 511'));
        pack(top);
      },
      'index.json does not have the SHA-256',
    ],
    [
      'a pod that is not the copy',
      () => {
        replacePod((pod) => pod.replace('"kube-system"', '"default"'));
        pack(top);
      },
      'is not the copy that its index.json describes',
    ],
    [
      'a link',
      () => {
        symlinkSync('/etc/shadow', join(unpacked, 'files/keys/link'));
        pack(top);
      },
      'is a symlink: expected files and directories only',
    ],
    [
      'a hard link',
      () => {
        execFileSync('ln', [join(unpacked, 'files/keys/tls.key'), join(unpacked, 'files/keys/zz')]);
        pack('--sort=name', top);
      },
      'is a link: expected files and directories only',
    ],
    [
      'a FIFO',
      () => {
        execFileSync('mkfifo', [join(unpacked, 'files/fifo')]);
        pack(top);
      },
      'is a fifo: expected files and directories only',
    ],
    [
      'a name that leads out of it',
      () => pack('--transform', 's,files/keys/tls.key,../../../etc/passwd,', '-P', top),
      'leads out of the directory that it is in',
    ],
    ['an absolute name', () => pack('--transform', `s,^,/,`, '-P', top), 'leads out of the directory that it is in'],
    [
      'a second directory',
      () => {
        mkdirSync(join(from.dir, 'unpacked/other'));
        pack(top, 'other');
      },
      'lies outside of',
    ],
    ['a name twice', () => pack(top, `${top}/index.json`, '--hard-dereference'), 'is in it twice'],
    ['a compressed one', () => pack('-z', top), 'not a whole tar'],
    ['one that was cut', () => writeFileSync(tar, wholeTar().subarray(0, 2_000)), 'not a whole tar'],
    ['an empty file', () => writeFileSync(tar, ''), 'an empty tar'],
  ])('%s is refused', async (_what, make, expected) => {
    make();
    await expect(unpackGeneration(readFileSync(tar), 'it')).rejects.toThrow(expected);
    await expect(unpackGeneration(readFileSync(tar), 'it')).rejects.toThrow(InputError);
  });

  it('is one line and exit code 2, and changes nothing', async () => {
    const none = await imported();
    expect([none.code, none.err]).toEqual([2, `error: --file ${tar}: there is no such file\n`]);
    symlinkSync('/etc/shadow', join(unpacked, 'files/keys/link'));
    pack(top);
    const { code, out, err } = await imported();
    expect(err).toBe(`error: ${tar}: "${top}/files/keys/link" is a symlink: expected files and directories only\n`);
    expect([code, out]).toEqual([2, '']);
    expect(await readdir(join(to.store, 'workloads'))).toEqual([]);
  });
});
