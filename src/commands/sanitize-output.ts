/** How `sanitize` prints what it found. The contents of Secrets are not printed: of files their path, mode, owner, size and SHA-256. */
import { createHash } from 'node:crypto';
import { CORE_SCHEMA, dump } from 'js-yaml';
import { canonical } from '../checkpoint/copy/canonical.ts';
import type { Change } from '../checkpoint/copy/rendering.ts';
import type { Copy } from '../checkpoint/copy-types.ts';
import type { CopyOutcome } from '../checkpoint/model.ts';

export interface Sanitized {
  /** Namespace and name. */
  readonly title: string;
  readonly marked: boolean;
  readonly outcome: CopyOutcome;
  /** Empty unless asked for. */
  readonly changes: readonly Change[];
}

/** One document for each pod: the static pod as it would be stored, with what belongs to it in comments; a pod without a copy is comments alone. */
export function asYaml(results: readonly Sanitized[]): string {
  return results
    .flatMap((result) => ['---', ...bodyOf(result)])
    .map((line) => `${line}\n`)
    .join('');
}

function bodyOf({ title, marked, outcome, changes }: Sanitized): string[] {
  const head = `# ${title}: ${summary(outcome)}${marked ? '' : ' (not marked: no copy is made while it is not)'}`;
  switch (outcome.kind) {
    case 'copy':
      return [
        head,
        ...changes.map(({ field, rule }) => `#   ${field}: ${rule}`),
        ...entriesOf(outcome.copy).map((entry) => `# ${describe(entry)}`),
        dump(canonical(outcome.copy.pod), { lineWidth: -1, noRefs: true, schema: CORE_SCHEMA }).trimEnd(),
      ];
    case 'refused':
      return [head, ...outcome.refusals.map(({ code, field, message }) => `#   ${code} ${field}: ${message}`)];
    case 'waiting':
      return [head, ...outcome.objects.map((object) => `#   ${object}`)];
  }
}

/** One document: `{version: 1, pods: […]}`. */
export function asJson(results: readonly Sanitized[]): string {
  const pods = results.map(({ title, marked, outcome, changes }) => ({
    pod: title,
    marked,
    result: outcome.kind,
    ...(outcome.kind === 'copy' && {
      digest: outcome.copy.digest,
      traits: outcome.copy.traits,
      manifest: canonical(outcome.copy.pod),
      files: entriesOf(outcome.copy),
    }),
    ...(outcome.kind === 'refused' && { refusals: outcome.refusals }),
    ...(outcome.kind === 'waiting' && { objects: outcome.objects }),
    ...(changes.length > 0 && { changes }),
  }));
  return `${JSON.stringify({ version: 1, pods }, undefined, 2)}\n`;
}

function summary(outcome: CopyOutcome): string {
  switch (outcome.kind) {
    case 'copy':
      return `the copy, ${outcome.copy.files.length} files beside it`;
    case 'refused':
      return 'no copy, for these reasons:';
    case 'waiting':
      return 'no copy without these objects (give them with --objects):';
  }
}

interface Entry {
  readonly path: string;
  readonly type: 'directory' | 'file' | 'token';
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly size?: number;
  readonly sha256?: string;
}

function entriesOf({ files, directories, instance }: Copy): Entry[] {
  const tokens = new Set(instance?.tokens.map(({ path }) => path));
  const octal = (mode: number) => mode.toString(8).padStart(4, '0');
  return [
    ...directories.map(({ path, mode, uid, gid }): Entry => ({ path, type: 'directory', mode: octal(mode), uid, gid })),
    ...files.map(({ path, bytes, mode, uid, gid }): Entry => {
      const about = { path, mode: octal(mode), uid, gid };
      if (tokens.has(path)) return { ...about, type: 'token' };
      return { ...about, type: 'file', size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
    }),
  ].sort((a, b) => (a.path < b.path ? -1 : 1));
}

function describe({ path, type, mode, uid, gid, size, sha256 }: Entry): string {
  return `files/${path}: ${type} ${mode} ${uid}:${gid}${size === undefined ? '' : ` ${size} bytes, sha256 ${sha256}`}`;
}
