import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import * as https from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { act, type Effects } from '../../src/act.ts';
import { CHECKPOINT } from '../../src/checkpoint/annotations.ts';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { Copy, ObjectLookup } from '../../src/checkpoint/copy-types.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { workloadKey, workloadOf } from '../../src/checkpoint/workload.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { bind, create, get, PODS, pod, SECRETS } from '../support/embedded/objects.ts';
import { SERVICE } from '../support/marked-pods.ts';
import { until } from '../support/until.ts';

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname;
const OLD = 'the-old-token';
const VALUE = 'the-value-of-a-secret';
const SECRET = { metadata: { name: 'keys', namespace: 'kube-system' }, data: { key: Buffer.from(VALUE).toString('base64') } };

let cluster: TestCluster;
let directory: string;
let store: string;
beforeAll(async () => {
  cluster = await startCluster();
  await create(cluster.admin, '/api/v1/namespaces/default/services', { metadata: { name: 'kubernetes' }, ...SERVICE });
  directory = await mkdtemp(join(tmpdir(), 'tokens-'));
  store = join(directory, 'store');
  await mkdir(join(directory, 'manifests'));
  await create(cluster.admin, SECRETS, SECRET);
  await create(cluster.admin, '/api/v1/namespaces/kube-system/serviceaccounts', { metadata: { name: 'controllers' } });
});
afterAll(async () => {
  await cluster.stop();
  await rm(directory, { recursive: true, force: true });
});

async function createPod(): Promise<V1Pod> {
  const projected = { defaultMode: 0o644, sources: [{ serviceAccountToken: { path: 'token', expirationSeconds: 3607 } }] };
  const keys = { name: 'keys', secret: { secretName: 'keys', defaultMode: 0o400 } };
  const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'controllers', uid: 'ds', controller: true };
  const meta = { annotations: { [CHECKPOINT]: 'true' }, ownerReferences: [owner] };
  const name = `controllers-${Math.random().toString(36).slice(2, 7)}`;
  await create(cluster.admin, PODS, pod(name, { serviceAccountName: 'controllers', volumes: [{ name: 'v', projected }, keys] }, meta));
  await bind(cluster.admin, name, 'n1');
  return (await get(cluster.admin, `${PODS}/${name}`)) as unknown as V1Pod;
}

/** The copy with a token that has to be renewed soon, as an earlier daemon left it. */
function earlierCopy(parent: V1Pod, renewAt: number): Copy {
  const times = { renewAt: new Date(renewAt).toISOString(), expiresAt: new Date(renewAt + 60_000).toISOString() };
  const lookup: ObjectLookup = (ref) => {
    if (ref.kind === 'Token') return { state: 'present', object: { token: OLD, ...times } };
    if (ref.kind === 'Service') return { state: 'present', object: SERVICE };
    return ref.kind === 'Secret' ? { state: 'present', object: SECRET } : { state: 'absent' };
  };
  const outcome = makeCopy(parent, lookup, { secretEnv: 'refuse' });
  if (outcome.kind !== 'copy') throw new Error(`no copy: ${JSON.stringify(outcome)}`);
  return outcome.copy;
}

function startDaemon() {
  const flags = {
    'node-name': 'n1',
    kubeconfig: cluster.pki.kubeletConf,
    'checkpoint-dir': store,
    'pod-manifest-path': join(directory, 'manifests'),
    'lock-file': join(directory, 'lock'),
    'container-runtime-endpoint': `unix://${join(directory, 'no-runtime.sock')}`,
    v: '9',
  };
  const child = spawn(process.execPath, [CLI, 'run', ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const closed = once(child, 'close');
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (chunk: string) => (said += chunk));
  return {
    said: () => said,
    end: async () => {
      child.kill('SIGTERM');
      await closed;
    },
  };
}

function statusWith(token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { ca: cluster.pki.authority.certificate, agent: false, headers: { authorization: `Bearer ${token}` } };
    https
      .get(`https://127.0.0.1:${cluster.port}/api/v1/secrets`, options, (response) => resolve(response.resume().statusCode ?? 0))
      .on('error', reject);
  });
}

test('what a reboot gets has a token that works: renewed in time, and bound anew when the pod was made anew', async () => {
  const parent = await createPod();
  const workload = workloadOf(parent);
  await prepareStore(store);
  const effects: Pick<Effects, 'checkpointDir' | 'wallClock' | 'transaction'> = {
    checkpointDir: store,
    wallClock: Date.now,
    transaction: (change) => change(),
  };
  const renewAt = Date.now() + 3_000;
  const about = { name: parent.metadata?.name ?? '', uid: parent.metadata?.uid ?? '' };
  await act({ kind: 'save', workload, copy: earlierCopy(parent, renewAt), parent: about }, effects as Effects);
  await act({ kind: 'prove', workload, generation: 1 }, effects as Effects);

  const stored = async () => {
    const found = (await readStore(store)).workloads.get(workloadKey(workload))?.stored;
    const proven = found?.proven === undefined ? undefined : found.generations.get(found.proven);
    const path = join(generationPath(workloadPath(store, workload), found?.proven ?? 0), 'files/v/token');
    return { proven, previous: found?.previous, token: await readFile(path, 'utf8').catch(() => undefined) };
  };
  const daemon = startDaemon();
  try {
    await until(() => {
      if (!daemon.said().includes('API server: ok')) throw new Error(daemon.said());
      return true;
    }, 20_000);
    await until(async () => (await stored()).token !== OLD, 15_000);
    expect(Date.now()).toBeGreaterThanOrEqual(renewAt);
    const renewed = await stored();
    expect(renewed).toMatchObject({ previous: undefined, proven: { number: 2, instance: { tokens: [{ podUid: about.uid }] } } });
    expect(await statusWith(renewed.token ?? '')).toBe(403);

    await cluster.admin.request('DELETE', `${PODS}/${about.name}?gracePeriodSeconds=0`);
    const next = await createPod();
    await until(async () => (await stored()).proven?.instance?.tokens[0]?.podUid === next.metadata?.uid, 15_000);
    const rebound = await stored();
    expect(rebound.proven?.digest).toBe(renewed.proven?.digest);
    expect(await statusWith(renewed.token ?? '')).toBe(401);
    expect(await statusWith(rebound.token ?? '')).toBe(403);
    for (const secret of [OLD, renewed.token, rebound.token, VALUE, SECRET.data.key]) expect(daemon.said()).not.toContain(secret);
  } finally {
    await daemon.end();
  }
}, 60_000);
