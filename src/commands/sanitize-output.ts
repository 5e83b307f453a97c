/** How `sanitize` prints what it found. The contents of Secrets are not printed: of files their path, mode, owner, size and SHA-256. */
import { createHash } from 'node:crypto';
import { dump } from 'js-yaml';
import { canonical } from '../checkpoint/copy/canonical.ts';
import type { Change } from '../checkpoint/copy/rendering.ts';
import type { Copy, Warning } from '../checkpoint/copy-types.ts';
import type { CopyOutcome } from '../checkpoint/model.ts';

export interface Sanitized {
  /** Namespace and name. */
  readonly title: string;
  readonly marked: boolean;
  readonly outcome: CopyOutcome;
  /** Empty unless asked for. */
  readonly changes: readonly Change[];
  readonly warnings: readonly Warning[];
}

/** One document for each pod: the static pod as it would be stored, with what belongs to it in comments; a pod without a copy is comments alone. */
export function asYaml(results: readonly Sanitized[]): string {
  return results
    .flatMap((result) => ['---', ...commentsOf(result).map((line) => `# ${oneLine(line)}`), ...manifestOf(result)])
    .map((line) => `${line}\n`)
    .join('');
}

/** What names hold need not be names: a line break would end the comment. */
export function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\ufeff]/gu, (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** Quoted so that readers of YAML 1.1, as the kubelet is, and of 1.2 find the same. */
function manifestOf({ outcome }: Sanitized): string[] {
  return outcome.kind === 'copy' ? [dump(canonical(outcome.copy.pod), { lineWidth: -1, noRefs: true }).trimEnd()] : [];
}

function commentsOf({ title, marked, outcome, changes, warnings }: Sanitized): string[] {
  const head = `${title}: ${summary(outcome)}${marked ? '' : ' (not marked: no copy is made while it is not)'}`;
  switch (outcome.kind) {
    case 'copy':
      return [
        head,
        ...warnings.map(({ code, field, message }) => `  warning: ${code} ${field}: ${message}`),
        ...changes.map(({ field, rule }) => `  ${field}: ${rule}`),
        ...entriesOf(outcome.copy).map(describe),
      ];
    case 'refused':
      return [head, ...outcome.refusals.map(({ code, field, message }) => `  ${code} ${field}: ${message}`)];
    case 'waiting':
      return [head, ...outcome.objects.map((object) => `  ${object}`)];
  }
}

/** One document: `{version: 1, pods: […]}`. */
export function asJson(results: readonly Sanitized[]): string {
  const pods = results.map(({ title, marked, outcome, changes, warnings }) => ({
    pod: title,
    marked,
    result: outcome.kind,
    ...(outcome.kind === 'copy' && {
      digest: outcome.copy.digest,
      traits: outcome.copy.traits,
      warnings,
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
