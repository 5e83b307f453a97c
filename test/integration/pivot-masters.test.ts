/** Two masters of one cluster become self-hosted and go back, one after the other. */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS } from '../../src/pivot/component.ts';
import { SELF_HOSTED, selfHostedLabel } from '../../src/pivot/daemonset.ts';
import { pivot, unpivot, type Voice } from '../../src/pivot/journey.ts';
import { LEASE } from '../../src/pivot/lease.ts';
import { openSession, type Session } from '../../src/pivot/session.ts';
import { describeMove } from '../../src/pivot/steps.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { type PlayedMaster, playMaster } from '../support/pivot/played-master.ts';
import { until } from '../support/until.ts';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';

let cluster: TestCluster;
let session: Session;
let one: PlayedMaster;
let two: PlayedMaster;
let told: string[] = [];
beforeAll(async () => {
  cluster = await startCluster();
  const labels = { app: 'pod-checkpointer' };
  const spec = {
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [{ name: 'checkpointer', image: 'x:1' }] } },
  };
  const metadata = { name: 'pod-checkpointer', namespace: 'kube-system' };
  await cluster.admin.request('POST', '/apis/apps/v1/namespaces/kube-system/daemonsets', {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata,
    spec,
  });
  one = await playMaster(cluster.admin, 'master-1', '10.0.0.10');
  two = await playMaster(cluster.admin, 'master-2', '10.0.0.11');
  session = await openSession(cluster.pki.adminConf);
  for (const master of [one, two]) await until(async () => (await master.pods()).length === 4, 20_000);
}, 60_000);
afterAll(async () => {
  session?.close();
  for (const master of [one, two]) await master?.stop();
  await cluster?.stop();
});

const optionsOf = (master: PlayedMaster) => ({
  checkpointDir: master.store,
  podManifestPath: master.manifests,
  nodeName: master.name,
  healthyFor: 0,
  stepTimeout: 20_000,
  from: [],
  credentials: 'files' as const,
});

const voice: Voice = {
  say: (text) => told.push(text),
  checked: (checks) => told.push(...checks.map(({ state, check, seen }) => `${state} ${check}: ${seen}`)),
  ask: async () => true,
  progress: {
    moving: (move) => told.push(describeMove(move)),
    waiting: () => undefined,
    done: () => undefined,
    failed: (_move, why) => told.push(`failed: ${why}`),
  },
};

const kubePods = async (master: PlayedMaster) => (await master.pods()).filter((name) => name.startsWith('kube-'));
const assigned = (component: (typeof COMPONENTS)[number]) => session.cluster.assigned(component);

describe('two masters of one cluster', () => {
  it('are not begun with where a file has the name of one that would be written and removed', async () => {
    const file = join(one.manifests, 'kube-scheduler-shared.yaml');
    await writeFile(file, "somebody's\n");
    told = [];
    expect((await pivot(optionsOf(one), session, voice)).kind).toBe('notReady');
    expect(told.filter((line) => line.startsWith('fail'))).toEqual([expect.stringContaining(`${file} is there`)]);
    expect(await readFile(file, 'utf8')).toBe("somebody's\n");
    await rm(file);
  }, 30_000);

  it('are made self-hosted one after the other, with the same DaemonSets', async () => {
    told = [];
    expect((await pivot(optionsOf(one), session, voice)).kind).toBe('arrived');
    // The other one is as it was: nothing of a DaemonSet runs there.
    expect(await kubePods(two)).toEqual(COMPONENTS.map((component) => `${component}-master-2`));
    const before = await session.cluster.daemonSet('kube-apiserver');
    expect((await pivot(optionsOf(two), session, voice)).kind).toBe('arrived');
    expect((await session.cluster.daemonSet('kube-apiserver'))?.metadata?.uid).toBe(before?.metadata?.uid);
    for (const component of COMPONENTS) expect((await assigned(component)).sort()).toEqual(['master-1', 'master-2']);
    for (const master of [one, two]) {
      expect(await readdir(master.manifests)).toEqual([]);
      expect(await kubePods(master)).toHaveLength(3);
    }
    expect(told.filter((line) => line.startsWith('failed'))).toEqual([]);
  }, 120_000);

  it('are not both on their way', async () => {
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: LEASE, namespace: 'kube-system' },
      spec: { holderIdentity: 'master-2' },
    };
    await cluster.admin.request('POST', LEASES, lease);
    await expect(unpivot(optionsOf(one), session, voice)).rejects.toThrow('node master-2 is in the middle of a pivot');
    await cluster.admin.request('DELETE', `${LEASES}/${LEASE}`);
    expect(await kubePods(one)).toHaveLength(3);
  }, 30_000);

  it('go back one after the other: the DaemonSets stay until nobody uses them', async () => {
    expect(await unpivot(optionsOf(one), session, voice)).toBe('arrived');
    expect(await kubePods(one)).toEqual(COMPONENTS.map((component) => `${component}-master-1`));
    for (const component of COMPONENTS) {
      expect(await assigned(component)).toEqual(['master-2']);
      expect(await session.cluster.daemonSet(component)).toBeDefined();
    }
    expect(await kubePods(two)).toHaveLength(3);
    expect(await unpivot(optionsOf(two), session, voice)).toBe('arrived');
    for (const component of COMPONENTS) expect(await session.cluster.daemonSet(component)).toBeUndefined();
    const text = await readFile(join(two.manifests, 'kube-apiserver.yaml'), 'utf8');
    expect(text).toContain('--advertise-address=10.0.0.11');
    expect((await session.cluster.node('master-2'))?.metadata?.labels).not.toHaveProperty([selfHostedLabel('kube-apiserver')], SELF_HOSTED);
  }, 120_000);

  it('that differ are told apart by the flag, and nothing is changed', async () => {
    expect((await pivot(optionsOf(one), session, voice)).kind).toBe('arrived');
    const file = join(two.manifests, 'kube-apiserver.yaml');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace('--etcd-servers=https://127.0.0.1:2379', '--etcd-servers=https://10.0.0.11:2379'));
    told = [];
    expect((await pivot(optionsOf(two), session, voice)).kind).toBe('notReady');
    expect(told.filter((line) => line.startsWith('fail'))).toEqual([
      'fail kube-apiserver: DaemonSet kube-apiserver is there and differs: --etcd-servers of container kube-apiserver: https://10.0.0.11:2379 here, https://127.0.0.1:2379 there',
    ]);
    expect(await kubePods(two)).toEqual(COMPONENTS.map((component) => `${component}-master-2`));
  }, 60_000);
});
