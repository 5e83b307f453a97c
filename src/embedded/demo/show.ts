/** Shows what happens: a line for each event, with the time since the start; on a terminal with colours and, below, a clock of what is waited for. */
import type { WriteStream } from 'node:tty';
import type { TimelineEvent } from '../node/timeline.ts';
import type { DaemonLine } from './daemon-log.ts';

export interface Show {
  heading(text: string): void;
  line(mark: Mark, text: string, at?: number): void;
  /** Shown with a running clock until the next call; undefined: nothing is waited for. */
  waitingFor(what: string | undefined): void;
  plain(text: string): void;
  end(): void;
}

export type Mark = 'up' | 'down' | 'power' | 'copy' | 'info';

const SYMBOLS: Readonly<Record<Mark, string>> = { up: '●', down: '○', power: '⚡', copy: '▸', info: '·' };
const COLOURS: Readonly<Record<Mark, number>> = { up: 32, down: 31, power: 33, copy: 36, info: 90 };

const HOLD_MS = 300;

export function createShow(out: NodeJS.WriteStream, started = Date.now()): Show {
  const terminal = out.isTTY === true;
  const paint = (colour: number, text: string) => (terminal ? `\u001b[${colour}m${text}\u001b[0m` : text);
  let waiting: { readonly what: string; readonly since: number } | undefined;

  const clear = () => {
    if (terminal) (out as WriteStream).clearLine(0) && (out as WriteStream).cursorTo(0);
  };
  const status = () => {
    if (!terminal || waiting === undefined) return;
    clear();
    out.write(paint(90, `           waiting for ${waiting.what}, ${((Date.now() - waiting.since) / 1000).toFixed(1)} s`));
  };
  const timer = terminal ? setInterval(status, 100) : undefined;
  timer?.unref();
  const print = (text: string) => {
    clear();
    out.write(`${text}\n`);
    status();
  };
  // Sources are read at intervals: lines are held back for a moment and printed by their own times.
  let held: { readonly at: number; readonly text: string }[] = [];
  const flush = (until: number) => {
    const due = held.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at);
    held = held.filter(({ at }) => at > until);
    for (const { text } of due) print(text);
  };
  const releasing = setInterval(() => flush(Date.now() - HOLD_MS), HOLD_MS / 2);
  releasing.unref();
  return {
    heading(text) {
      flush(Number.POSITIVE_INFINITY);
      print(`\n${paint(1, text)}`);
    },
    line(mark, text, at = Date.now()) {
      held.push({ at, text: `${((at - started) / 1000).toFixed(2).padStart(8)} s ${paint(COLOURS[mark], SYMBOLS[mark])} ${text}` });
    },
    waitingFor(what) {
      clear();
      waiting = what === undefined ? undefined : { what, since: Date.now() };
    },
    plain(text) {
      flush(Number.POSITIVE_INFINITY);
      print(text);
    },
    end() {
      flush(Number.POSITIVE_INFINITY);
      clearInterval(releasing);
      clearInterval(timer);
      clear();
    },
  };
}

/** What a person wants to see of the node's timeline. */
export function showEvent(show: Show, event: TimelineEvent): void {
  const said = inWords(event);
  if (said !== undefined) show.line(...said, event.at);
}

function inWords(event: TimelineEvent): readonly [Mark, string] | undefined {
  switch (event.kind) {
    case 'power-on':
      return ['power', 'power on'];
    case 'power-off':
      return ['power', 'POWER CUT: every process of the node was killed'];
    case 'readyz':
      return event.up ? ['up', 'API server ready'] : ['down', 'no API server'];
    case 'bootstrap':
      return ['info', event.step];
    case 'manifest':
      return [
        'copy',
        event.change === 'added'
          ? `manifest in the kubelet's directory: ${short(event.file)}`
          : `manifest taken away: ${short(event.file)}`,
      ];
    case 'log':
      return undefined;
  }
}

const SHOWN = new Set(['ParentDown', 'Activating', 'YieldPending', 'Overlap', 'Yielding', 'Trial', 'TrialFailed', 'Retiring', 'Refused']);

export function showDaemon(show: Show, { at, msg, fields }: DaemonLine): void {
  const workload = String(fields['workload'] ?? '').replace(/^.*\//, '');
  if (msg === 'leading') show.line('info', 'checkpointer: holds the leader lock', at);
  if (msg === 'prove') show.line('info', `checkpointer: generation ${String(fields['generation'])} of ${workload} is proven`, at);
  if (msg === 'transition' && SHOWN.has(String(fields['to'])))
    show.line('info', `checkpointer: ${workload}: ${String(fields['to'])}: ${String(fields['detail'])}`, at);
}

const short = (file: string): string => file.replace(/^pod-checkpointer\.kube-system\./, '').replace(/\.json$/, '');
