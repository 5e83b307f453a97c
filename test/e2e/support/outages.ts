/** What users of the API server saw, from the changes of its readiness. Seconds, from the beginning of what is measured. */
export interface Change {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly up: boolean;
  /** What was found instead of an answer. */
  readonly why?: string;
}

export interface Seen {
  /** Until the first answer; undefined where there was none. */
  readonly firstReady?: number;
  /** Later times without an answer, one after the other. */
  readonly outages: readonly number[];
  readonly outage: number;
  /** Until the end of the last outage: from here on everything was well. Undefined where the end was an outage. */
  readonly stable?: number;
}

/** Between `from` and `to`, milliseconds since the epoch. */
export function seenBetween(changes: readonly Change[], from: number, to: number): Seen {
  const before = changes.filter(({ at }) => at < from).at(-1)?.up === true;
  const within = changes.filter(({ at }) => at >= from && at < to);
  const first = before ? from : within.find(({ up }) => up)?.at;
  if (first === undefined) return { outages: [], outage: 0 };
  const outages: number[] = [];
  let [down, stable]: [number | undefined, number | undefined] = [undefined, first];
  for (const { at, up } of within.filter((change) => change.at >= first)) {
    if (!up) [down, stable] = [down ?? at, undefined];
    else if (down !== undefined) {
      outages.push(seconds(at - down));
      [down, stable] = [undefined, at];
    }
  }
  if (down !== undefined) outages.push(seconds(to - down));
  return {
    firstReady: seconds(first - from),
    outages,
    outage: seconds(outages.reduce((sum, one) => sum + one * 1000, 0)),
    ...(stable !== undefined && { stable: seconds(stable - from) }),
  };
}

function seconds(ms: number): number {
  return Math.round(ms / 10) / 100;
}
