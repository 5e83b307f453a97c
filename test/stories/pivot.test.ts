/** A kubeadm-like control plane becomes self-hosted, lives as one, and goes back. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { readStore } from '../../src/checkpoint/store/read.ts';
import type { EmbeddedNode } from '../../src/embedded/node/node.ts';
import { COMPONENTS, type Component } from '../../src/pivot/component.ts';
import { SELF_HOSTED, selfHostedLabel } from '../../src/pivot/daemonset.ts';
import { workloadOf } from '../../src/pivot/execute.ts';
import { PIVOT_HISTORY } from '../../src/pivot/history.ts';
import { LEASE } from '../../src/pivot/lease.ts';
import { readHistory } from '../../src/report/history.ts';
import {
  begin,
  daemonSetOf,
  expectWorking,
  handedBack,
  isReady,
  journalOf,
  manifestPath,
  manifestsOf,
  masterOfStaticPods,
  podsOf,
  type Ran,
  run,
  setImage,
  staticPod,
} from '../support/pivot/node.ts';
import { setFaults } from './support/node.ts';
import { apiOutages, outageTable } from './support/outages.ts';

const LEASES = '/apis/coordination.k8s.io/v1/namespaces/kube-system/leases';
const table = outageTable('pivot, life and way back of a single master');

describe('a control plane of static pods', () => {
  let node: EmbeddedNode;
  let original: ReturnType<typeof manifestsOf>;
  let last: Ran | undefined;
  const did = async (command: 'pivot' | 'unpivot', ...args: string[]): Promise<Ran> => {
    last = await run(node, command, ...args);
    return last;
  };
  beforeAll(async () => {
    node = await masterOfStaticPods();
    original = manifestsOf(node);
    // Its static pods are Ready in the API a moment after it answers; before that, pivot finds something that is not healthy.
    await node.waitFor('nothing that speaks against a pivot', async () => (await did('pivot', '--dry-run')).code === 0, 60_000);
  }, 120_000);
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(last?.lines.join('\n'));
  });
  afterAll(() => node?.destroy());

  it('is shown what would be applied, and is not changed by that', async () => {
    const { code, lines } = await did('pivot', '--dry-run', '-o', 'yaml');
    expect(code).toBe(0);
    expect(lines.filter((line) => line === 'kind: DaemonSet')).toHaveLength(3);
    expect((await did('pivot', '--diff')).lines).toContain('DaemonSet kube-apiserver: is not there, would be made');
    expect(manifestsOf(node)).toEqual(original);
    expect(await journalOf(node)).toBeUndefined();
  }, 60_000);

  it('is not changed by way of a manifest that the kubelet does not read', async () => {
    const elsewhere = join(node.layout.root, 'kube-scheduler.yaml');
    writeFileSync(elsewhere, original['kube-scheduler']);
    const { code, lines } = await did('pivot', `--from=${elsewhere}`);
    expect(code).toBe(3);
    expect(lines.some((line) => line.includes(`${elsewhere} is not in the kubelet's directory ${node.layout.manifests}`))).toBe(true);
    expect(await journalOf(node)).toBeUndefined();
  }, 60_000);

  it('is not changed at all while another master is in the middle of its pivot', async () => {
    const lease = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name: LEASE, namespace: 'kube-system' },
      spec: { holderIdentity: 'master-2' },
    };
    await node.api().request('POST', LEASES, lease);
    const { code, lines } = await did('pivot');
    await node.api().request('DELETE', `${LEASES}/${LEASE}`);
    expect(code).toBe(3);
    expect(lines.some((line) => line.startsWith('fail') && line.includes('node master-2 is in the middle of a pivot'))).toBe(true);
    expect(manifestsOf(node)).toEqual(original);
    expect(await journalOf(node)).toBeUndefined();
  }, 60_000);

  it('becomes self-hosted', async () => {
    const outage = await apiOutages(node, async () => {
      expect((await did('pivot')).code).toBe(0);
    });
    table.row('pivot', outage);
    expect(outage.longest).toBeLessThan(5_000);
    expect((await node.manifests()).filter((file) => file.startsWith('kube-'))).toEqual([]);
    for (const component of COMPONENTS) expect((await podsOf(node, component)).filter(isReady)).toHaveLength(1);
    expect((await journalOf(node))?.place).toEqual({ state: 'healthy', done: 12 });
    await expectWorking(node, 'after-pivot');
  }, 300_000);

  it('is left as it is by a second pivot', async () => {
    expect((await did('pivot')).lines).toEqual(['This node is self-hosted already.']);
  }, 30_000);

  it('comes back from a power cut', async () => {
    await node.powerOff();
    await node.waitFor('/readyz is down', () => node.readyz.up() === false);
    const at = Date.now();
    await node.powerOn();
    await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
    const ready = Date.now() - at;
    const outage = await apiOutages(node, () => handedBack(node));
    table.row('power on to the hand-back', outage, `first /readyz after ${ready} ms`);
    await expectWorking(node, 'after-power-cut');
  }, 180_000);

  it.each<Component>([...COMPONENTS])(
    'rolls a new version of %s without an outage',
    async (component) => {
      const outage = await apiOutages(node, async () => {
        await setImage(node, component, `registry.local/${component}:v1.36.3`);
        await rolledOut(component, 'v1.36.3');
      });
      table.row(`upgrade of ${component}`, outage);
      await handedBack(node);
      await expectWorking(node, `after-${component}`);
    },
    180_000,
  );

  it.each<Component>(['kube-scheduler', 'kube-apiserver'])(
    'goes on with the old version of %s when the new one does not work',
    async (component) => {
      const outage = await apiOutages(node, async () => {
        await setImage(node, component, 'registry.local/crash:v1.36.4');
        await node.waitFor(
          'the new pod fails',
          async () => (await podsOf(node, component)).some((pod) => !isReady(pod) && image(pod)?.endsWith('v1.36.4')),
          60_000,
        );
        await expectWorking(node, `beside-a-bad-${component}`);
        await setImage(node, component, `registry.local/${component}:v1.36.3`);
        await rolledOut(component, 'v1.36.3');
      });
      table.row(`bad upgrade of ${component}, and back`, outage);
      await handedBack(node);
    },
    240_000,
  );

  it('goes back to static pods of the version that runs now', async () => {
    const outage = await apiOutages(node, async () => {
      expect((await did('unpivot')).code).toBe(0);
    });
    table.row('unpivot', outage);
    expect(outage.longest).toBeLessThan(5_000);
    for (const component of COMPONENTS) {
      const back = load(readFileSync(manifestPath(node, component), 'utf8'));
      const was = staticPod(node, component);
      const containers = was.spec?.containers.map((one) => ({ ...one, image: `registry.local/${component}:v1.36.3` }));
      expect(back).toMatchObject({ ...was, spec: { ...was.spec, containers } });
      expect(JSON.stringify(back)).not.toContain('permit-port-sharing');
      expect(await daemonSetOf(node, component)).toBeUndefined();
    }
    await expectWorking(node, 'after-unpivot');
  }, 300_000);

  it('comes back from a power cut as static pods alone, although its copies are kept', async () => {
    expect((await readStore(node.layout.checkpointDir)).retired.map(({ workload }) => workload.name)).toContain('kube-apiserver');
    await node.powerOff();
    await node.powerOn();
    await node.waitFor('/readyz answers again', () => node.readyz.up() === true, 60_000);
    await node.waitFor(
      'the static pods and the checkpointer are Ready',
      async () => {
        const pods = await podsOf(node);
        return pods.length === COMPONENTS.length + 2 && pods.every(isReady);
      },
      60_000,
    );
    expect((await node.manifests()).filter((file) => file.startsWith('pod-checkpointer.kube-system.kube-'))).toEqual([]);
    await expectWorking(node, 'static-after-power-cut');
  }, 180_000);

  describe('a second time, with its credentials in Secrets', () => {
    let before: ReturnType<typeof manifestsOf>;

    it('takes a step back that does not become healthy', async () => {
      before = manifestsOf(node);
      // Nobody makes the DaemonSet's pod.
      await setFaults(node, [{ kind: 'status', code: 403, user: 'system:kube-controller-manager', verb: 'create', resource: 'pods' }]);
      const { code, lines } = await did('pivot', '--credentials=secrets', '--step-timeout=15s');
      await setFaults(node, []);
      expect(code).toBe(1);
      expect(lines).toContain("        failed: not within 15 s (--step-timeout): the DaemonSet's pod to be made");
      expect(lines).toContain("[ 3/12] taken back: kube-apiserver: the node's pod leaves");
      expect((await journalOf(node))?.place).toEqual({ state: 'healthy', done: 2 });
      await expectWorking(node, 'failed');
    }, 120_000);

    it('takes back the step that is under way when it is told to stop', async () => {
      let told = false;
      const running = begin(node, 'pivot', ['--credentials=secrets'], (line) => {
        if (told || !line.includes('waiting') || !running.lines.some((said) => said.startsWith('[ 3/12]'))) return;
        told = true;
        running.kill('SIGINT');
      });
      last = await running.ended;
      expect(last.code).toBe(1);
      expect(last.lines).toContain("[ 3/12] taken back: kube-apiserver: the node's pod leaves");
      expect((await journalOf(node))?.place).toEqual({ state: 'healthy', done: 2 });
      await expectWorking(node, 'stopped');
    }, 120_000);

    it('goes on, and says who may read the Secrets', async () => {
      const { code, lines } = await did('pivot');
      expect(code).toBe(0);
      expect(lines).toContain('  name: rotate-control-plane-credentials');
      for (const component of COMPONENTS)
        expect(JSON.stringify(await daemonSetOf(node, component))).toContain(`"secretName":"${component}-credentials"`);
      await expectWorking(node, 'with-secrets');
    }, 240_000);

    it('keeps a new generation when a Secret is edited', async () => {
      const newest = async () =>
        (await readStore(node.layout.checkpointDir)).workloads.get(workloadOf('kube-scheduler'))?.stored.newest ?? 0;
      const generation = await newest();
      const conf = `${readFileSync(node.pki.schedulerConf, 'utf8')}# renewed\n`;
      const data = { 'scheduler.conf': Buffer.from(conf).toString('base64') };
      const path = '/api/v1/namespaces/kube-system/secrets/kube-scheduler-credentials';
      await node.api().request('PATCH', path, { data }, { contentType: 'application/merge-patch+json' });
      await node.waitFor('a new generation', async () => (await newest()) > generation, 30_000);
    }, 60_000);

    it('does not go back to files that the Secret has left behind', async () => {
      const refused = await did('unpivot');
      expect(refused.code).toBe(1);
      expect(refused.lines.at(-1)).toContain(`first write its scheduler.conf to ${node.pki.schedulerConf}`);
      expect((await journalOf(node))?.place).toEqual({ state: 'healthy', done: 12 });
      writeFileSync(node.pki.schedulerConf, `${readFileSync(node.pki.schedulerConf, 'utf8')}# renewed\n`);
    }, 60_000);

    it('goes back to what it was, byte for byte, and leaves a DaemonSet that another master uses', async () => {
      const other = {
        apiVersion: 'v1',
        kind: 'Node',
        metadata: { name: 'master-2', labels: { [selfHostedLabel('kube-scheduler')]: SELF_HOSTED } },
      };
      await node.api().request('POST', '/api/v1/nodes', other);
      expect((await did('unpivot')).code).toBe(0);
      expect(manifestsOf(node)).toEqual(before);
      expect(await daemonSetOf(node, 'kube-scheduler')).toBeDefined();
      expect(await daemonSetOf(node, 'kube-apiserver')).toBeUndefined();
      await node.api().request('DELETE', '/api/v1/nodes/master-2');
      await expectWorking(node, 'after-all');
    }, 240_000);
  });

  it('left its history', async () => {
    const history = await readHistory(node.layout.checkpointDir, PIVOT_HISTORY);
    expect(history.filter(({ message }) => message?.startsWith('a pivot begins'))).toHaveLength(2);
    expect(history.at(-1)?.message).toBe('kube-apiserver: the static pod as it was');
  });

  const image = (pod: Awaited<ReturnType<typeof podsOf>>[number]) => pod.spec?.containers[0]?.image;
  const rolledOut = (component: Component, version: string) =>
    node.waitFor(
      `${component} ${version} is rolled out`,
      async () => {
        const pods = await podsOf(node, component);
        return pods.length === 1 && pods.every((pod) => isReady(pod) && image(pod)?.endsWith(version));
      },
      120_000,
    );
});
