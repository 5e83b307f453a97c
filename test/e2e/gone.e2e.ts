/** What is taken away on purpose, and when its copies follow; with bootkube's own end-to-end tests among it. */
import { describe, expect, it } from 'vitest';
import { copiesOf, deletePod, deleteSet, reschedule, rolledOut, statusOf, unschedule } from './support/actions.ts';
import { daemonSet } from './support/control-plane.ts';
import { eventually } from './support/eventually.ts';
import { noMachine, onNode } from './support/scenario.ts';
import { settled } from './support/settled.ts';

const whole = { timeoutMs: 300_000, stored: true };

describe.skipIf(noMachine('what is taken away'))('on a single master', () => {
  const { node, measure } = onNode('exclusive', 'gone');
  const retired = async (name: 'kube-scheduler' | 'kube-controller-manager') =>
    (await statusOf(node(), name)) === undefined && (await copiesOf(node(), name)).length === 0;

  it('a DaemonSet deleted on purpose is retired, and comes back when it is made anew', async () => {
    const seen = await measure('DaemonSet of the scheduler deleted', async () => {
      await deleteSet(node(), 'kube-scheduler');
      await eventually(() => retired('kube-scheduler'), 240_000);
    });
    expect(seen.outages).toEqual([]);
    // By hand, as there is no scheduler to bind its pod.
    await node().kubectl(['create', '--filename=-'], JSON.stringify(bound(daemonSet('kube-scheduler', false))));
    await settled(node(), whole);
  });

  it('a node selector that no longer has the node retires the copy', async () => {
    const seen = await measure('node selector of the controller manager changed', async () => {
      await unschedule(node(), 'kube-controller-manager');
      await eventually(() => retired('kube-controller-manager'), 240_000);
    });
    expect(seen.outages).toEqual([]);
  });
});

describe.skipIf(noMachine("the predecessor's end-to-end tests"))("bootkube's end-to-end tests", () => {
  const { node, measure } = onNode('exclusive', 'gone');

  it('reboot: the control plane is back', async () => {
    await measure('reboot', async () => {
      await node().powerCut();
      await settled(node(), whole);
    });
  });

  it('API server deleted: its copy takes over until its pod is back', async () => {
    await measure('API server deleted', async () => {
      await deletePod(node(), 'kube-apiserver');
      await eventually(() => !node().isReady, 60_000);
      await settled(node(), whole);
    });
  });

  it('API server deleted and the master rebooted at once: both are back', async () => {
    await measure('API server deleted, reboot at once', async () => {
      await deletePod(node(), 'kube-apiserver');
      await node().powerCut();
      await settled(node(), whole);
    });
  });

  it('parent unscheduled while the master is off: its copy leaves after the reboot', async () => {
    await measure('parent unscheduled, reboot at once', async () => {
      await unschedule(node(), 'kube-scheduler');
      await node().powerCut();
      await eventually(() => node().isReady, 240_000);
      await eventually(async () => (await statusOf(node(), 'kube-scheduler')) === undefined, 300_000);
      expect(await copiesOf(node(), 'kube-scheduler')).toEqual([]);
    });
    await reschedule(node(), 'kube-scheduler');
    await node().kubectl(['patch', '--namespace=kube-system', 'daemonset', 'kube-scheduler', `--patch=${JSON.stringify(BOUND)}`]);
    await rolledOut(node(), 'kube-scheduler', () => true);
    await settled(node(), whole);
  });

  it('checkpointer unscheduled: every copy leaves, its own last; scheduled again it protects anew', async () => {
    const seen = await measure('checkpointer unscheduled', async () => {
      await unschedule(node(), 'pod-checkpointer');
      await eventually(async () => (await node().manifests()).length === 0, 300_000);
    });
    expect(seen.outages).toEqual([]);
    await reschedule(node(), 'pod-checkpointer');
    await settled(node(), whole);
  });
});

/** What a scheduler would do, as long as there is none. */
const BOUND = { spec: { template: { spec: { nodeName: 'node1' } } } };

function bound(set: ReturnType<typeof daemonSet>): object {
  return { ...set, spec: { ...set.spec, template: { ...set.spec?.template, spec: { ...set.spec?.template.spec, nodeName: 'node1' } } } };
}
