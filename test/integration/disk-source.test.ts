import { rename } from 'node:fs/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createDiskSource } from '../../src/sources/disk.ts';
import { type Host, testHost } from '../support/host/host.ts';

let host: Host;
beforeEach(async () => {
  host = await testHost();
});
afterEach(() => host[Symbol.asyncDispose]());

it('does not take a store for empty whose file system went away, and reads it again when it is back', async () => {
  await host.save('kube-apiserver');
  const disk = createDiskSource(host.store, host.manifests);
  expect(await disk.read()).toMatchObject({ state: 'ok' });
  await rename(host.store, `${host.store}.away`);
  expect(await disk.read()).toMatchObject({ state: 'unknown', detail: expect.stringContaining('is gone') });
  expect(await disk.read()).toMatchObject({ state: 'unknown' });
  await rename(`${host.store}.away`, host.store);
  const found = await disk.read();
  expect(found.state === 'ok' && found.store.workloads.size).toBe(1);
});

it('has nothing where there never was a store', async () => {
  await rename(host.store, `${host.store}.away`);
  expect(await createDiskSource(host.store, host.manifests).read()).toMatchObject({ state: 'ok' });
});
