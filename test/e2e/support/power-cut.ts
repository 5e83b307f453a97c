/** A power cut of a node at rest, or the power on after one, measured from outside until it is at rest again. Seconds after power on. */
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../../support/until.ts';
import { eventually } from './eventually.ts';
import type { RealNode } from './node.ts';
import { seenBetween } from './outages.ts';
import { activeCopies, settled } from './settled.ts';
import type { State } from './states.ts';

/** After the node has come to rest: as long as something could still happen that belongs to the boot. */
const QUIET_MS = 3_000;

export interface Recovery {
  readonly firstReady: number;
  /** When a new connection was not ready after the first one that was, one after the other, and their sum. */
  readonly outages: readonly number[];
  readonly outage: number;
  /** Of these the times when a request was not answered either. */
  readonly unanswered: readonly number[];
  /** From here on every request was answered. */
  readonly served: number;
  /** From here on every new connection was ready. */
  readonly stable: number;
  /** From here on no copy was active. */
  readonly handedBack?: number;
}

export async function recoverFromPowerCut(node: RealNode, state: State): Promise<Recovery> {
  const at = await node.powerCut();
  let handedBack: number | undefined;
  if (state === 'static') {
    await eventually(() => node.isReady, 180_000);
    await sleep(10_000);
  } else {
    // The API server answers before its copy leaves; before that there may be no copy yet.
    await until(async () => node.isReady && (await activeCopies(node, daemonOf(state))).length === 0, 240_000);
    handedBack = Math.round((Date.now() - at) / 10) / 100;
    await settled(node, { daemon: daemonOf(state), timeoutMs: 240_000, stored: state !== 'bootkube' });
    await sleep(QUIET_MS);
  }
  const { firstReady, outages, outage, unanswered, served, stable } = seenBetween(node.changes, at, Date.now());
  if (firstReady === undefined || served === undefined || stable === undefined) throw new Error('the API server does not answer any more');
  return { firstReady, outages, outage, unanswered, served, stable, ...(handedBack !== undefined && { handedBack }) };
}

export function daemonOf(state: State): string {
  return state === 'bootkube' ? 'bootkube' : 'pod-checkpointer';
}
