import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createDiskSource, type DiskManifest } from '../../src/sources/disk.ts';
import { checkpointer, type Host, testHost } from '../support/host/host.ts';

let host: Host;
let file: string;
beforeEach(async () => {
  host = await testHost();
  await host.save('kube-scheduler');
  await checkpointer('recover', '--boot', ...host.flags());
  file = join(host.manifests, (await host.active())[0] ?? '');
});
afterEach(() => host[Symbol.asyncDispose]());

async function manifests(source = createDiskSource(host.store, host.manifests)): Promise<readonly DiskManifest[]> {
  const disk = await source.read();
  if (disk.state !== 'ok') throw new Error(disk.detail);
  return disk.manifests;
}

async function edit(change: (pod: Record<string, Record<string, unknown>>) => void): Promise<void> {
  const pod = JSON.parse(await readFile(file, 'utf8'));
  change(pod);
  await writeFile(file, JSON.stringify(pod));
}

describe('a manifest of ours', () => {
  test('is as it was written', async () => {
    expect(await manifests()).toMatchObject([{ edits: [] }]);
  });

  test('that was only formatted in another way, or annotated by a later version, was not edited', async () => {
    await edit((pod) => Object.assign(pod['metadata']?.['annotations'] ?? {}, { 'example.org/later': 'yes' }));
    expect(await manifests()).toMatchObject([{ edits: [] }]);
  });

  test('that somebody edited is told, by the names of the fields and not their values; also after it was read before', async () => {
    const source = createDiskSource(host.store, host.manifests);
    await manifests(source);
    await edit((pod) => {
      Object.assign(pod['spec'] ?? {}, { containers: [{ name: 'other', image: 'secret-value' }], hostPID: true });
      Object.assign(pod['metadata'] ?? {}, { labels: { a: 'b' } });
    });
    expect((await manifests(source))[0]?.edits).toEqual(['metadata.labels', 'spec.containers', 'spec.hostPID']);
  });

  test('that somebody edited is replaced under a new name by the next recovery', async () => {
    await edit((pod) => Object.assign(pod['spec'] ?? {}, { hostPID: true }));
    await host.powerOn();
    await checkpointer('recover', '--boot', ...host.flags());
    expect(await host.active()).toEqual(['pod-checkpointer.kube-system.kube-scheduler-ds-g1-a2.json']);
    expect(await manifests()).toMatchObject([{ activation: 2, edits: [] }]);
  });

  test('that somebody deleted comes back', async () => {
    await rm(file);
    await host.powerOn();
    await checkpointer('recover', '--boot', ...host.flags());
    expect(await host.active()).toEqual(['pod-checkpointer.kube-system.kube-scheduler-ds-g1-a2.json']);
  });
});
