import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readRegular } from '../../src/platform/durable.ts';
import type { ReadFile } from '../../src/platform/remembered.ts';
import { findStaticApiServer } from '../../src/sources/static-api-server.ts';

const pod = (command: string[]) => JSON.stringify({ apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'main', command }] } });

describe('an API server among the static pods of others', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'static-api-server-'));
    await writeFile(join(directory, 'a-scheduler.json'), pod(['kube-scheduler']));
    await writeFile(join(directory, 'b-apiserver.json'), pod(['kube-apiserver', '--etcd-servers=http://127.0.0.1:2379']));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const failing =
    (name: string, code: string): ReadFile =>
    (path, limit) =>
      path.endsWith(name) ? Promise.reject(Object.assign(new Error(code), { code })) : readRegular(path, limit);

  it('is found, also beside a file that the disk does not give', async () => {
    expect(await findStaticApiServer(directory, readRegular, new WeakMap())).toBe('b-apiserver.json');
    expect(await findStaticApiServer(directory, failing('a-scheduler.json', 'EIO'), new WeakMap())).toBe('b-apiserver.json');
  });

  it('is not there where its own file cannot be read: the kubelet cannot run it either', async () => {
    expect(await findStaticApiServer(directory, failing('b-apiserver.json', 'EIO'), new WeakMap())).toBeUndefined();
  });

  it('is unknown while files cannot be opened at all', async () => {
    await expect(findStaticApiServer(directory, failing('b-apiserver.json', 'EMFILE'), new WeakMap())).rejects.toThrow('EMFILE');
  });
});
