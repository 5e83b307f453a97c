/** The documents of files as an API server would return them once it had taken them, and what it would not have taken. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { V1ObjectMeta } from '@kubernetes/client-node';
import { boolYaml11Tag, CORE_SCHEMA, defineScalarTag, intCoreTag, loadAll, mergeTag } from 'js-yaml';
import { InputError } from './input-error.ts';
import { differences, shapeOf } from './sanitize-shapes.ts';

/** An object as it stands in a file. */
export interface Document {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: V1ObjectMeta;
}

export interface Documents {
  readonly documents: readonly Document[];
  /** One line for each document that could not be used; it is not among the others. */
  readonly faults: readonly string[];
}

/**
 * kubectl and the kubelet read YAML 1.1: `0400` is octal, `yes` is true. js-yaml reads YAML 1.2, where they are 400 and a text; a mode would be another one.
 * Base 60 and dates, which YAML 1.1 has too and they have not, stay text.
 */
const SCHEMA = CORE_SCHEMA.withTags(
  boolYaml11Tag,
  mergeTag,
  defineScalarTag<unknown>('tag:yaml.org,2002:int', {
    ...intCoreTag,
    resolve: (source, isExplicit, name) =>
      /^[-+]?0[0-7]+$/.test(source) ? Number.parseInt(source, 8) : intCoreTag.resolve(source, isExplicit, name),
  }),
);

/** The documents of a file, or of standard input for `-`. Throws an InputError where it cannot be read or is not YAML: nothing of it can be used. */
export async function readDocuments(filename: string): Promise<Documents> {
  const content =
    filename === '-'
      ? await text(process.stdin)
      : await readFile(filename, 'utf8').catch((error: unknown) => {
          throw new InputError(`-f ${filename}: cannot be read (${codeOf(error)}); expected a file with a pod, or - for standard input`);
        });
  return parse(content, filename);
}

/** Those of every YAML and JSON file of a directory. */
export async function readDirectory(directory: string): Promise<Documents> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw new InputError(`--objects ${directory}: cannot be read (${codeOf(error)}); expected a directory of YAML or JSON files`);
  });
  const files = names.filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  const read = await Promise.all(files.map((name) => readDocuments(join(directory, name))));
  return { documents: read.flatMap(({ documents }) => documents), faults: read.flatMap(({ faults }) => faults) };
}

function parse(content: string, name: string): Documents {
  let loaded: unknown[];
  try {
    loaded = loadAll(content, { filename: name, schema: SCHEMA });
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new InputError(`${name}: is neither YAML nor JSON: ${why}`);
  }
  const documents: Document[] = [];
  const faults: string[] = [];
  const add = (value: unknown, where: string) => {
    const given = withoutNulls(value);
    if (!isObject(given)) {
      faults.push(`${where}: is not an object; expected a pod, or an object that a pod names`);
      return;
    }
    const found = faultsOf(given);
    if (found.length > 0) faults.push(`${where}${titleOf(given)}: ${found.join('; ')}`);
    else documents.push(asReturned(given) as Document);
  };
  loaded.forEach((document, i) => {
    const where = `${name}: document ${i + 1}`;
    if (document === null || document === undefined) return;
    const items = isObject(document) ? document['items'] : undefined;
    if (Array.isArray(items)) for (const [n, item] of items.entries()) add(inList(item, document), `${where}, items[${n}]`);
    else add(document, where);
  });
  return { documents, faults };
}

/** The API server says what the items of a PodList are once, in its kind; kubectl says it of each. */
function inList(item: unknown, list: unknown): unknown {
  const [, kind] = /^([A-Za-z]+)List$/.exec(isObject(list) && typeof list['kind'] === 'string' ? list['kind'] : '') ?? [];
  return isObject(item) && isObject(list) && kind !== undefined && item['kind'] === undefined
    ? { apiVersion: list['apiVersion'], kind, ...item }
    : item;
}

type Members = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function titleOf({ kind, metadata }: Members): string {
  const { namespace, name } = isObject(metadata) ? metadata : {};
  const whole = [namespace, name].filter((part) => typeof part === 'string').join('/');
  const words = [typeof kind === 'string' ? kind : '', whole].filter((word) => word !== '');
  return words.length === 0 ? '' : ` (${words.join(' ')})`;
}

/** Maps whose values are text or bytes: there a `null` is an empty one, as in Go. */
const MAPS = new Set(['data', 'stringData', 'binaryData', 'labels', 'annotations', 'nodeSelector', 'matchLabels']);

/** A member that is `null` is one that is not there: what the API server stores. */
function withoutNulls(value: unknown, map = false): unknown {
  if (Array.isArray(value)) return value.map((entry) => withoutNulls(entry));
  if (!isObject(value)) return value;
  const entries = Object.entries(value).flatMap(([key, member]): [string, unknown][] => {
    if (member === null || member === undefined) return map ? [[key, '']] : [];
    return [[key, withoutNulls(member, MAPS.has(key))]];
  });
  return Object.fromEntries(entries);
}

function faultsOf(given: Members): string[] {
  const kind = typeof given['kind'] === 'string' ? given['kind'] : undefined;
  const found = [...differences(given, shapeOf(kind), '')];
  if (found.length > 0) return found;
  const bytes = kind === 'Secret' ? 'data' : kind === 'ConfigMap' ? 'binaryData' : undefined;
  const encoded = bytes === undefined ? undefined : given[bytes];
  const wrong = isObject(encoded) ? Object.entries(encoded).filter(([, value]) => typeof value === 'string' && !isBase64(value)) : [];
  const advice = kind === 'Secret' ? 'Encode it, or write it in stringData.' : 'Encode it, or write it in data.';
  const faults = wrong.map(([key]) => `${bytes}[${JSON.stringify(key)}]: is not base64. ${advice}`);
  const { name } = isObject(given['metadata']) ? given['metadata'] : {};
  if (kind === 'Pod' && (name === undefined || name === ''))
    faults.push('has no metadata.name; expected a pod as the API server returns it');
  return faults;
}

/** As Go's encoding/base64 reads it: the standard alphabet with padding; line breaks are skipped. */
function isBase64(encoded: string): boolean {
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(encoded.replaceAll(/[\r\n]/g, ''));
}

/** The API server takes `stringData` into `data`, where it wins, and returns quantities as text. */
function asReturned(given: Members): Members {
  if (given['kind'] === 'Secret' && isObject(given['stringData'])) {
    const { stringData, ...rest } = given;
    const encoded = Object.entries(isObject(stringData) ? stringData : {}).map(([key, value]): [string, string] => [
      key,
      Buffer.from(String(value), 'utf8').toString('base64'),
    ]);
    return { ...rest, data: Object.fromEntries([...Object.entries(isObject(rest['data']) ? rest['data'] : {}), ...encoded]) };
  }
  return withTextQuantities(given, false) as Members;
}

const QUANTITIES = new Set(['limits', 'requests', 'allocatable']);

function withTextQuantities(value: unknown, quantities: boolean): unknown {
  if (Array.isArray(value)) return value.map((entry) => withTextQuantities(entry, false));
  if (typeof value === 'number' && quantities) return String(value);
  if (!isObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, withTextQuantities(member, QUANTITIES.has(key))]));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
