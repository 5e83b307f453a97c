/** What each story cost, measured from outside of the node: one table for each file, printed at its end. Times in milliseconds. */
import { request } from 'node:http';
import { afterAll } from 'vitest';
import type { EmbeddedNode } from '../../../src/embedded/node/node.ts';
import { outagesBetween } from '../../../src/embedded/node/readyz.ts';

export interface Measured {
  /** Times without an answer, one after the other. */
  readonly outages: readonly number[];
  readonly longest: number;
  readonly sum: number;
  readonly took: number;
}

type Transitions = readonly { readonly at: number; readonly up: boolean }[];

/** The outages that users of the API server saw from the beginning of what is done until its end. */
export async function apiOutages(node: EmbeddedNode, story: () => Promise<void>): Promise<Measured> {
  return measured(() => node.readyz.transitions(), story);
}

async function measured(transitions: () => Transitions, story: () => Promise<void>): Promise<Measured> {
  const from = Date.now();
  await story();
  const to = Date.now();
  const outages = outagesBetween(transitions(), 0, to)
    .filter((outage) => (outage.to ?? to) > from)
    .map((outage) => (outage.to ?? to) - Math.max(outage.from, from));
  return { outages, longest: Math.max(0, ...outages), sum: outages.reduce((sum, one) => sum + one, 0), took: to - from };
}

/** The same of a component that has its health on a port of its own. */
export async function healthOutages(port: number, story: () => Promise<void>): Promise<Measured> {
  const transitions: { at: number; up: boolean }[] = [];
  const ending = new AbortController();
  const asking = (async () => {
    while (!ending.signal.aborted) {
      const at = Date.now();
      const up = await isHealthy(port);
      if (transitions.at(-1)?.up !== up) transitions.push({ at, up });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  try {
    return await measured(() => transitions, story);
  } finally {
    ending.abort();
    await asking;
  }
}

function isHealthy(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ host: '127.0.0.1', port, path: '/healthz', agent: false, timeout: 1000 }, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode === 200));
      response.once('error', () => resolve(false));
    });
    asked.once('timeout', () => asked.destroy());
    asked.once('error', () => resolve(false));
    asked.end();
  });
}

export interface OutageTable {
  row(story: string, measured: Measured, more?: string): void;
}

export function outageTable(title: string): OutageTable {
  const rows: string[] = [];
  afterAll(() => {
    process.stdout.write(`\nOutages: ${title} (embedded node, one run on this machine)\n${rows.map((row) => `  ${row}\n`).join('')}`);
  });
  return {
    row(story, { outages, took }, more) {
      const seen = outages.length === 0 ? 'none' : outages.map((one) => `${one} ms`).join(', ');
      rows.push(`${story.padEnd(62)} outage ${seen}; over after ${(took / 1000).toFixed(1)} s${more === undefined ? '' : `; ${more}`}`);
    },
  };
}
