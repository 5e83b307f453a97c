/**
 * The transitions of this node, for people: `history.jsonl` in the store's directory, one JSON object a line, oldest first. It is written only when
 * something changes, and nothing is decided from it.
 *
 *  - A line is appended with one write(2) and fdatasync(2). A line torn by a power cut is ended by the next append's newline; lines that do not parse
 *    are skipped by readers.
 *  - It never takes more than HISTORY_LIMIT bytes: an append that would go beyond first replaces the file (temporary file, fsync, rename) by its newest
 *    half. While that happens the disk holds one and a half of it at the most.
 *
 * A line has the fields of `Transition`; fields are added, never changed or removed.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readRegular, replaceDurable, syncDirectory } from '../platform/durable.ts';
import { inLane } from '../platform/lanes.ts';
import type { Transition } from './transitions.ts';

export const HISTORY_LIMIT = 1024 * 1024;
/** A message names every object that is waited for, or every refused field; this much of it is kept. Characters. */
const MESSAGE_LIMIT = 2_000;

export const historyPath = (checkpointDir: string) => join(checkpointDir, 'history.jsonl');

/** What was read of a line; every field but these two may be missing in what an older version wrote. */
export type HistoryEntry = Pick<Transition, 'at' | 'workload'> & Partial<Transition>;

/** Durable when it returns. Throws what the file system answers. */
export async function appendHistory(checkpointDir: string, entries: readonly Transition[], limit = HISTORY_LIMIT): Promise<void> {
  if (entries.length === 0) return;
  const path = historyPath(checkpointDir);
  const lines = entries.map((entry) => `${JSON.stringify({ ...entry, message: entry.message.slice(0, MESSAGE_LIMIT) })}\n`).join('');
  const done = await inLane('background', () => append(path, lines, limit));
  if (done === 'made') await syncDirectory(dirname(path));
  if (done !== 'noRoom') return;
  const before = await textOf(path).catch(() => '');
  await replaceDurable(path, Buffer.from(newest(`${before}\n${lines}`, limit / 2)));
}

/** In a lane, and so asks for none itself. `made`: the file is a new one. `noRoom`: nothing was written. */
async function append(path: string, lines: string, limit: number): Promise<'appended' | 'made' | 'noRoom'> {
  const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error(`${path} is not a regular file: expected the history of this node; move it away`);
    if (stat.size + Buffer.byteLength(lines) >= limit) return 'noRoom';
    const bytes = Buffer.from((await endsTorn(file, stat.size)) ? `\n${lines}` : lines);
    const { bytesWritten } = await file.write(bytes);
    if (bytesWritten !== bytes.length)
      throw new Error(`${path}: ${bytesWritten} of ${bytes.length} bytes written; free space on its file system`);
    await file.datasync();
    return stat.size === 0 ? 'made' : 'appended';
  } finally {
    await file.close();
  }
}

/** Oldest first; of one workload if its key is given. Empty where there is none. Throws when the file cannot be read. */
export async function readHistory(checkpointDir: string, workload?: string): Promise<HistoryEntry[]> {
  const entries = (await textOf(historyPath(checkpointDir))).split('\n').flatMap(parse);
  return workload === undefined ? entries : entries.filter((entry) => entry.workload === workload);
}

async function textOf(path: string): Promise<string> {
  // Twice the limit: a later version may keep more.
  return (await readRegular(path, 2 * HISTORY_LIMIT))?.toString('utf8') ?? '';
}

async function endsTorn(file: FileHandle, size: number): Promise<boolean> {
  if (size === 0) return false;
  const last = Buffer.alloc(1);
  await file.read(last, 0, 1, size - 1);
  return last[0] !== 0x0a;
}

/** The last whole lines of at most so many bytes. */
function newest(text: string, bytes: number): string {
  const lines = text.split('\n').filter((line) => parse(line).length > 0);
  let size = 0;
  const kept = lines.toReversed().filter((line) => {
    size += Buffer.byteLength(line) + 1;
    return size <= bytes;
  });
  return kept
    .reverse()
    .map((line) => `${line}\n`)
    .join('');
}

function parse(line: string): HistoryEntry[] {
  if (line === '') return [];
  try {
    const value: unknown = JSON.parse(line);
    return isEntry(value) ? [value] : [];
  } catch {
    return [];
  }
}

/** Of what is read by people nothing may be of another kind than they expect, whoever wrote it. */
function isEntry(value: unknown): value is HistoryEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { at, workload, generation, milestones, ...more } = value as Readonly<Record<string, unknown>>;
  return (
    typeof at === 'string' &&
    typeof workload === 'string' &&
    (generation === undefined || typeof generation === 'number') &&
    (milestones === undefined || (Array.isArray(milestones) && milestones.every((one) => typeof one === 'string'))) &&
    ['from', 'to', 'state', 'namespace', 'message'].every((name) => more[name] === undefined || typeof more[name] === 'string')
  );
}
