/**
 * What `checkpointer inspect` foresees of a power cut, as far as the Node's condition speaks of it: its findings, out of the document that it prints; and
 * when it is to be asked again. Pure.
 */
import type { Millis } from '../checkpoint/model.ts';
import type { Status } from '../status.ts';

export interface Outlook {
  /** The node's own first, then by workload; each is there once. */
  readonly findings: readonly Foreseen[];
}

export interface Foreseen {
  /** Undefined: of the node as a whole. */
  readonly workload?: string;
  readonly code: string;
  readonly level: 'warning' | 'fatal';
  readonly message: string;
}

/** Of the document (docs/inspect.md): fields are only added within a version, so any other one may mean something else by the same words. */
const DOCUMENT = 2;

/** @param text what `inspect -o json` printed. Undefined for everything that is not such a document, whole: half a verdict is none. */
export function outlookOf(text: string): Outlook | undefined {
  const { version, node, workloads } = fieldsOf(parsed(text));
  if (version !== DOCUMENT || !Array.isArray(workloads)) return undefined;
  const groups = [findingsOf(fieldsOf(node)), ...workloads.map((one: unknown) => ofWorkload(fieldsOf(one)))];
  if (!groups.every((group) => group !== undefined)) return undefined;
  // What stops the node stands with each of its workloads, too.
  const seen = new Set<string>();
  const findings = groups.flat().filter((one) => {
    const { workload, code, message } = one;
    const own = `${workload} ${code} ${message}`;
    const nodes = `${undefined} ${code} ${message}`;
    if (seen.has(own) || seen.has(nodes)) return false;
    seen.add(own);
    return true;
  });
  return { findings };
}

function ofWorkload(fields: Fields): readonly Foreseen[] | undefined {
  const { workload } = fields;
  return typeof workload === 'string' ? findingsOf(fields)?.map((finding) => ({ workload, ...finding })) : undefined;
}

function findingsOf({ findings }: Fields): readonly Foreseen[] | undefined {
  if (!Array.isArray(findings)) return undefined;
  const usable = findings.map((one: unknown) => findingOf(fieldsOf(one)));
  return usable.every((one) => one !== undefined) ? usable : undefined;
}

function findingOf({ code, level, message }: Fields): Foreseen | undefined {
  if (typeof code !== 'string' || !/^[A-Z][A-Za-z0-9]{0,63}$/.test(code) || typeof message !== 'string') return undefined;
  return level === 'warning' || level === 'fatal' ? { code, level, message } : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields => (typeof value === 'object' && value !== null ? (value as Fields) : {});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A boot is busy: nothing is asked while the leader is younger. */
export const NOT_BEFORE: Millis = 60_000;
/** What changes without the daemon: units, the kubelet's configuration, images, host paths, certificates that end. */
export const ASK_EVERY: Millis = 1_800_000;
/** Who repaired something waits for no half an hour to see it. */
export const ASK_AGAIN: Millis = 300_000;
/** After a change of what a reboot gets; changes that follow one another are one. */
export const SETTLED: Millis = 60_000;

export interface Asking {
  /** When the leader began, on the monotonic clock, as every time here. */
  readonly began: Millis;
  readonly gets: string;
  /** Of what a reboot gets, since it was asked about. */
  readonly changedAt?: Millis;
  readonly askedAt?: Millis;
}

/** What a reboot gets of each workload: newer tokens of the same copy are the same. */
export function rebootGets({ workloads }: Pick<Status, 'workloads'>): string {
  return JSON.stringify(
    Object.entries(workloads)
      .map(([key, { proven, newest }]) => [key, proven?.digest ?? '', proven === undefined ? (newest?.digest ?? '') : ''])
      .sort(([a = ''], [b = '']) => (a < b ? -1 : 1)),
  );
}

export function noticed(before: Asking | undefined, gets: string, now: Millis): Asking {
  if (before === undefined) return { began: now, gets };
  return before.gets === gets ? before : { ...before, gets, changedAt: now };
}

export function asked({ began, gets }: Asking, now: Millis): Asking {
  return { began, gets, askedAt: now };
}

export function isTimeToAsk({ began, askedAt, changedAt }: Asking, outlook: Outlook | undefined, now: Millis): boolean {
  if (now < began + NOT_BEFORE) return false;
  if (askedAt === undefined) return true;
  const stops = outlook?.findings.some(({ level }) => level === 'fatal') === true;
  return now >= askedAt + (stops ? ASK_AGAIN : ASK_EVERY) || (changedAt !== undefined && now >= changedAt + SETTLED);
}
