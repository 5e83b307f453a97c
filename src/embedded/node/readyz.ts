/** Asks an API server's /readyz again and again and notes when it was up: what a user of the cluster sees of an outage. */
import * as https from 'node:https';

export interface Outage {
  /** Milliseconds since the epoch. */
  readonly from: number;
  /** Undefined while it lasts. */
  readonly to: number | undefined;
}

export interface ReadyzPoller {
  /** What the last question got; undefined before the first. */
  up(): boolean | undefined;
  /** Changes so far: `up` from `at` on. */
  transitions(): readonly { readonly at: number; readonly up: boolean }[];
  stop(): void;
}

const PERIOD_MS = 50;
const TIMEOUT_MS = 1000;

/** Each question has a connection of its own, so that it meets whichever server listens now. A transition is dated when its question was asked. */
export function pollReadyz(port: number, ca: string, changed: (up: boolean, at: number) => void): ReadyzPoller {
  const transitions: { at: number; up: boolean }[] = [];
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  const ask = async () => {
    const at = Date.now();
    const up = await isReady(port, ca);
    if (stopped) return;
    if (transitions.at(-1)?.up !== up) {
      transitions.push({ at, up });
      changed(up, at);
    }
    timer = setTimeout(() => void ask(), PERIOD_MS);
  };
  void ask();
  return {
    up: () => transitions.at(-1)?.up,
    transitions: () => transitions,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

export function isReady(port: number, ca: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = https.get({ host: '127.0.0.1', port, path: '/readyz', ca, agent: false, timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode === 200));
      response.on('error', () => resolve(false));
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

/** Times within [from, to] in which it was not up, from the first time that it was up there. All in milliseconds since the epoch. */
export function outagesBetween(transitions: readonly { readonly at: number; readonly up: boolean }[], from: number, to: number): Outage[] {
  const outages: Outage[] = [];
  let downSince: number | undefined;
  let wasUp = false;
  for (const { at, up } of transitions) {
    if (at < from || at > to) continue;
    if (up) {
      if (downSince !== undefined) outages.push({ from: downSince, to: at });
      downSince = undefined;
      wasUp = true;
    } else if (wasUp) downSince = at;
  }
  if (downSince !== undefined) outages.push({ from: downSince, to: undefined });
  return outages;
}
