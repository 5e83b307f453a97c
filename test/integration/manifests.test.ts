import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { listManifests, manifestFileName, removeManifest, writeManifest } from '../../src/recovery/manifests.ts';

const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'kube-apiserver-ds-g1-a2',
    namespace: 'kube-system',
    annotations: {
      'pod-checkpointer.io/workload': 'kube-system/DaemonSet/kube-apiserver',
      'pod-checkpointer.io/generation': '1',
      'pod-checkpointer.io/activation': '2',
    },
  },
  spec: { containers: [] },
};

function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'manifests-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test('our manifests are found among whatever else lies in the directory, and nothing there stops us', async () => {
  const dir = directory();
  await writeManifest(dir, POD);
  mkdirSync(join(dir, 'pod-checkpointer.directory'));
  symlinkSync('/etc/passwd', join(dir, 'pod-checkpointer.link.json'));
  writeFileSync(join(dir, 'pod-checkpointer.large.json'), Buffer.alloc(11 * 1024 * 1024));
  writeFileSync(join(dir, 'pod-checkpointer.text.json'), 'not JSON');
  writeFileSync(join(dir, 'etcd.yaml'), 'kind: Pod\n');
  expect(await listManifests(dir)).toMatchObject([
    { file: manifestFileName(POD), workload: 'kube-system/DaemonSet/kube-apiserver', generation: 1, activation: 2 },
  ]);
});

test('a directory that cannot be read is not an empty one', async () => {
  await expect(listManifests(join(directory(), 'none'))).rejects.toThrow('ENOENT');
});

test('only manifests of ours are removed', async () => {
  const dir = directory();
  await writeManifest(dir, POD);
  for (const file of ['etcd.yaml', 'pod-checkpointer.x/../../etcd.yaml'])
    await expect(removeManifest(dir, file)).rejects.toThrow('not a manifest of the checkpointer');
  await removeManifest(dir, manifestFileName(POD));
  await removeManifest(dir, manifestFileName(POD));
  expect(await listManifests(dir)).toEqual([]);
});
