import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  ACCOUNT,
  becomes,
  cluster,
  faults,
  KUBELET,
  makeSet,
  NODES,
  patch,
  REPLICASETS,
  remove,
  requests,
  requestToken,
  start,
  token,
  tokenDir,
  track,
  useCluster,
  wants,
  workload,
} from '../support/api/owners.ts';
import { create, DAEMONSETS } from '../support/embedded/objects.ts';
import { until } from '../support/until.ts';

useCluster();

describe('an owner that is there', () => {
  test('is known by its uid, and of its pods nothing while nobody asks', async () => {
    const set = await makeSet('there');
    const running = await start([workload('there')]);
    expect(running.state(workload('there'))).toEqual({ state: 'unknown', detail: 'not read yet' });
    await becomes(running, workload('there'), 'present');
    expect(running.state(workload('there'))).toEqual({
      state: 'present',
      uid: set.metadata.uid,
      deleting: false,
      wantsPodHere: true,
      pods: { state: 'unknown', detail: 'not asked for' },
    });
  });

  test('wants no pod here any more when its node selector, the label of the node or a taint says so', async () => {
    await makeSet('choosy', { nodeSelector: { 'kubernetes.io/hostname': 'n1' } });
    const choosy = workload('choosy');
    const running = await start([choosy]);
    await wants(running, choosy, true);
    const selector = (nodeSelector: object) => patch(`${DAEMONSETS}/choosy`, { spec: { template: { spec: { nodeSelector } } } });
    await selector({ 'kubernetes.io/hostname': 'n2' });
    await wants(running, choosy, false);
    await selector({ 'kubernetes.io/hostname': 'n1' });
    await wants(running, choosy, true);
    const label = (value: string) => patch(`${NODES}/n1`, { metadata: { labels: { 'kubernetes.io/hostname': value } } });
    await label('other');
    await wants(running, choosy, false);
    await label('n1');
    await wants(running, choosy, true);
    await patch(`${NODES}/n1`, { spec: { taints: [{ key: 'maintenance', effect: 'NoExecute' }] } });
    await wants(running, choosy, false);
    await patch(`${NODES}/n1`, { spec: { taints: [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }] } });
    await wants(running, choosy, true);
    await patch(`${NODES}/n1`, { spec: { taints: null } });
  });

  test('wants nothing while it is being deleted, and is gone after that', async () => {
    await makeSet('leaving');
    await patch(`${DAEMONSETS}/leaving`, { metadata: { finalizers: ['example.com/held'] } });
    const running = await start([workload('leaving')]);
    await becomes(running, workload('leaving'), 'present');
    await remove(`${DAEMONSETS}/leaving`);
    await wants(running, workload('leaving'), false);
    expect(running.state(workload('leaving'))).toMatchObject({ state: 'present', deleting: true });
    await patch(`${DAEMONSETS}/leaving`, { metadata: { finalizers: null } });
    await becomes(running, workload('leaving'), 'gone');
  });

  test('is not asked about any more once it is not tracked', async () => {
    await makeSet('dropped');
    const running = await start([workload('dropped')]);
    await becomes(running, workload('dropped'), 'present');
    track(running.source, []);
    expect(running.source.snapshot().owners.size).toBe(0);
  });
});

describe('an owner that is not there', () => {
  test('is gone, with the uid it had, and another one under its name is present with another uid', async () => {
    const first = await makeSet('again');
    const running = await start([workload('again')]);
    await becomes(running, workload('again'), 'present');
    await remove(`${DAEMONSETS}/again`);
    await becomes(running, workload('again'), 'gone');
    expect(running.state(workload('again'))).toEqual({ state: 'gone', uid: first.metadata.uid });
    const second = await makeSet('again');
    await becomes(running, workload('again'), 'present');
    expect(running.state(workload('again'))).toMatchObject({ uid: second.metadata.uid });
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
  });

  test('is gone without a uid when nobody ever saw it', async () => {
    const running = await start([workload('never')]);
    await becomes(running, workload('never'), 'gone');
    expect(running.state(workload('never'))).toEqual({ state: 'gone' });
  });

  test('is not gone because a list is empty, and the list is made anew', async () => {
    await makeSet('hidden');
    await faults([{ kind: 'empty', user: ACCOUNT }]);
    const running = await start([workload('hidden')]);
    // Two rounds of: an empty list, and a GET that finds it.
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/hidden')).length >= 2);
    expect(running.state(workload('hidden'))?.state).toBe('unknown');
    await faults([]);
    await becomes(running, workload('hidden'), 'present');
    expect(running.seen(workload('hidden'))).not.toContain('gone');
  });

  test('is not gone while the GET is refused', async () => {
    await faults([{ kind: 'status', code: 403, user: ACCOUNT, verb: 'get', resource: 'daemonsets.apps' }]);
    const running = await start([workload('refused')]);
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/refused')).length >= 2);
    expect(running.state(workload('refused'))?.state).toBe('unknown');
    await faults([]);
    await becomes(running, workload('refused'), 'gone');
  });

  test('that was a Deployment is not gone while a ReplicaSet of it is left', async () => {
    const labels = { app: 'left', 'pod-template-hash': '5f7c9d6b8' };
    const spec = {
      replicas: 1,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [{ name: 'a', image: 'a:1' }] } },
    };
    await create(cluster.admin, REPLICASETS, { metadata: { name: 'left-5f7c9d6b8', labels }, spec });
    const running = await start([workload('left', 'Deployment')]);
    await until(async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/deployments/left')).length >= 2);
    expect(running.state(workload('left', 'Deployment'))?.state).toBe('unknown');
    await remove(`${REPLICASETS}/left-5f7c9d6b8`);
    await becomes(running, workload('left', 'Deployment'), 'gone');
  });
});

describe('no answer', () => {
  test('of an API server that is away makes everything unknown, what is gone has to be confirmed anew', async () => {
    await makeSet('stays');
    const [stays, went] = [workload('stays'), workload('went')];
    const running = await start([stays, went], { ask: true });
    await becomes(running, stays, 'present');
    await becomes(running, went, 'gone');
    await cluster.server.end('SIGKILL');
    const asked = async () => (await requests(ACCOUNT)).filter((uri) => uri.endsWith('/daemonsets/went')).length;
    const before = await asked();
    try {
      await until(() => [stays, went].every((of) => running.state(of)?.state === 'unknown'));
      expect(running.state(went)).toMatchObject({ detail: expect.stringContaining('unreachable') });
    } finally {
      // The tests after this one share it.
      await cluster.restart();
    }
    await becomes(running, stays, 'present');
    await becomes(running, went, 'gone');
    await until(async () => (await asked()) > before);
  });

  test('of an API server that is away: one watch looks for its return, the others wait, and all end when they are told to', async () => {
    await makeSet('waiting');
    await faults([{ kind: 'status', code: 500 }]);
    const before = (await requests(ACCOUNT)).length;
    const nodesBefore = (await requests(KUBELET)).length;
    const running = await start([workload('waiting'), workload('too')], { identity: { tokenDir: await tokenDir(token) } });
    await until(async () => (await requests(KUBELET)).length >= nodesBefore + 6);
    expect((await requests(ACCOUNT)).length - before).toBeLessThanOrEqual(4);
    await running.source.stop();
  });

  test.each([401, 403, 500])('but HTTP %i leaves the owner unknown until the right one comes', async (code) => {
    await makeSet('behind');
    await faults([{ kind: 'status', code, user: ACCOUNT }]);
    const running = await start([workload('behind')]);
    await until(() => /HTTP/.test(JSON.stringify(running.state(workload('behind')))));
    expect(running.state(workload('behind'))).toMatchObject({
      state: 'unknown',
      detail: expect.stringContaining(`${code === 500 ? 'unreachable' : 'denied'}: HTTP ${code}`),
    });
    await faults([]);
    await becomes(running, workload('behind'), 'present');
  });

  test('to a token that does not count, until the file holds another one', async () => {
    await makeSet('rotated');
    const directory = await tokenDir('of yesterday');
    const running = await start([workload('rotated')], { identity: { tokenDir: directory } });
    await until(() => /denied: HTTP 401/.test(JSON.stringify(running.state(workload('rotated')))));
    await fs.writeFile(path.join(directory, 'token.new'), await requestToken());
    await fs.rename(path.join(directory, 'token.new'), path.join(directory, 'token'));
    await becomes(running, workload('rotated'), 'present');
  });

  test('where there is no token at all names its file', async () => {
    const running = await start([workload('without')], { identity: { tokenDir: '/nowhere' } });
    await until(() => /token \/nowhere\/token cannot be read/.test(JSON.stringify(running.state(workload('without')))));
  });

  test('without an identity, and nothing is sent', async () => {
    const running = await start([workload('unasked'), workload('bare', 'Pod')], { identity: {} });
    expect(running.state(workload('unasked'))).toEqual({ state: 'unknown', detail: 'no identity that may read owners was given' });
    expect(running.state(workload('bare', 'Pod'))).toEqual({ state: 'none' });
    expect((await requests(ACCOUNT)).filter((uri) => uri.includes('unasked'))).toEqual([]);
  });

  test('to a kubeconfig is the same: it goes before a token', async () => {
    await makeSet('by-file');
    const running = await start([workload('by-file')], { identity: { kubeconfig: cluster.pki.adminConf, tokenDir: '/nowhere' } });
    await becomes(running, workload('by-file'), 'present');
  });
});
