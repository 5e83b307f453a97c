/**
 * A snapshot file: a first line {"revision"}, a line {"key", "value"} for each object, a last line {"objects": count}.
 * Written beside its place, fsynced, renamed in, its directory fsynced: readers see a whole one or none.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { KubeObject } from './objects.ts';

export function writeSnapshot(file: string, revision: number, objects: ReadonlyMap<string, KubeObject>): number {
  const lines = [JSON.stringify({ revision }), ...[...objects].map(([key, value]) => JSON.stringify({ key, value }))];
  const text = `${lines.join('\n')}\n${JSON.stringify({ objects: objects.size })}\n`;
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.${process.pid}`);
  const fd = fs.openSync(temporary, 'w', 0o600);
  try {
    fs.writeFileSync(fd, text);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(temporary, file);
  const directory = fs.openSync(path.dirname(file), 'r');
  fs.fsyncSync(directory);
  fs.closeSync(directory);
  return Buffer.byteLength(text);
}

/** Throws when the file is not a whole snapshot. */
export function readSnapshot(file: string): { revision: number; objects: Map<string, KubeObject>; size: number } {
  const text = fs.readFileSync(file, 'utf8');
  const lines = text.trimEnd().split('\n');
  const head = JSON.parse(lines.shift() ?? '{}') as { revision?: number };
  const tail = JSON.parse(lines.pop() ?? '{}') as { objects?: number };
  if (head.revision === undefined || tail.objects !== lines.length)
    throw new Error(
      `${file} is not a whole snapshot: expected a revision, objects and their count; restore it or remove the data directory`,
    );
  const entries = lines.map((line) => JSON.parse(line) as { key: string; value: KubeObject });
  return { revision: head.revision, objects: new Map(entries.map((entry) => [entry.key, entry.value])), size: Buffer.byteLength(text) };
}
