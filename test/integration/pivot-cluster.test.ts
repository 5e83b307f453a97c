/** What a pivot asks of a real (embedded) API server: the lease that keeps masters apart, and the deployment of the checkpointer. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cluster, ClusterError, connectCluster } from '../../src/pivot/cluster.ts';
import { SELF_HOSTED, selfHostedLabel, toDaemonSet } from '../../src/pivot/daemonset.ts';
import { deploy, deployables } from '../../src/pivot/deploy.ts';
import { LEASE, leaseHolder, releaseLease, takeLease } from '../../src/pivot/lease.ts';
import { readVersions } from '../../src/pivot/read-versions.ts';
import { type ApiClient, createApiClient } from '../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { startCluster, type TestCluster } from '../support/embedded/cluster.ts';
import { kubeadmPod } from '../support/pivot/kubeadm.ts';

let server: TestCluster;
let client: ApiClient;
let cluster: Cluster;
beforeAll(async () => {
  server = await startCluster();
  client = createApiClient(await loadKubeconfig(server.pki.adminConf));
  cluster = connectCluster(client, new AbortController().signal);
}, 60_000);
afterAll(async () => {
  client?.close();
  await server?.stop();
});

const now = new Date('2026-11-21T15:41:04Z');

describe('the lease of a pivot', () => {
  it('is had by one node at a time, again by the same one, and by the next when it was given back', async () => {
    await takeLease(cluster, 'master-1', now);
    await takeLease(cluster, 'master-1', now);
    await expect(takeLease(cluster, 'master-2', now)).rejects.toThrow(`node master-1 is in the middle of a pivot`);
    await expect(takeLease(cluster, 'master-2', now)).rejects.toThrow(`kubectl -n kube-system delete lease ${LEASE}`);
    await releaseLease(cluster, 'master-2');
    expect(await leaseHolder(cluster)).toBe('master-1');
    await releaseLease(cluster, 'master-1');
    await takeLease(cluster, 'master-2', now);
    expect(await leaseHolder(cluster)).toBe('master-2');
    await releaseLease(cluster, 'master-2');
  });

  it('is had by one of two that take it at once', async () => {
    const taken = await Promise.allSettled(['master-1', 'master-2'].map((node) => takeLease(cluster, node, now)));
    expect(taken.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await cluster.deleteLease(LEASE);
  });
});

describe('what a pivot tells the API server', () => {
  it('are labels, which say what nodes are assigned', async () => {
    await server.admin.request('POST', '/api/v1/nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'master-1', labels: { other: 'stays' } },
    });
    await cluster.label('master-1', selfHostedLabel('kube-scheduler'), SELF_HOSTED);
    expect(await cluster.assigned('kube-scheduler')).toEqual(['master-1']);
    expect(await cluster.assigned('kube-apiserver')).toEqual([]);
    await cluster.label('master-1', selfHostedLabel('kube-scheduler'), null);
    expect((await cluster.node('master-1'))?.metadata?.labels).toEqual({ other: 'stays' });
  });

  it('are DaemonSets, which can be tried before they are made', async () => {
    const outcome = toDaemonSet('kube-scheduler', kubeadmPod('kube-scheduler', { nodeIP: '10.0.0.10', minor: 36 }), {
      name: 'master-1',
      hostIP: '10.0.0.10',
    });
    if (outcome.kind === 'refused') throw new Error('a DaemonSet was expected');
    await cluster.createDaemonSet(outcome.daemonSet, true);
    expect(await cluster.daemonSet('kube-scheduler')).toBeUndefined();
    expect((await cluster.createDaemonSet(outcome.daemonSet)).metadata?.uid).toBeDefined();
    await cluster.deleteDaemonSet('kube-scheduler');
    await cluster.deleteDaemonSet('kube-scheduler');
    expect(await cluster.daemonSet('kube-scheduler')).toBeUndefined();
  });

  it('needs an administrator, and says so', async () => {
    const node = createApiClient(await loadKubeconfig(server.pki.kubeletConf));
    const asNode = connectCluster(node, new AbortController().signal);
    await expect(asNode.daemonSet('kube-scheduler')).rejects.toThrow(/give an administrator's --kubeconfig/);
    await expect(asNode.daemonSet('kube-scheduler')).rejects.toBeInstanceOf(ClusterError);
    node.close();
  });
});

describe('the versions of a self-hosted control plane', () => {
  it('are read with what the checkpointer may read: images of the DaemonSet and of the pod that is Ready, and of the kubelet', async () => {
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' }, status: { nodeInfo: { kubeletVersion: 'v1.36.1' } } };
    await server.admin.request('POST', '/api/v1/nodes', node);
    const outcome = toDaemonSet('kube-scheduler', kubeadmPod('kube-scheduler', { nodeIP: '10.0.0.10', minor: 36 }), {
      name: 'n1',
      hostIP: '10.0.0.10',
    });
    if (outcome.kind === 'refused') throw new Error('a DaemonSet was expected');
    const set = await cluster.createDaemonSet(outcome.daemonSet);
    const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'kube-scheduler', uid: set.metadata?.uid, controller: true };
    for (const [name, tag, ready] of [
      ['old', 'v1.35.9', 'True'],
      ['new', 'v1.36.2', 'False'],
    ] as const) {
      const containers = [{ name: 'kube-scheduler', image: `registry.k8s.io/kube-scheduler:${tag}` }];
      const pod = {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace: 'kube-system', ownerReferences: [owner] },
        spec: { nodeName: 'n1', containers },
      };
      await server.admin.request('POST', '/api/v1/namespaces/kube-system/pods', pod);
      const status = { conditions: [{ type: 'Ready', status: ready }] };
      await server.admin.request(
        'PATCH',
        `/api/v1/namespaces/kube-system/pods/${name}/status`,
        { status },
        { contentType: 'application/strategic-merge-patch+json' },
      );
    }
    const [asNode, asOwners] = [await loadKubeconfig(server.pki.kubeletConf), await loadKubeconfig(server.pki.adminConf)];
    expect(await readVersions(asNode, asOwners, 'n1', 5_000)).toEqual({
      wanted: new Map([['kube-scheduler', 'registry.k8s.io/kube-scheduler:v1.36.2']]),
      running: new Map([['kube-scheduler', 'registry.k8s.io/kube-scheduler:v1.35.9']]),
      kubelet: 'v1.36.1',
    });
    await cluster.deleteDaemonSet('kube-scheduler');
  });
});

describe('the checkpointer', () => {
  const text = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: pod-checkpointer, namespace: kube-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: kube-system}
---
`;

  it('is deployed from its manifest; what is there stays as it is', async () => {
    const signal = new AbortController().signal;
    expect(await deploy(client, deployables(text, 'x.yaml'), signal)).toEqual(['ServiceAccount pod-checkpointer', 'ConfigMap settings']);
    expect(await deploy(client, deployables(text, 'x.yaml'), signal)).toEqual([]);
  });

  it('is not deployed from a manifest with something else in it', () => {
    const more = `${text}apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n`;
    expect(() => deployables(more, 'x.yaml')).toThrow('x.yaml: Namespace other cannot be deployed here');
  });
});
