/**
 * /livez and /readyz, in the form of Kubernetes' own components. Alive is a daemon whose loop turns; an API server that is away, a disk that takes its
 * time for one save, or another daemon that leads are no reason to end it. Pure.
 */
import type { Millis } from '../checkpoint/model.ts';

export interface Pulse {
  readonly role: 'waiting' | 'leading';
  /** When this role began, on the monotonic clock. */
  readonly since: Millis;
  /** When the loop last turned; undefined before the first time. */
  readonly lastTurn: Millis | undefined;
}

export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

/** The loop turns every 30 s on a quiet node; what it waits for has deadlines of at most 10 s. After this long without a turn something hangs. */
export const STUCK: Millis = 60_000;

export function livez(pulse: Pulse, now: Millis): Check[] {
  return [{ name: 'ping', ok: true }, loop(pulse, now)];
}

export function readyz(pulse: Pulse, now: Millis): Check[] {
  const decided = pulse.role === 'waiting' || pulse.lastTurn !== undefined;
  return [
    ...livez(pulse, now),
    { name: 'leader', ok: true, detail: pulse.role === 'waiting' ? 'waiting: another checkpointer leads on this node' : 'leading' },
    { name: 'first-decision', ok: decided, ...(decided ? {} : { detail: 'nothing has been decided yet' }) },
  ];
}

function loop({ role, since, lastTurn }: Pulse, now: Millis): Check {
  if (role === 'waiting') return { name: 'loop', ok: true };
  const age = now - (lastTurn ?? since);
  return age <= STUCK ? { name: 'loop', ok: true } : { name: 'loop', ok: false, detail: `no turn for ${Math.round(age / 1000)} s` };
}

export interface HealthAnswer {
  readonly code: 200 | 500;
  readonly text: string;
}

/** `ok`, or with `verbose` (and where a check fails) a line for each check. */
export function healthAnswer(name: 'livez' | 'readyz', checks: readonly Check[], verbose: boolean): HealthAnswer {
  const failed = checks.some(({ ok }) => !ok);
  if (!failed && !verbose) return { code: 200, text: 'ok' };
  const lines = checks.map(
    ({ name, ok, detail }) => `[${ok ? '+' : '-'}]${name} ${ok ? 'ok' : 'failed'}${detail === undefined ? '' : `: ${detail}`}\n`,
  );
  return { code: failed ? 500 : 200, text: `${lines.join('')}${name} check ${failed ? 'failed' : 'passed'}\n` };
}
