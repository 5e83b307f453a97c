import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { retireWorkload } from '../../src/checkpoint/store/retention.ts';
import { createDiskSource } from '../../src/sources/disk.ts';
import { type Host, testHost } from '../support/host/host.ts';
import { kubeadmManifest } from '../support/pivot/kubeadm.ts';

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

it("sees somebody else's static pod of an API server where one that was ours is retired", async () => {
  const disk = createDiskSource(host.store, host.manifests);
  const found = async () => {
    const seen = await disk.read();
    return seen.state === 'ok' ? seen.staticApiServer : seen.detail;
  };
  const put = (file: string, text: string) => writeFile(join(host.manifests, file), text);
  const cluster = { nodeIP: '10.0.0.10', minor: 36 } as const;
  await host.save('kube-apiserver');
  await put('kube-apiserver-shared.yaml', kubeadmManifest('kube-apiserver', cluster));
  expect(await found()).toBeUndefined();
  const [one] = (await readStore(host.store)).workloads.values();
  if (one === undefined) throw new Error('nothing was saved');
  await retireWorkload(host.store, one.workload, Date.now());
  expect(await found()).toBe('kube-apiserver-shared.yaml');
  await rm(join(host.manifests, 'kube-apiserver-shared.yaml'));
  expect(await found()).toBeUndefined();
  await mkdir(join(host.manifests, 'kube-apiserver.yaml'));
  await put('.kube-apiserver.yaml', kubeadmManifest('kube-apiserver', cluster));
  await put('kube-scheduler.yaml', kubeadmManifest('kube-scheduler', cluster));
  const watchdog = (...args: string[]) => ({ name: 'w', image: 'registry.example.org/busybox', command: ['sh', '-c'], args });
  const staticPod = (...args: string[]) =>
    dump({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'w' }, spec: { containers: [watchdog(...args)] } });
  await put('watchdog.yaml', staticPod('pkill kube-apiserver; tail -F /var/log/kube-apiserver'));
  await put('notes.txt', 'kube-apiserver: [');
  await put('list.yaml', dump({ apiVersion: 'v1', kind: 'PodList', items: [] }));
  expect(await found()).toBeUndefined();
  await put('by-script.yaml', staticPod('exec kube-apiserver --etcd-servers=https://127.0.0.1:2379'));
  expect(await found()).toBe('by-script.yaml');
});
