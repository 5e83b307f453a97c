/** What users of the API server saw, from the changes of its answers. Seconds, from the beginning of what is measured. */
export interface Change {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** /readyz says so. */
  readonly up: boolean;
  /** A request for an object gets it. */
  readonly answers: boolean;
  /** What was found instead of an answer. */
  readonly why?: string;
}

export interface Seen {
  /** Until it was ready for the first time; undefined where it never was. */
  readonly firstReady?: number;
  /** Later times when a new connection was not ready, one after the other. */
  readonly outages: readonly number[];
  readonly outage: number;
  /** Of these the times when a request was not answered either. */
  readonly unanswered: readonly number[];
  /** Until it was ready again after the last request that was not answered: from here on all were. Undefined where the end was an outage. */
  readonly served?: number;
  /** Until the end of the last outage: from here on everything was well. Undefined where the end was an outage. */
  readonly stable?: number;
}

/** Between `from` and `to`, milliseconds since the epoch. */
export function seenBetween(changes: readonly Change[], from: number, to: number): Seen {
  const before = changes.filter(({ at }) => at < from).at(-1)?.up === true;
  const within = changes.filter(({ at }) => at >= from && at < to);
  const first = before ? from : within.find(({ up }) => up)?.at;
  if (first === undefined) return { outages: [], outage: 0, unanswered: [] };
  const after = within.filter(({ at }) => at >= first);
  const gaps = gapsOf(after, ({ up }) => up, to);
  const unanswered = gapsOf(after, ({ answers }) => answers, to);
  const lastEnd = (of: readonly Gap[]): number | undefined => (of.length === 0 ? first : of.at(-1)?.ended);
  const stable = lastEnd(gaps);
  const served = lastEnd(
    gaps.filter((gap) => unanswered.some((other) => other.began <= (gap.ended ?? to) && gap.began <= (other.ended ?? to))),
  );
  return {
    firstReady: seconds(first - from),
    outages: gaps.map(({ ms }) => seconds(ms)),
    outage: seconds(gaps.reduce((sum, { ms }) => sum + ms, 0)),
    unanswered: unanswered.map(({ ms }) => seconds(ms)),
    ...(served !== undefined && { served: seconds(served - from) }),
    ...(stable !== undefined && { stable: seconds(stable - from) }),
  };
}

interface Gap {
  readonly began: number;
  readonly ms: number;
  /** Undefined: it lasts. */
  readonly ended?: number;
}

function gapsOf(changes: readonly Change[], well: (change: Change) => boolean, to: number): Gap[] {
  const gaps: Gap[] = [];
  let down: number | undefined;
  for (const change of changes) {
    if (!well(change)) down ??= change.at;
    else if (down !== undefined) {
      gaps.push({ began: down, ms: change.at - down, ended: change.at });
      down = undefined;
    }
  }
  return down === undefined ? gaps : [...gaps, { began: down, ms: to - down }];
}

function seconds(ms: number): number {
  return Math.round(ms / 10) / 100;
}
