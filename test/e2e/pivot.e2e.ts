/** A control plane of static pods, those of kubeadm where there is one, becomes self-hosted on a real node, lives as one, and goes back. */
import { dirname, join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS, type Component } from '../../src/pivot/component.ts';
import { readDaemonLog } from './support/daemon-log.ts';
import { eventually } from './support/eventually.ts';
import { imageOf, PAUSE_IMAGE, REGISTRY } from './support/images.ts';
import { tagImage } from './support/kubeadm.ts';
import { NODE_NAME } from './support/layout.ts';
import { type Seen, seenBetween } from './support/outages.ts';
import { begin, type Line, manifestsOf, nodeOfStaticPods, type PivotNode, seenAtSteps, type Way, whyBetween } from './support/pivoting.ts';
import { load, remember } from './support/results.ts';
import { machineHere, noMachine, resultsFile } from './support/scenario.ts';
import { dsPods, isReadyPod, settled } from './support/settled.ts';

/** The one restart that gives the API server's static pod port sharing, or takes it away. Seconds. */
const RESTART_S = 5;
const COMMAND_MS = 600_000;

describe.skipIf(noMachine('pivot'))('a control plane of static pods', () => {
  let pivotNode: PivotNode;
  let original: Readonly<Record<string, string>>;
  let said: readonly Line[] = [];
  const rows: object[] = [];
  const node = () => pivotNode.node;

  beforeAll(async () => {
    pivotNode = await nodeOfStaticPods(machineHere(), 'pivot');
    original = await manifestsOf(node());
  }, 900_000);
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail' || pivotNode === undefined) return;
    console.error(said.map(({ at, text }) => `${new Date(at).toISOString()} ${text}`).join('\n'));
    console.error(await readDaemonLog(node(), 60));
  });
  afterAll(async () => {
    await pivotNode?.node.destroy();
    if (rows.length > 0) console.table(rows);
  });

  interface Measured extends Seen {
    /** Of the times without an answer those in the step that restarts the API server's static pod, and the others. */
    readonly restart: number;
    readonly otherwise: number;
  }

  async function measure(scenario: string, tell: () => Promise<unknown>): Promise<Measured> {
    const busy = load();
    const from = Date.now();
    said = [];
    await tell();
    const to = Date.now();
    const seen = seenBetween(node().changes, from, to);
    const atSteps = seenAtSteps(node(), said, to);
    for (const { step, outages, unanswered, why } of atSteps)
      if (outages.length > 0)
        console.log(`${step}: not ready ${outages.join(' ')}, unanswered ${unanswered.join(' ')} (${why.join('; ')})`);
    if (atSteps.length === 0) console.log(`${scenario}: ${whyBetween(node(), from, to).join('; ')}`);
    const restart = sum(atSteps.filter(({ step }) => step.startsWith('[ 1/')).flatMap(({ unanswered }) => unanswered));
    const otherwise = round(sum(seen.unanswered) - restart);
    const { manifestsBy } = pivotNode;
    const measured = { ...seen, restart, otherwise, took: Math.round((to - from) / 100) / 10 };
    rows.push({ scenario, restart, otherwise, notReady: seen.outages.join(' '), took: measured.took, load: busy, manifestsBy });
    remember(join(dirname(resultsFile()), 'pivot.json'), 'pivot', { scenario, manifestsBy, load: busy, ...measured });
    return measured;
  }
  const round = (s: number): number => Math.round(s * 100) / 100;
  const sum = (all: readonly number[]): number => round(all.reduce((total, one) => total + one, 0));

  async function checkpointer(way: Way): Promise<void> {
    const from = Object.keys(original).map((name) => `/etc/kubernetes/manifests/${name}`);
    const { code, lines } = await begin(pivotNode, way, from.some((file) => file.endsWith('.json')) ? from : []).ended;
    said = lines;
    expect(code).toBe(0);
  }

  const versionOf = (tag: string) => (component: Component) => `${REGISTRY}/${component}:${tag}`;
  const next = versionOf('v1.36.3');
  const setImage = (component: Component, image: string): Promise<string> =>
    node().kubectl(['--namespace=kube-system', 'set', 'image', `daemonset/${component}`, `${component}=${image}`]);
  const imageNow = async (component: Component): Promise<string> =>
    (await dsPods(node(), component)).find(isReadyPod)?.spec?.containers[0]?.image ?? '';
  const rolledOut = (component: Component, image: string): Promise<boolean> =>
    eventually(async () => {
      const pods = await dsPods(node(), component);
      return pods.length === 1 && pods.every((pod) => isReadyPod(pod) && pod.spec?.containers[0]?.image === image);
    }, 240_000);

  it(
    'becomes self-hosted with one restart',
    async () => {
      const seen = await measure('pivot', () => checkpointer('pivot'));
      expect(seen.restart).toBeLessThanOrEqual(RESTART_S);
      expect(seen.otherwise).toBe(0);
      expect(await manifestsOf(node())).toEqual({});
      await settled(node(), { timeoutMs: 240_000 });
    },
    COMMAND_MS,
  );

  it('comes back from a power cut', async () => {
    await measure('power cut', async () => {
      await node().powerCut();
      await settled(node(), { timeoutMs: 240_000 });
    });
  });

  it.each<Component>([...COMPONENTS])('rolls a new version of %s without an outage', async (component) => {
    await tagImage(node(), imageOf(component), next(component));
    const seen = await measure(`upgrade of ${component}`, async () => {
      await setImage(component, next(component));
      await rolledOut(component, next(component));
    });
    expect(seen.unanswered).toEqual([]);
    await settled(node(), { timeoutMs: 240_000 });
  });

  it.each<Component>([...COMPONENTS])('goes on with the old version of %s when the new one does not work', async (component) => {
    const broken = versionOf('v1.36.4')(component);
    const good = await imageNow(component);
    await tagImage(node(), PAUSE_IMAGE, broken);
    const seen = await measure(`bad upgrade of ${component}, and back`, async () => {
      await setImage(component, broken);
      await eventually(async () => (await dsPods(node(), component)).some((pod) => hasFailed(pod, broken)), 120_000);
      expect(await imageNow(component)).toBe(good);
      await setImage(component, good);
      await rolledOut(component, good);
    });
    expect(seen.unanswered).toEqual([]);
    await settled(node(), { timeoutMs: 240_000 });
  });

  it('comes back from a power cut in the middle of a bad upgrade, with the old version', async () => {
    const component = 'kube-apiserver';
    const [good, broken] = [await imageNow(component), versionOf('v1.36.4')(component)];
    await measure('power cut in the middle of a bad upgrade', async () => {
      await setImage(component, broken);
      await eventually(async () => (await dsPods(node(), component)).some((pod) => hasFailed(pod, broken)), 120_000);
      await node().powerCut();
      await eventually(async () => (await imageNow(component)) === good, 240_000);
    });
    await setImage(component, good);
    await rolledOut(component, good);
    await settled(node(), { timeoutMs: 240_000 });
  });

  /** More than that it has not started yet. */
  const hasFailed = ({ spec, status }: V1Pod, image: string): boolean => {
    const [{ state, lastState } = {}] = status?.containerStatuses ?? [];
    const reason = state?.waiting?.reason ?? state?.terminated?.reason ?? lastState?.terminated?.reason ?? 'ContainerCreating';
    return spec?.containers[0]?.image === image && reason !== 'ContainerCreating';
  };

  it(
    'goes back, with one restart, to the version that runs now',
    async () => {
      const seen = await measure('unpivot', () => checkpointer('unpivot'));
      expect(seen.restart).toBeLessThanOrEqual(RESTART_S);
      expect(seen.otherwise).toBe(0);
      const back = await manifestsOf(node());
      expect(Object.keys(back)).toEqual(Object.keys(original));
      for (const text of Object.values(back)) {
        expect(text).toContain('v1.36.3');
        expect(text).not.toContain('permit-port-sharing');
      }
      expect(await node().kubectl(['get', 'nodes', '--output=name'])).toContain(NODE_NAME);
    },
    COMMAND_MS,
  );
});
