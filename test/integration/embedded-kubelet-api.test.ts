import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type KubeletTest, kubeletTest, one, podManifest } from '../support/embedded-node/kubelet.ts';
import { until } from '../support/until.ts';

describe('pods of the API server on the embedded kubelet', () => {
  let k: KubeletTest;
  beforeEach(async () => {
    k = await kubeletTest();
  });
  afterEach(() => k.stop());

  const secret = (name: string, data: Record<string, string>) =>
    k.cluster.admin.request('POST', '/api/v1/namespaces/kube-system/secrets', {
      metadata: { name },
      data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
    });
  const ready = async (name: string) => (await k.status(name))?.conditions?.find(({ type }) => type === 'Ready')?.status;

  test('do not start after a reboot while the API server is away', async () => {
    k.boot();
    await until(() => k.kubelet?.output().includes('source api read'));
    await k.createPod('a', one('sleep'));
    await until(async () => (await k.status('a'))?.phase === 'Running');
    await k.cluster.server.end('SIGKILL');
    await k.node.powerOff();
    k.manifest('s.yaml', podManifest('s', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).includes('s-n1 main'));
    expect(await k.running()).toEqual(['s-n1 main']);
    await k.cluster.restart();
    await until(async () => (await k.running()).includes('a main'));
    await until(async () => (await k.status('a'))?.containerStatuses?.[0]?.restartCount === 1);
  });

  test('go on untouched when the kubelet restarts while the API server is away', async () => {
    k.boot();
    await until(() => k.kubelet?.output().includes('source api read'));
    await k.createPod('a', one('sleep'));
    await until(async () => (await k.running()).length === 1);
    const before = (await k.containers('a')).map(({ id }) => id);
    await k.cluster.server.end('SIGKILL');
    await k.kubelet?.kill('SIGKILL');
    k.startKubelet();
    await until(() => k.kubelet?.output().includes('source file read'));
    await until(() => k.kubelet?.output().includes('reflector'));
    expect((await k.containers('a')).map(({ id }) => id)).toEqual(before);
    await k.cluster.restart();
    await until(() => k.kubelet?.output().includes('source api read'));
    await until(async () => (await ready('a')) === 'True');
    expect((await k.containers('a')).map(({ id }) => id)).toEqual(before);
  });

  test('wait without a sandbox for a Secret in a volume, and with one for a Secret in the environment', async () => {
    k.boot();
    await k.createPod('volume', {
      volumes: [{ name: 'v', secret: { secretName: 's', defaultMode: 0o400 } }],
      containers: [
        {
          name: 'main',
          image: 'registry.local/sleep',
          command: ['sh', '-c', 'cat "$1"; sleep 60', 'sh', '/s/key'],
          volumeMounts: [{ name: 'v', mountPath: '/s' }],
        },
      ],
    });
    await k.createPod(
      'env',
      one('sleep', {
        command: ['sh', '-c', 'echo "$KEY"; sleep 60'],
        env: [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 's', key: 'key' } } }],
      }),
    );
    await until(async () => (await k.status('env'))?.containerStatuses?.[0]?.state.waiting?.reason === 'CreateContainerConfigError');
    await until(() => k.kubelet?.output().includes('unable to mount volumes'));
    expect(await k.sandboxes('volume')).toEqual([]);
    expect(await k.sandboxes('env')).toHaveLength(1);
    await secret('s', { key: 'value' });
    await until(async () => (await k.running()).length === 2);
    const logs = join(k.node.dir, 'kubelet/log');
    for (const name of ['volume', 'env']) {
      const pod = await k.pod(name);
      await until(() => readFileSync(join(logs, `kube-system_${name}_${pod?.metadata.uid}/main/0.log`), 'utf8').startsWith('value'));
    }
  });

  test('see a rotated Secret in their volume, all of it at once', async () => {
    k.boot('--sync-frequency=300ms');
    await secret('s', { key: 'old', other: 'old' });
    const pod = await k.createPod('a', {
      volumes: [{ name: 'v', secret: { secretName: 's' } }],
      containers: [{ name: 'main', image: 'registry.local/sleep', volumeMounts: [{ name: 'v', mountPath: '/s' }] }],
    });
    const volume = join(k.node.dir, 'kubelet/pods', pod.metadata.uid, 'volumes/kubernetes.io~secret/v');
    await until(() => existsSync(join(volume, 'key')) && readFileSync(join(volume, 'key'), 'utf8') === 'old');
    const patch = { data: { key: Buffer.from('new').toString('base64'), other: null } };
    await k.cluster.admin.request('PATCH', '/api/v1/namespaces/kube-system/secrets/s', patch, {
      contentType: 'application/merge-patch+json',
    });
    await until(() => readFileSync(join(volume, 'key'), 'utf8') === 'new');
    expect(existsSync(join(volume, 'other'))).toBe(false);
    expect((await k.containers('a')).map(({ metadata }) => metadata?.attempt)).toEqual([0]);
  });

  test('are failed at admission while another pod holds their host port, also a static one', async () => {
    const spec = { hostNetwork: true, containers: [{ name: 'main', image: 'registry.local/sleep', ports: [{ containerPort: 7001 }] }] };
    k.manifest('a.yaml', podManifest('a', spec));
    k.boot();
    await until(async () => (await k.running()).length === 1);
    await k.createPod('b', spec);
    await until(async () => (await k.status('b'))?.phase === 'Failed');
    expect(await k.status('b')).toMatchObject({ reason: 'NodePorts', phase: 'Failed' });
    expect(await k.sandboxes('b')).toEqual([]);
    k.manifest('a.yaml', undefined);
    await until(async () => (await k.running()).length === 0);
    await k.createPod('c', spec);
    await until(async () => (await k.running()).includes('c main'));
    expect((await k.status('b'))?.phase).toBe('Failed');
  });

  test('are restarted at once after the first crash, then after a growing pause', async () => {
    k.boot('--crash-backoff-base=500ms');
    await k.createPod('a', one('crash'));
    await until(async () => (await k.status('a'))?.containerStatuses?.[0]?.state.waiting?.reason === 'CrashLoopBackOff');
    await until(async () => (await k.status('a'))?.containerStatuses?.[0]?.restartCount === 3);
    const log = k.kubelet?.output() ?? '';
    const starts = [...log.matchAll(/^(\S+) kubelet .* attempt \d started$/gm)].map(([, at = '']) => Date.parse(at));
    const [first = 0, second = 0, third = 0] = starts.slice(1).map((at, index) => at - (starts[index] ?? 0));
    expect(first).toBeLessThan(second);
    expect(second).toBeGreaterThanOrEqual(450);
    expect(third).toBeGreaterThanOrEqual(950);
    // The last one that ended stays for its exit code, those before it do not.
    await until(async () => (await k.containers('a')).length <= 2);
  });

  test('are restarted without a relist where the runtime tells of its containers', async () => {
    k.boot('--feature-gates=EventedPLEG=true', '--relist-period=60s');
    await k.createPod('a', one('crash'));
    await until(async () => (await k.status('a'))?.containerStatuses?.[0]?.restartCount === 1);
  });

  test('are ready when their probe says so, and restarted when they are not alive', async () => {
    let healthy = true;
    let open = false;
    const server = createServer((request, response) => {
      response.statusCode = (request.url === '/livez' ? healthy : open) ? 200 : 500;
      response.end();
    }).listen(0, '127.0.0.1');
    await until(() => server.listening);
    const { port } = server.address() as AddressInfo;
    const probe = (path: string) => ({ httpGet: { path, port, host: '127.0.0.1' }, periodSeconds: 1, failureThreshold: 1 });
    k.boot();
    await k.createPod('a', one('sleep', { readinessProbe: probe('/readyz'), livenessProbe: probe('/livez') }));
    await until(async () => (await k.status('a'))?.phase === 'Running');
    expect(await ready('a')).toBe('False');
    open = true;
    await until(async () => (await ready('a')) === 'True');
    healthy = false;
    await until(async () => (await k.containers('a')).length === 2);
    healthy = true;
    await until(async () => (await k.status('a'))?.containerStatuses?.[0]?.restartCount === 1 && (await ready('a')) === 'True');
    server.close();
  });

  test('that are deleted get SIGTERM, have their grace, and leave the API only when their containers are gone', async () => {
    k.boot();
    const up = join(k.node.dir, 'up');
    const end = join(k.node.dir, 'end');
    await k.createPod('a', {
      terminationGracePeriodSeconds: 20,
      ...one('sleep', {
        command: [
          'sh',
          '-c',
          'trap : TERM; touch "$1"; sleep 60 & wait; touch "$1.term"; while [ ! -e "$2" ]; do sleep 0.02; done',
          'sh',
          up,
          end,
        ],
      }),
    });
    await until(() => existsSync(up));
    await k.cluster.admin.request('DELETE', '/api/v1/namespaces/kube-system/pods/a');
    await until(() => existsSync(`${up}.term`));
    expect((await k.pod('a'))?.metadata.deletionTimestamp).toBeDefined();
    expect(await k.running()).toEqual(['a main']);

    writeFileSync(end, '');
    await until(async () => (await k.pod('a')) === undefined);
    expect(await k.running()).toEqual([]);
  });

  test('whose image is nowhere wait with ErrImagePull', async () => {
    k.boot();
    await k.createPod('a', one('nothing:v1'));
    await until(async () =>
      /ErrImagePull|ImagePullBackOff/.test((await k.status('a'))?.containerStatuses?.[0]?.state.waiting?.reason ?? ''),
    );
  });

  test('are told of the kubernetes service, static pods only once the kubelet has seen it', async () => {
    const say = { command: ['sh', '-c', 'echo "host=$KUBERNETES_SERVICE_HOST"; sleep 60'] };
    await k.cluster.server.end('SIGKILL');
    k.manifest('s.yaml', podManifest('s', one('sleep', say)));
    k.boot();
    await until(async () => (await k.running()).length === 1);
    await k.cluster.restart();
    await k.cluster.admin.request('POST', '/api/v1/namespaces/default/services', {
      metadata: { name: 'kubernetes' },
      spec: { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] },
    });
    await until(() => k.kubelet?.output().includes('source api read'));
    const pod = await k.createPod('a', one('sleep', say));
    const logs = join(k.node.dir, 'kubelet/log');
    const [sandbox] = await k.sandboxes('s-n1');
    const said = (name: string, uid: string | undefined) => readFileSync(join(logs, `kube-system_${name}_${uid}/main/0.log`), 'utf8');
    await until(() => said('a', pod.metadata.uid) === 'host=10.96.0.1\n');
    expect(said('s-n1', sandbox?.metadata?.uid)).toBe('host=\n');
  });

  test.each([
    ['waits for its lock', (lock: string) => spawn('flock', [lock, 'true'])],
    ['only opens its lock file', (lock: string) => spawn('cat', [lock])],
  ] as const)('exit of the kubelet with status 0 when somebody %s', async (_, contend) => {
    const lock = join(k.node.dir, 'kubelet.lock');
    k.boot(`--lock-file=${lock}`, '--exit-on-lock-contention');
    await until(() => k.kubelet?.output().includes('started'));
    // Its watch is a process of its own; it is there when that one reads.
    await until(() => watcherOf(lock));

    const contender = contend(lock);
    expect(await k.kubelet?.exited).toBe(0);
    await new Promise((resolve) => (contender.exitCode === null ? contender.once('exit', resolve) : resolve(undefined)));
    // It does not stay behind.
    await until(() => !watcherOf(lock));
  });
});

/** Whether a process watches the file: it has an inotify descriptor with a watch. */
function watcherOf(lock: string): boolean {
  return readdirSync('/proc').some((pid) => {
    try {
      const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      if (words[0] !== 'perl' || !words.includes(lock)) return false;
      return readdirSync(`/proc/${pid}/fdinfo`).some((fd) => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').includes('inotify wd:'));
    } catch {
      return false;
    }
  });
}
