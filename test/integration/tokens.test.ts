import { readFileSync, rmSync } from 'node:fs';
import * as https from 'node:https';
import * as path from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { CHECKPOINT } from '../../src/checkpoint/annotations.ts';
import type { Copy, Token } from '../../src/checkpoint/copy-types.ts';
import type { CopyOutcome } from '../../src/checkpoint/model.ts';
import { KUBERNETES_SERVICE, objectKey, objectReferences, tokenRef } from '../../src/checkpoint/references.ts';
import { createCopier } from '../../src/copier.ts';
import { createApiClient } from '../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { createApiSource } from '../../src/sources/api/source.ts';
import { QUICK, recordLog } from '../support/api/setup.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { bind, CONFIGMAPS, create, PODS, pod } from '../support/embedded/objects.ts';
import { SERVICE, SERVICE_ENV } from '../support/marked-pods.ts';
import { until } from '../support/until.ts';

const ACCOUNTS = '/api/v1/namespaces/kube-system/serviceaccounts';
const CLAIMS = '/api/v1/namespaces/kube-system/persistentvolumeclaims';
const SERVICES = '/api/v1/namespaces/default/services';
const TOKEN = { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } };

let cluster: TestCluster;
let auditLog: string;
beforeAll(async () => {
  auditLog = path.join(process.env['TMPDIR'] ?? '/tmp', `tokens-audit-${process.pid}.log`);
  cluster = await startCluster([`--audit-log-path=${auditLog}`]);
  await create(cluster.admin, ACCOUNTS, { metadata: { name: 'controllers' } });
  await create(cluster.admin, SERVICES, { metadata: { name: 'kubernetes' }, ...SERVICE });
  await create(cluster.admin, CONFIGMAPS, { metadata: { name: 'kube-root-ca.crt' }, data: { 'ca.crt': 'the CA' } });
});
afterAll(async () => {
  await cluster.stop();
  rmSync(auditLog, { force: true });
});

/** The volume that the ServiceAccount admission puts into every pod, as the API server returns it. */
const apiAccess = (...more: object[]) => ({
  name: 'kube-api-access-8fzqk',
  projected: {
    defaultMode: 0o644,
    sources: [
      TOKEN,
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
      ...more,
    ],
  },
});

async function createPod(name: string, volumes: object[], spec: object = {}): Promise<V1Pod> {
  const meta = { annotations: { [CHECKPOINT]: 'true' } };
  const created = await create(cluster.admin, PODS, pod(name, { serviceAccountName: 'controllers', volumes, ...spec }, meta));
  await bind(cluster.admin, name, 'n1');
  return created as unknown as V1Pod;
}

/** The source with the node's own identity, and the outcome for a pod by name. */
async function startSource(tokens: ReadonlyMap<string, Token> = new Map()) {
  const client = createApiClient(await loadKubeconfig(cluster.pki.kubeletConf));
  const { log, lines } = recordLog();
  const source = createApiSource({
    client,
    nodeName: 'n1',
    references: (given) => [...objectReferences(given), KUBERNETES_SERVICE],
    onChange: () => undefined,
    log,
    timing: QUICK,
    tokens,
  });
  const copier = createCopier({ secretEnv: 'refuse' });
  onTestFinished(() => source.stop());
  const outcome = (name: string): CopyOutcome | undefined => {
    const snapshot = source.snapshot();
    const found = [...snapshot.pods.values()].find(({ metadata }) => metadata?.name === name);
    return found === undefined ? undefined : copier(found, snapshot);
  };
  const copy = async (name: string, wanted: (copy: Copy) => boolean = () => true): Promise<Copy> => {
    const found = (): Copy | undefined => {
      const made = outcome(name);
      return made?.kind === 'copy' && wanted(made.copy) ? made.copy : undefined;
    };
    await until(() => found() !== undefined);
    return found() as Copy;
  };
  return { source, lines, outcome, copy };
}

function tokenIn(copy: Copy): string {
  const file = copy.files.find(({ path: name }) => name === 'kube-api-access/token');
  if (file === undefined) throw new Error(`no token in ${copy.files.map((f) => f.path).join(', ')}`);
  return Buffer.from(file.bytes).toString('utf8');
}

/** The status of a list of Secrets with this token: 403 for a service account that may not, 401 for a token that is not accepted. */
function statusWith(token: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { ca: cluster.pki.authority.certificate, agent: false, headers: { authorization: `Bearer ${token}` } };
    https
      .get(`https://127.0.0.1:${cluster.port}/api/v1/secrets`, options, (response) => resolve(response.resume().statusCode ?? 0))
      .on('error', reject);
  });
}

/** How often a token was asked for so far. */
const requests = (): number => readFileSync(auditLog, 'utf8').split('"subresource":"token"').length - 1;

describe('the token of a copy', () => {
  test('is requested with the node’s identity, bound to the parent, and lies where an in-cluster client looks for it', async () => {
    const parent = await createPod('first', [apiAccess()]);
    const { copy, lines } = await startSource();
    const made = await copy('first');
    expect(await statusWith(tokenIn(made))).toBe(403);
    expect(made.files.map((file) => [file.path.split('/')[1], file.mode.toString(8), file.uid, file.gid])).toEqual([
      ['ca.crt', '644', 0, 0],
      ['namespace', '644', 0, 0],
      ['token', '644', 0, 0],
    ]);
    expect(made.instance?.tokens).toMatchObject([
      {
        path: 'kube-api-access/token',
        serviceAccount: 'controllers',
        audience: '',
        podUid: parent.metadata?.uid,
        expirationSeconds: 3607,
      },
    ]);
    const { renewAt = '', expiresAt = '' } = made.instance?.tokens[0] ?? {};
    const left = (time: string) => (Date.parse(time) - Date.now()) / 1000 / 3607;
    expect(left(expiresAt)).toBeCloseTo(1, 1);
    expect(left(renewAt)).toBeGreaterThan(0.65);
    expect(left(renewAt)).toBeLessThan(0.8);
    expect(JSON.stringify(lines)).not.toContain(tokenIn(made));
  });

  test('is for the audience that the pod asks for, and worth nothing to the API server then', async () => {
    const vault = { serviceAccountToken: { path: 'vault', audience: 'vault', expirationSeconds: 7200 } };
    await createPod('audience', [apiAccess(vault)]);
    const { copy } = await startSource();
    const made = await copy('audience');
    expect(made.instance?.tokens.map(({ audience }) => audience)).toEqual(['', 'vault']);
    const other = made.files.find((file) => file.path.endsWith('/vault'));
    expect(await statusWith(Buffer.from(other?.bytes ?? []).toString('utf8'))).toBe(401);
  });

  test('is another one when it is time, in a copy of the same digest', async () => {
    const parent = await createPod('renewed', [apiAccess()]);
    const soon = new Date(Date.now() + 400).toISOString();
    const old = { token: 'old', renewAt: soon, expiresAt: new Date(Date.now() + 60_000).toISOString() };
    const { copy } = await startSource(new Map([[objectKey(tokenRef(parent, TOKEN.serviceAccountToken)), old]]));
    const before = await copy('renewed');
    expect(tokenIn(before)).toBe('old');
    const after = await copy('renewed', (made) => tokenIn(made) !== 'old');
    expect(await statusWith(tokenIn(after))).toBe(403);
    expect(after.digest).toBe(before.digest);
    expect(after.instance?.digest).not.toBe(before.instance?.digest);
  });

  test('that is in the store is not asked for again', async () => {
    const parent = await createPod('stored', [apiAccess()]);
    for (const other of ['first', 'audience', 'renewed']) await cluster.admin.request('DELETE', `${PODS}/${other}?gracePeriodSeconds=0`);
    const before = requests();
    const kept = {
      token: 'kept',
      renewAt: new Date(Date.now() + 60_000).toISOString(),
      expiresAt: new Date(Date.now() + 90_000).toISOString(),
    };
    const { copy } = await startSource(new Map([[objectKey(tokenRef(parent, TOKEN.serviceAccountToken)), kept]]));
    // Its Secrets and ConfigMaps were read meanwhile: a request for a token would have been made as well.
    expect(tokenIn(await copy('stored'))).toBe('kept');
    expect(requests()).toBe(before);
  });

  test('is bound anew when the pod was made anew, and the old one is worth nothing', async () => {
    await createPod('again', [apiAccess()]);
    const { copy } = await startSource();
    const before = await copy('again');
    await cluster.admin.request('DELETE', `${PODS}/again?gracePeriodSeconds=0`);
    const parent = await createPod('again', [apiAccess()]);
    const after = await copy('again', (made) => made.instance?.tokens[0]?.podUid === parent.metadata?.uid);
    expect(after.digest).toBe(before.digest);
    expect(await statusWith(tokenIn(before))).toBe(401);
    expect(await statusWith(tokenIn(after))).toBe(403);
  });

  test('of a service account that does not exist is waited for, by name', async () => {
    await createPod('orphan', [apiAccess()], { serviceAccountName: 'none' });
    const { outcome, copy } = await startSource();
    await until(() => outcome('orphan')?.kind === 'waiting');
    await until(() => JSON.stringify(outcome('orphan')) === '{"kind":"waiting","objects":["token of ServiceAccount kube-system/none"]}');
    await create(cluster.admin, ACCOUNTS, { metadata: { name: 'none' } });
    await copy('orphan');
  });
});

describe('a claim', () => {
  const claimed = { name: 'data', persistentVolumeClaim: { claimName: 'data' } };

  test('is read with the node’s identity, and its local volume becomes a path of the host', async () => {
    await create(cluster.admin, '/api/v1/persistentvolumes', {
      metadata: { name: 'pv-1' },
      spec: { local: { path: '/mnt/disks/1' }, volumeMode: 'Filesystem', claimRef: { namespace: 'kube-system', name: 'data' } },
    });
    await create(cluster.admin, CLAIMS, { metadata: { name: 'data' }, spec: { volumeName: 'pv-1' } });
    await createPod('with-claim', [claimed]);
    const { copy } = await startSource();
    expect((await copy('with-claim')).pod.spec?.volumes).toEqual([{ name: 'data', hostPath: { path: '/mnt/disks/1', type: 'Directory' } }]);
  });

  test('that was made anew for another pod of the workload gives its new volume', async () => {
    const volume = (name: string, path: string) =>
      create(cluster.admin, '/api/v1/persistentvolumes', { metadata: { name }, spec: { local: { path } } });
    const bindTo = (volumeName: string) => create(cluster.admin, CLAIMS, { metadata: { name: 'anew' }, spec: { volumeName } });
    const volumes = [{ name: 'data', persistentVolumeClaim: { claimName: 'anew' } }];
    await Promise.all([volume('first', '/mnt/first'), volume('second', '/mnt/second'), bindTo('first')]);
    await createPod('anew-1', volumes);
    const { copy } = await startSource();
    const pathIn = async (name: string) => (await copy(name)).pod.spec?.volumes?.[0]?.hostPath?.path;
    expect(await pathIn('anew-1')).toBe('/mnt/first');
    await cluster.admin.request('DELETE', `${CLAIMS}/anew`);
    await bindTo('second');
    await createPod('anew-2', volumes);
    expect(await pathIn('anew-2')).toBe('/mnt/second');
    expect(await pathIn('anew-1')).toBe('/mnt/first');
  });

  test('that is not bound is waited for', async () => {
    await create(cluster.admin, CLAIMS, { metadata: { name: 'unbound' }, spec: {} });
    await createPod('unbound', [{ name: 'data', persistentVolumeClaim: { claimName: 'unbound' } }]);
    const { outcome } = await startSource();
    await until(() => JSON.stringify(outcome('unbound') ?? '').includes('PersistentVolumeClaim kube-system/unbound (not bound)'));
  });
});

describe('where the API server is', () => {
  test('is read from the cluster, and waited for while it is not there', async () => {
    await createPod('plain', []);
    const { copy, outcome } = await startSource();
    expect((await copy('plain')).pod.spec?.containers[0]?.env).toEqual(SERVICE_ENV);
    await cluster.admin.request('DELETE', `${SERVICES}/kubernetes`);
    await until(
      () => JSON.stringify(outcome('plain')) === '{"kind":"waiting","objects":["Service default/kubernetes (or --kubernetes-service)"]}',
    );
    await create(cluster.admin, SERVICES, { metadata: { name: 'kubernetes' }, ...SERVICE });
    await copy('plain');
  });
});
