/** A kubelet that is a pod itself, marked like any other workload: after a power cut the host's kubelet starts its copy, and leaves for it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { install } from '../../src/embedded/demo/story.ts';
import { apply } from '../../src/embedded/node/bootstrap.ts';
import type { ManifestObject } from '../../src/embedded/node/control-plane.ts';
import { type Layout, layoutOf } from '../../src/embedded/node/layout.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';

const DIST = join(import.meta.dirname, '../../dist');
const EMBEDDED = [process.execPath, join(DIST, 'embedded.js')];

describe('a self-hosted kubelet', () => {
  let dir: string;
  let layout: Layout;
  let node: EmbeddedNode;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'kubelet-'));
    layout = layoutOf(dir);
    node = await createNode({
      dir,
      embedded: EMBEDDED,
      checkpointer: [process.execPath, join(DIST, 'checkpointer.js')],
      checkpointerFlags: ['--prove-after=2s', '--stable-for=2s', `--kubelet-lock-file=${layout.kubeletLockFile}`],
      kubeletFlags: ['--exit-on-lock-contention'],
      images: { 'registry.local/kubelet:*': { programs: { kubelet: [...EMBEDDED, 'kubelet'] }, entrypoint: ['kubelet'] } },
    });
    await install(node);
  }, 120_000);
  afterAll(async () => {
    await node.destroy();
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  });

  /** When the host's kubelet said that it leaves. */
  const hostLeft = (since: number) =>
    node.timeline
      .all()
      .find((event) => event.kind === 'log' && event.program === 'kubelet' && event.at >= since && event.line.includes('exiting'));
  const running = async () => (await node.containers()).filter(({ container, state }) => container === 'kubelet' && state === 'running');
  const copies = async () => (await node.manifests()).filter((file) => file.includes('.kubelet-ds-'));

  test('takes over from the host by contending for its lock, and has a proven copy', async () => {
    const since = Date.now();
    await apply(node.api(), kubelet(layout, node.name));
    await node.waitFor("the host's kubelet leaves", () => hostLeft(since));
    await node.waitFor('the pod runs', async () => (await running()).length === 1);
    await node.waitFor('its copy is proven', async () => {
      const { workloads } = await readStore(layout.checkpointDir);
      return [...workloads.values()].some(({ workload, stored }) => workload.name === 'kubelet' && stored.proven !== undefined);
    });
  }, 60_000);

  test('is started by its copy after a power cut: the host starts that one and leaves, and it hands over to the pod', async () => {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    const since = Date.now();
    await node.powerOn();
    await node.waitFor('the copy of the kubelet is active', async () => (await copies()).length === 1);
    await node.waitFor("the host's kubelet leaves", () => hostLeft(since));
    await node.waitFor('/readyz answers', () => node.readyz.up() === true, 60_000);
    await node.waitFor(
      'the copy has left, and the pod runs',
      async () => (await copies()).length === 0 && (await running()).length === 1,
      60_000,
    );
    const [{ pod } = { pod: '' }] = await running();
    expect(pod).toMatch(/^kubelet-[a-z0-9]{5}$/);
    // Opening the file is no harm any more: this one does not leave for it. (/proc/locks does not show every holder in a PID namespace.)
    expect(spawnSync('flock', ['-n', layout.kubeletLockFile, 'true']).status).toBe(1);
    // It works: what it is told over the API it does.
    await node.waitFor('the API says that it is Ready', async () => {
      const list = (await node.api().request('GET', '/api/v1/namespaces/kube-system/pods')) as {
        items: { metadata: { name: string }; status?: { conditions?: { type: string; status: string }[] } }[];
      };
      const found = list.items.find(({ metadata }) => metadata.name === pod);
      return found?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True');
    });
  }, 180_000);
});

/** As the host's, but that it waits for the lock: two that both leave for whoever comes would do so in turns for ever. */
function kubelet(layout: Layout, name: string): ManifestObject {
  const labels = { 'k8s-app': 'kubelet' };
  return {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: { name: 'kubelet', namespace: 'kube-system' },
    spec: {
      selector: { matchLabels: labels },
      template: {
        metadata: { labels, annotations: { 'checkpointer.alpha.coreos.com/checkpoint': 'true' } },
        spec: {
          hostNetwork: true,
          hostPID: true,
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 2,
          tolerations: [{ operator: 'Exists' }],
          containers: [
            {
              name: 'kubelet',
              image: 'registry.local/kubelet:v1',
              imagePullPolicy: 'IfNotPresent',
              securityContext: { privileged: true },
              args: [
                `--kubeconfig=${layout.kubeletConf}`,
                `--node-name=${name}`,
                `--pod-manifest-path=${layout.manifests}`,
                `--container-runtime-endpoint=unix://${layout.criSocket}`,
                `--root-dir=${layout.kubelet}`,
                `--pod-logs-dir=${layout.podLogs}`,
                `--boot-id-file=${layout.bootIdFile}`,
                `--lock-file=${layout.kubeletLockFile}`,
              ],
              volumeMounts: [{ name: 'host', mountPath: layout.root }],
            },
          ],
          volumes: [{ name: 'host', hostPath: { path: layout.root, type: 'Directory' } }],
        },
      },
    },
  };
}
