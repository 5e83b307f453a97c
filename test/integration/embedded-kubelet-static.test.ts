import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isReadySandbox, type KubeletTest, kubeletTest, one, podManifest } from '../support/embedded-node/kubelet.ts';
import { until } from '../support/until.ts';

describe('static pods of the embedded kubelet', () => {
  let k: KubeletTest;
  beforeEach(async () => {
    k = await kubeletTest();
  });
  afterEach(() => k.stop());

  test('run without an API server; every file is parsed whatever its ending, dot files and directories are not', async () => {
    await k.cluster.server.end('SIGKILL');
    k.manifest('a.json', podManifest('a', one('sleep'), { labels: { app: 'a' }, annotations: { note: 'kept' } }));
    k.manifest('.b.yaml', podManifest('b', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).includes('a-n1 main'));
    k.manifest(
      'c.backup',
      'apiVersion: v1\nkind: Pod\nmetadata: {name: c}\nspec: {containers: [{name: main, image: registry.local/sleep}]}\n',
    );
    await until(async () => (await k.running()).includes('c-n1 main'));
    expect(await k.running()).toEqual(['a-n1 main', 'c-n1 main']);
    const [sandbox] = await k.sandboxes('a-n1');
    expect(sandbox?.labels).toMatchObject({ app: 'a', 'io.kubernetes.pod.namespace': 'kube-system' });
    expect(sandbox?.annotations).toMatchObject({ note: 'kept', 'kubernetes.io/config.source': 'file' });
    expect(sandbox?.labels['io.kubernetes.pod.uid']).toBe(sandbox?.annotations['kubernetes.io/config.hash']);
  });

  test('that name a Secret are refused and never run; the log says why', async () => {
    k.manifest('a.yaml', podManifest('a', { ...one('sleep'), volumes: [{ name: 'v', secret: { secretName: 's' } }] }));
    k.manifest('b.yaml', podManifest('b', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).length > 0);
    expect(await k.running()).toEqual(['b-n1 main']);
    expect(k.kubelet?.output()).toMatch(/a\.yaml: static pods may not reference secrets/);
  });

  test('go on when their manifest is removed before the kubelet has seen the API server, and end once it has', async () => {
    await k.cluster.server.end('SIGKILL');
    k.manifest('a.yaml', podManifest('a', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).includes('a-n1 main'));
    k.manifest('a.yaml', undefined);
    await until(() => k.kubelet?.output().includes('it goes on running'));
    expect(await k.running()).toEqual(['a-n1 main']);
    await k.cluster.restart();
    await until(async () => (await k.running()).length === 0);
  });

  test('are replaced by another of the same name only after they have terminated', async () => {
    await k.cluster.server.end('SIGKILL');
    k.manifest('a.yaml', podManifest('a', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).length === 1);
    const [old] = await k.sandboxes('a-n1');
    k.manifest('a.yaml', podManifest('a', one('sleep'), { annotations: { changed: 'yes' } }));
    await until(() => k.kubelet?.output().includes('it goes on running'));
    expect((await k.sandboxes('a-n1')).map(({ id }) => id)).toEqual([old?.id]);
    await k.cluster.restart();
    await until(async () => (await k.sandboxes('a-n1')).some((sandbox) => isReadySandbox(sandbox) && sandbox.id !== old?.id));
    await until(async () => (await k.running()).length === 1);
    expect((await k.sandboxes('a-n1')).filter(isReadySandbox)).toHaveLength(1);
  });

  test('go on, until the whole directory is read again, when their file gets a pod of another name, and when that file is removed', async () => {
    k.manifest('a.yaml', podManifest('a', one('sleep')));
    k.boot();
    await until(() => k.kubelet?.output().includes('source api read'));
    await until(async () => (await k.running()).includes('a-n1 main'));
    k.manifest('a.yaml', podManifest('b', one('sleep')));
    await until(async () => (await k.running()).includes('b-n1 main'));
    expect(await k.running()).toEqual(['a-n1 main', 'b-n1 main']);
    k.manifest('a.yaml', undefined);
    await until(async () => (await k.running()).length === 1);
    expect(await k.running()).toEqual(['a-n1 main']);
  });

  test('start again when the same manifest comes back while they still end', async () => {
    const manifest = podManifest('a', {
      terminationGracePeriodSeconds: 3,
      ...one('sleep', { command: ['sh', '-c', 'trap "sleep 1; exit" TERM; sleep 60 & wait'] }),
    });
    k.manifest('a.yaml', manifest);
    k.boot();
    await until(async () => (await k.status('a-n1'))?.phase === 'Running');
    const [old] = await k.sandboxes('a-n1');
    k.manifest('a.yaml', undefined);
    await until(() => k.kubelet?.output().includes('stopping its containers'));
    k.manifest('a.yaml', manifest);
    await until(async () => (await k.sandboxes('a-n1')).some((sandbox) => isReadySandbox(sandbox) && sandbox.id !== old?.id), 10_000);
    await until(async () => (await k.running()).length === 1);
    expect((await k.sandboxes('a-n1')).every(({ metadata }) => metadata?.uid === old?.metadata?.uid)).toBe(true);
  });

  test('have a mirror in the API that comes back when it is deleted and goes with the manifest', async () => {
    k.boot();
    // A mirror that comes and goes before the kubelet reads its pods is missed until the next resync, as by a real one.
    await until(() => k.kubelet?.output().includes('source api read'));
    k.manifest('a.yaml', podManifest('a', one('sleep')));
    await until(async () => (await k.status('a-n1'))?.phase === 'Running');
    const mirror = await k.pod('a-n1');
    expect(mirror?.metadata.annotations?.['kubernetes.io/config.mirror']).toBe(mirror?.metadata.annotations?.['kubernetes.io/config.hash']);
    expect(mirror?.metadata.ownerReferences).toMatchObject([{ kind: 'Node', name: 'n1', controller: true }]);
    await k.cluster.admin.request('DELETE', '/api/v1/namespaces/kube-system/pods/a-n1', { gracePeriodSeconds: 0 });
    await until(async () => {
      const again = await k.pod('a-n1');
      return again !== undefined && again.metadata.uid !== mirror?.metadata.uid;
    });
    expect(await k.running()).toEqual(['a-n1 main']);
    k.manifest('a.yaml', undefined);
    await until(async () => (await k.pod('a-n1')) === undefined);
    await until(async () => (await k.running()).length === 0);
  });

  test('that are rejected for a host port stay so after it is free; a changed manifest is tried again', async () => {
    const spec = { hostNetwork: true, containers: [{ name: 'main', image: 'registry.local/sleep', ports: [{ containerPort: 7001 }] }] };
    k.manifest('a.yaml', podManifest('a', spec));
    k.manifest('b.yaml', podManifest('b', spec));
    k.boot();
    await until(() => k.kubelet?.output().includes('b-n1'));
    await until(async () => (await k.running()).length === 1);
    expect(k.kubelet?.output()).toMatch(/kube-system\/b-n1 .* rejected: NodePorts/);
    k.manifest('a.yaml', undefined);
    await until(async () => (await k.running()).length === 0);
    k.manifest('c.yaml', podManifest('c', one('sleep')));
    await until(async () => (await k.running()).includes('c-n1 main'));
    expect(await k.sandboxes('b-n1')).toEqual([]);
    k.manifest('b.yaml', podManifest('b', spec, { annotations: { again: 'yes' } }));
    await until(async () => (await k.running()).includes('b-n1 main'));
  });

  test('start again after a power cut, in a new sandbox, as the next attempt', async () => {
    k.manifest('a.yaml', podManifest('a', one('sleep')));
    k.boot();
    await until(async () => (await k.running()).length === 1);
    await k.node.powerOff();
    k.boot();
    await until(async () => (await k.running()).length === 1);
    const sandboxes = await k.sandboxes('a-n1');
    expect(sandboxes.map((sandbox) => [sandbox.metadata?.attempt, isReadySandbox(sandbox)]).sort()).toEqual([
      [0, false],
      [1, true],
    ]);
    expect((await k.containers('a-n1')).map(({ metadata }) => metadata?.attempt).sort()).toEqual([0, 1]);
  });
});
