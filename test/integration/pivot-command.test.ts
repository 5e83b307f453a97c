/** `checkpointer pivot` and `unpivot` as processes, where there is little or nothing to pivot. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS } from '../../src/pivot/component.ts';
import { type Journal, preparePivotDir, writeJournal } from '../../src/pivot/journal.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { kubeadmManifest } from '../support/pivot/kubeadm.ts';

const CLI = join(import.meta.dirname, '../../src/cli.ts');

let directory: string;
let cluster: TestCluster;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pivot-'));
  cluster = await startCluster();
  for (const name of ['store', 'manifests']) await mkdir(join(directory, name));
  for (const component of COMPONENTS)
    await writeFile(join(directory, 'manifests', `${component}.yaml`), kubeadmManifest(component, { nodeIP: '10.0.0.10', minor: 36 }));
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'master-1', labels: { 'node-role.kubernetes.io/control-plane': '' } },
    status: { addresses: [{ type: 'InternalIP', address: '10.0.0.10' }], conditions: [{ type: 'Ready', status: 'True' }] },
  };
  await cluster.admin.request('POST', '/api/v1/nodes', node);
}, 60_000);
afterAll(async () => {
  await cluster?.stop();
  await rm(directory, { recursive: true, force: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function checkpointer(...args: readonly string[]): Promise<Ran> {
  const places = [
    `--checkpoint-dir=${join(directory, 'store')}`,
    `--pod-manifest-path=${join(directory, 'manifests')}`,
    '--node-name=master-1',
  ];
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...args, ...places], (error, out, err) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, out, err });
    });
  });
}

const admin = (): string => `--kubeconfig=${cluster.pki.adminConf}`;

describe('checkpointer pivot', () => {
  it('shows what is in its way and changes nothing', async () => {
    const { code, out } = await checkpointer('pivot', admin(), '--yes');
    expect(code).toBe(3);
    expect(out).toMatch(/^ok +API server +ready, v1\.36/m);
    expect(out).toMatch(/^fail +kube-apiserver +its static pod \(.*kube-apiserver\.yaml\) is not Ready/m);
    expect(out).toMatch(/^fail +Checkpointer +DaemonSet kube-system\/pod-checkpointer is not there/m);
    expect(out).toContain('  Checkpointer: Deploy it (kubectl apply -k manifests/base)');
    expect(await readdir(join(directory, 'store'))).toEqual([]);
  }, 30_000);

  it('prints the DaemonSets, and what is in the way as comments', async () => {
    const { code, out } = await checkpointer('pivot', admin(), '--dry-run', '-o', 'yaml');
    expect(code).toBe(3);
    expect(out.match(/^kind: DaemonSet$/gm)).toHaveLength(3);
    expect(out).toMatch(/^# Checkpointer: /m);
  }, 30_000);

  it('names the step that it would go on with', async () => {
    const store = join(directory, 'store');
    const journal: Journal = {
      node: 'master-1',
      start: '2026-11-21T15-41-04-000Z',
      target: 'self-hosted',
      place: { state: 'between', step: 10 },
      manifests: COMPONENTS.map((component) => ({ component, file: join(directory, 'manifests', `${component}.yaml`), mode: 0o600 })),
      credentials: 'files',
    };
    await preparePivotDir(store);
    await writeJournal(store, journal);
    const { code, out } = await checkpointer('pivot', admin(), '--dry-run');
    await rm(join(store, 'pivot'), { recursive: true });
    expect(code).toBe(0);
    expect(out).toBe(`A pivot of 2026-11-21T15-41-04-000Z would go on:
11. kube-scheduler: the node asks for its pod
12. kube-scheduler: the static pod leaves
`);
  }, 30_000);

  it('is bad input without a kubeconfig of an administrator', async () => {
    const { code, err } = await checkpointer('pivot', '--kubeconfig=/nowhere');
    expect([code, err]).toEqual([2, expect.stringContaining('/nowhere: the kubeconfig cannot be read')]);
  }, 30_000);
});

describe('checkpointer unpivot', () => {
  it('is bad input on a node that was never pivoted', async () => {
    const { code, err } = await checkpointer('unpivot', admin(), '--yes');
    expect(code).toBe(2);
    expect(err).toContain('this node was not made self-hosted by checkpointer pivot');
  }, 30_000);
});
