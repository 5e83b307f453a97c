/**
 * Scrapes of the daemon's metrics as Prometheus makes them, recorded as input series for `promtool test rules`. One sample counts as one scrape interval,
 * however quickly they are taken: rules whose `for` is minutes are tried in seconds.
 */
export const INTERVAL_SECONDS = 30;

export interface Scrapes {
  /** Samples so far. */
  count(): number;
  /** Values of a series by sample, undefined where there was none. */
  values(series: string): readonly (number | undefined)[];
  /** The last scrape that was answered, as text. */
  text(): string;
  /** For `input_series`, those of which the name passes. */
  inputSeries(wanted: (name: string) => boolean): { readonly series: string; readonly values: string }[];
  stop(): Promise<void>;
}

export function recordScrapes(url: string, labels: { readonly job: string; readonly instance: string }, everyMs: number): Scrapes {
  const samples: ReadonlyMap<string, number>[] = [];
  let text = '';
  const target = `job="${labels.job}",instance="${labels.instance}"`;
  const ending = new AbortController();

  async function scrape(): Promise<ReadonlyMap<string, number>> {
    try {
      const answer = await fetch(url, { signal: AbortSignal.timeout(1_000) });
      const body = await answer.text();
      if (!answer.ok) throw new Error(body);
      text = body;
      return new Map([[`up{${target}}`, 1], ...parse(body, target)]);
    } catch {
      return new Map([[`up{${target}}`, 0]]);
    }
  }

  const recording = (async () => {
    while (!ending.signal.aborted) {
      const next = performance.now() + everyMs;
      samples.push(await scrape());
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - performance.now())));
    }
  })();

  const values = (series: string) => samples.map((sample) => sample.get(series));
  return {
    count: () => samples.length,
    values,
    text: () => text,
    inputSeries: (wanted) =>
      [...new Set(samples.flatMap((sample) => [...sample.keys()]))]
        .filter((series) => wanted(series.slice(0, series.indexOf('{'))))
        .map((series) => ({ series, values: notation(values(series)) })),
    async stop() {
      ending.abort();
      await recording;
    },
  };
}

/** A series that was there and is not there any more gets a staleness marker, as Prometheus writes it after a scrape that failed. */
function notation(values: readonly (number | undefined)[]): string {
  return values.map((value, i) => value ?? (values[i - 1] === undefined ? '_' : 'stale')).join(' ');
}

function parse(text: string, target: string): [string, number][] {
  return text.split('\n').flatMap((line): [string, number][] => {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) return [];
    const [, name, own, value] = match;
    return [[`${name}{${own === undefined ? '' : `${own},`}${target}}`, Number(value)]];
  });
}
