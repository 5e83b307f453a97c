/**
 * From bootkube's pod-checkpointer, on a node that loses its power at the worst moments. Of the predecessor there is what it writes (in the form of its
 * binary), and a process in its place that takes the lock and does nothing else.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1Pod, V1Secret } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { apply, bootstrap } from '../../src/embedded/node/bootstrap.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';
import type { NodeProgram } from '../../src/embedded/node/programs.ts';
import { outagesBetween } from '../../src/embedded/node/readyz.ts';
import { readHistory } from '../../src/report/history.ts';
import { leave } from '../support/bootkube.ts';
import { CHECKPOINTER, deleteDaemonSet, EMBEDDED, QUICK } from './support/node.ts';

const CONTROL_PLANE = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const;
const DIRECTORIES = ['inactive-manifests', 'checkpoint-secrets', 'checkpoint-configmaps'];
const LOCK = 'run/lock/pod-checkpointer.lock';

describe("a node of bootkube's pod-checkpointer", () => {
  let root: string;
  let node: EmbeddedNode;
  let ours: NodeProgram | undefined;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'node-'));
    // It takes the lock as its predecessor does, in one process, and never gives it back.
    const checkpoint = ['sh', '-c', `exec 9>${join(root, LOCK)}; flock -x 9; exec sleep infinity`];
    node = await createNode({
      dir: root,
      embedded: EMBEDDED,
      checkpointer: CHECKPOINTER,
      checkpointerPod: false,
      portSharing: false,
      images: { 'registry.local/bootkube:*': { programs: { '/checkpoint': checkpoint }, entrypoint: ['/checkpoint'] } },
    });
    await node.powerOn();
    await bootstrap(node);
    await apply(node.api(), predecessorsDaemonSet());
    await node.waitFor('the predecessor works', async () => (await running()).includes('checkpoint'), 60_000);
    await (await whatItSaves())();
  }, 180_000);
  afterEach(({ task }) => {
    if (task.result?.state === 'fail')
      console.error(
        said()
          .slice(-80)
          .map(({ fields }) => JSON.stringify(fields))
          .join('\n'),
      );
  });
  afterAll(async () => {
    await node.destroy();
    rmSync(root, { recursive: true, force: true, maxRetries: 5 });
  });

  const running = async () => (await node.containers()).filter(({ state }) => state === 'running').map(({ container }) => container);
  const said = (): { msg: string; fields: Record<string, unknown> }[] =>
    node.timeline.all().flatMap((event) => {
      if (event.kind !== 'log' || event.program !== 'checkpointer' || !event.line.startsWith('{')) return [];
      const fields = JSON.parse(event.line) as Record<string, unknown>;
      return [{ msg: String(fields['msg']), fields }];
    });
  const startOurs = (): void => {
    ours = node.startCheckpointer(...QUICK, '--checkpoint-grace-period=5s');
  };

  const pods = async (): Promise<V1Pod[]> => {
    const { items } = (await node.api().request('GET', '/api/v1/namespaces/kube-system/pods')) as { items: V1Pod[] };
    return items.filter(({ metadata }) => metadata?.annotations?.['kubernetes.io/config.mirror'] === undefined);
  };

  /** What it has on the disk while all is well, as a function that puts it there: a manifest and the Secrets of each marked pod, its own active. */
  async function whatItSaves(): Promise<() => Promise<void>> {
    const all = await Promise.all(
      (await pods()).map(async (pod) => {
        const names = (pod.spec?.volumes ?? []).flatMap(({ secret }) => (secret?.secretName === undefined ? [] : [secret.secretName]));
        return { pod, secrets: Object.fromEntries(await Promise.all(names.map(async (name) => [name, await secretData(name)] as const))) };
      }),
    );
    const place = { base: node.layout.kubernetes, manifests: node.layout.manifests };
    return async () => {
      for (const { pod, secrets } of all)
        await leave(place, pod, { secrets, active: pod.metadata?.name?.startsWith('pod-checkpointer') === true });
    };
  }
  async function secretData(name: string): Promise<Record<string, string>> {
    const { data = {} } = (await node.api().request('GET', `/api/v1/namespaces/kube-system/secrets/${name}`)) as V1Secret;
    return Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value, 'base64').toString()]));
  }

  const left = (): string[] => DIRECTORIES.filter((name) => readdirSync(node.layout.kubernetes).includes(name));
  async function everythingOfItIsGone(): Promise<void> {
    await node.waitFor(
      "nothing of bootkube's is left, and nothing but the parents runs",
      async () => left().length === 0 && (await node.manifests()).length === 0,
      90_000,
    );
    expect((await running()).toSorted()).toEqual([...CONTROL_PLANE]);
  }
  async function powerOnWithOurs(): Promise<void> {
    const from = Date.now();
    await node.powerOn({ beforeKubelet: async () => startOurs() });
    await node.waitFor('/readyz answers', () => node.readyz.transitions().some(({ at, up }) => up && at >= from), 60_000);
  }
  async function powerOff(): Promise<void> {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
  }
  const provenOf = async () => {
    const { workloads } = await readStore(node.layout.checkpointDir);
    return [...workloads.values()].filter(({ stored }) => stored.proven !== undefined).map(({ workload }) => workload.name);
  };

  it('has one checkpointer at work: ours waits for the lock, says for whom, and touches nothing', async () => {
    const before = await Promise.all([node.manifests(), readdir(join(node.layout.kubernetes, 'inactive-manifests'))]);
    startOurs();
    const warned = await node.waitFor('it says for whom it waits', () => said().find(({ msg }) => msg.includes("bootkube's")));
    expect(warned.fields).toMatchObject({ manifest: expect.stringMatching(/kube-system-pod-checkpointer-[a-z0-9]+\.json$/) });
    expect(said().some(({ msg }) => msg === 'leading')).toBe(false);
    expect(await Promise.all([node.manifests(), readdir(join(node.layout.kubernetes, 'inactive-manifests'))])).toEqual(before);
    await ours?.end('SIGTERM');
  }, 60_000);

  it('that loses its power before anything of ours is stored comes back by what bootkube left; so it does a second time', async () => {
    await deleteDaemonSet(node, 'pod-checkpointer');
    await powerOff();
    await powerOnWithOurs();
    // All that was taken over, and nobody has run a parent yet that could have proven it.
    expect((await provenOf()).toSorted()).toEqual([...CONTROL_PLANE]);
    expect(said().filter(({ msg }) => msg === 'adopt')).toHaveLength(3);
    expect(left()).not.toEqual([]);
    await powerOff();
    await powerOnWithOurs();
  }, 180_000);

  it('ends with our copies alone: its checkpoints, their Secrets and its copy of itself are gone, and the history says so', async () => {
    await everythingOfItIsGone();
    expect((await provenOf()).toSorted()).toEqual([...CONTROL_PLANE]);
    const history = await readHistory(node.layout.checkpointDir);
    const taken = history.filter(({ milestones }) => milestones?.includes('TakenOver')).map(({ workload }) => workload);
    expect(taken.toSorted()).toEqual(CONTROL_PLANE.map((name) => `kube-system/DaemonSet/${name}`));
  }, 120_000);

  it('that loses its power while copies of bootkube run comes back with them, and they leave as ours would', async () => {
    const save = await whatItSaves();
    await powerOff();
    // Not while ours works, which would remove what it does not need.
    await save();
    const inactive = join(node.layout.kubernetes, 'inactive-manifests');
    for (const file of await readdir(inactive)) await copyFile(join(inactive, file), join(node.layout.manifests, file));
    // As if ours had never been there.
    await rm(node.layout.checkpointDir, { recursive: true });
    await powerOnWithOurs();
    const from = Date.now();
    expect((await node.manifests()).filter((file) => file.startsWith('pod-checkpointer.'))).toEqual([]);
    await everythingOfItIsGone();
    const outage = outagesBetween(node.readyz.transitions(), from, Date.now()).reduce(
      (sum, { from: a, to }) => sum + ((to ?? Date.now()) - a),
      0,
    );
    process.stdout.write(`\nbootkube's API server → its parent, exclusive port: ${outage} ms without /readyz\n`);
    expect(outage).toBeLessThanOrEqual(6_000);
  }, 180_000);

  it('that loses its power while a checkpoint is half removed comes back, and the rest is removed', async () => {
    const save = await whatItSaves();
    await powerOff();
    // Not while ours works, which would remove what it does not need.
    await save();
    const inactive = join(node.layout.kubernetes, 'inactive-manifests');
    for (const file of await readdir(inactive)) if (file.includes('kube-scheduler')) await rm(join(inactive, file));
    await mkdir(join(node.layout.kubernetes, 'checkpoint-configmaps/kube-system'), { recursive: true });
    await powerOnWithOurs();
    await everythingOfItIsGone();
  }, 180_000);

  function predecessorsDaemonSet() {
    const labels = { 'k8s-app': 'pod-checkpointer' };
    return {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: 'pod-checkpointer', namespace: 'kube-system' },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels, annotations: { 'checkpointer.alpha.coreos.com/checkpoint': 'true' } },
          spec: {
            hostNetwork: true,
            automountServiceAccountToken: false,
            terminationGracePeriodSeconds: 1,
            tolerations: [{ operator: 'Exists' }],
            containers: [
              {
                name: 'checkpoint',
                image: 'registry.local/bootkube:1',
                imagePullPolicy: 'IfNotPresent',
                command: ['/checkpoint', `--lock-file=${join(root, LOCK)}`],
              },
            ],
          },
        },
      },
    };
  }
});
