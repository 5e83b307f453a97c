/** Follows what the daemons on an embedded node say, whichever of them leads: their containers' logs, line by line, into the node's timeline. */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EmbeddedNode } from '../node/node.ts';

/** A line of the daemon's log, as pino writes it. */
export interface DaemonLine {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly msg: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface DaemonLog {
  lines(): readonly DaemonLine[];
  stop(): Promise<void>;
}

const PERIOD_MS = 50;

export function followDaemons(node: EmbeddedNode, onLine: (line: DaemonLine) => void): DaemonLog {
  const lines: DaemonLine[] = [];
  const read = new Map<string, number>();
  const ending = new AbortController();
  const following = (async () => {
    while (!ending.signal.aborted) {
      for (const path of await logFiles(node.layout.podLogs)) {
        const { text, end } = await readFrom(path, read.get(path) ?? 0);
        read.set(path, end);
        for (const line of text.split('\n')) {
          const parsed = parse(line);
          if (parsed === undefined) continue;
          lines.push(parsed);
          onLine(parsed);
        }
      }
      await sleep(PERIOD_MS, undefined, { signal: ending.signal }).catch(() => undefined);
    }
  })();
  return {
    lines: () => lines,
    stop: async () => {
      ending.abort();
      await following;
    },
  };
}

async function logFiles(podLogs: string): Promise<string[]> {
  const pods = (await readdir(podLogs).catch(() => [])).filter((name) => name.includes('_pod-checkpointer-'));
  const files = await Promise.all(
    pods.map(async (pod) => {
      const directory = join(podLogs, pod);
      const containers = await readdir(directory, { recursive: true }).catch(() => []);
      return containers.filter((name) => name.endsWith('.log')).map((name) => join(directory, name));
    }),
  );
  // Daemons take turns, so their files by name of the pod are not their lines by time; within one poll that is good enough to show.
  return files.flat().sort();
}

/** Whole lines behind `from`; a line that is still being written is left for the next time. */
async function readFrom(path: string, from: number): Promise<{ text: string; end: number }> {
  const file = await open(path).catch(() => undefined);
  if (file === undefined) return { text: '', end: from };
  try {
    const { size } = await file.stat();
    if (size <= from) return { text: '', end: from };
    const bytes = Buffer.alloc(size - from);
    const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
    const whole = bytes.subarray(0, bytesRead).lastIndexOf(0x0a) + 1;
    return { text: bytes.subarray(0, whole).toString(), end: from + whole };
  } finally {
    await file.close();
  }
}

function parse(line: string): DaemonLine | undefined {
  const start = line.indexOf('{');
  if (start < 0) return undefined;
  try {
    const value: unknown = JSON.parse(line.slice(start));
    if (typeof value !== 'object' || value === null || !('msg' in value) || !('time' in value)) return undefined;
    return { at: Date.parse(String(value.time)), msg: String(value.msg), fields: { ...value } };
  } catch {
    return undefined;
  }
}
