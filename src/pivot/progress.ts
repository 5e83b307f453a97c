/** A pivot's progress for people: on a terminal one line that lives, elsewhere plain lines that say what is waited for when that changes. */
import type { Writable } from 'node:stream';
import type { Progress } from './execute.ts';
import { describeMove, type Move, STEPS } from './steps.ts';

/** Between two plain lines about the same wait, in milliseconds. */
const REPEAT = 15_000;

export interface Screen {
  readonly out: Pick<Writable, 'write'>;
  /** Whether lines can be written over. */
  readonly live: boolean;
  readonly columns: () => number;
}

export function progressOn({ out, live, columns }: Screen): Progress {
  let said: { readonly what: string; readonly at: number } | undefined;
  const head = ({ index }: Move): string => `[${String(index + 1).padStart(2)}/${STEPS.length}]`;
  const line = (text: string): void => {
    out.write(live ? `\r\x1b[K${text}\n` : `${text}\n`);
  };
  return {
    moving(move, takenBack) {
      said = undefined;
      line(`${head(move)} ${takenBack ? 'taken back: ' : ''}${describeMove(move)}`);
    },
    waiting(what, sinceMs) {
      const text = `        waiting for ${what}, ${seconds(sinceMs)}`;
      if (live) {
        out.write(`\r\x1b[K${text.slice(0, Math.max(20, columns() - 1))}`);
        return;
      }
      if (said?.what === what && sinceMs - said.at < REPEAT) return;
      said = { what, at: sinceMs };
      line(text);
    },
    done(_move, tookMs) {
      line(`        healthy after ${seconds(tookMs)}`);
    },
    failed(_move, why) {
      line(`        failed: ${why}`);
    },
  };
}

const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`;

export function screenOf(stream: NodeJS.WriteStream): Screen {
  return { out: stream, live: stream.isTTY === true, columns: () => stream.columns ?? 80 };
}
