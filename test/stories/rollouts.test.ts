/** A single master rolls its own control plane: nobody is left to bind, to create or to answer while that happens. */
import { describe, expect, it } from 'vitest';
import { addFlag, type Component, hasArg, proven, rolledOut, selfHosted } from './support/node.ts';
import { apiOutages, healthOutages, type Measured, outageTable } from './support/outages.ts';

const table = outageTable('rolling updates on a single master, maxUnavailable: 1');
/** On a busy machine a second more for each program that starts. */
const START = 4_000;

describe.each([
  ['with an identity that reads owners', true],
  ['without one', false],
] as const)('a single master on an exclusive port, %s,', (identity, checkpointerAccount) => {
  const cluster = selfHosted({ checkpointerAccount });

  async function rollOut(name: Component): Promise<Measured> {
    const { node } = cluster();
    const flag = '--v=2';
    const story = async () => {
      await addFlag(node, name, flag);
      await rolledOut(node, name, hasArg(flag));
    };
    const { controllerManager, scheduler } = node.ports;
    const ports = { 'kube-controller-manager': controllerManager, 'kube-scheduler': scheduler };
    const outage =
      name === 'kube-controller-manager' || name === 'kube-scheduler'
        ? await healthOutages(ports[name], story)
        : await apiOutages(node, story);
    table.row(`${name}, ${identity}`, outage);
    await proven(node, name);
    return outage;
  }

  // Its old pod has left and nobody binds the new one before its copy does.
  it('rolls its scheduler', async () => {
    const { longest } = await rollOut('kube-scheduler');
    expect(longest).toBeLessThan(2_000 + 2 * START);
  }, 120_000);

  // Its old pod has left and nobody makes another one before its copy does.
  it('rolls its controller manager', async () => {
    const { longest } = await rollOut('kube-controller-manager');
    expect(longest).toBeLessThan(2_000 + 2 * START);
  }, 120_000);

  // --activate-after, the start of the copy, and the hand-back.
  it('rolls its API server', async () => {
    const { outages } = await rollOut('kube-apiserver');
    expect(Math.max(0, ...outages)).toBeLessThan(3_000 + 2 * START);
  }, 120_000);
});
