// The part of kustomize that manifests/ uses, for machines without kubectl: resources, components, images, JSON 6902 patches, ConfigMaps from files. Where a
// kubectl is there, a test holds the two against each other.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { load, loadAll } from 'js-yaml';

/** Kubernetes objects as they stand in a file, before anything is known about them. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly [field: string]: unknown;
}

interface Kustomization {
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly images?: readonly { readonly name: string; readonly newName: string; readonly newTag: string }[];
  readonly patches?: readonly { readonly target: { readonly kind: string; readonly name: string }; readonly patch: string }[];
  readonly configMapGenerator?: readonly { readonly name: string; readonly namespace: string; readonly files: readonly string[] }[];
  readonly generatorOptions?: { readonly disableNameSuffixHash: boolean };
}

const KNOWN = ['apiVersion', 'kind', 'resources', 'components', 'images', 'patches', 'configMapGenerator', 'generatorOptions'];

/** The objects of a kustomization. Throws where it uses what is not known here. */
export function kustomize(directory: string): Manifest[] {
  return build(directory, []);
}

function build(directory: string, before: readonly Manifest[]): Manifest[] {
  const file = join(directory, 'kustomization.yaml');
  const kustomization = load(readFileSync(file, 'utf8')) as Kustomization;
  const unknown = Object.keys(kustomization).filter((key) => !KNOWN.includes(key));
  if (unknown.length > 0) throw new Error(`${file}: ${unknown.join(', ')} is more than this reader of kustomizations knows`);
  let objects = [...before];
  for (const resource of kustomization.resources ?? []) {
    const path = join(directory, resource);
    objects.push(...(statSync(path).isDirectory() ? build(path, []) : (loadAll(readFileSync(path, 'utf8')) as Manifest[])));
  }
  for (const { name, namespace, files } of kustomization.configMapGenerator ?? []) {
    if (kustomization.generatorOptions?.disableNameSuffixHash !== true) throw new Error(`${file}: names with a hash are not known here`);
    const data = Object.fromEntries(
      files.map((given) => {
        const [key = '', path = ''] = given.split('=');
        return [key, readFileSync(join(directory, path), 'utf8')];
      }),
    );
    objects.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace }, data });
  }
  for (const component of kustomization.components ?? []) objects = build(join(directory, component), objects);
  for (const { target, patch } of kustomization.patches ?? []) {
    const operations = load(patch) as readonly Operation[];
    const patched = objects.filter(({ kind, metadata }) => kind === target.kind && metadata.name === target.name);
    if (patched.length !== 1) throw new Error(`${file}: ${target.kind} ${target.name} is there ${patched.length} times`);
    objects = objects.map((object) => (patched.includes(object) ? operations.reduce(apply, structuredClone(object)) : object));
  }
  for (const { name, newName, newTag } of kustomization.images ?? [])
    objects = objects.map((object) => withImage(object, name, `${newName}:${newTag}`));
  return objects;
}

type Operation =
  | { readonly op: 'add'; readonly path: string; readonly value: unknown }
  | { readonly op: 'copy'; readonly path: string; readonly from: string };

/** RFC 6902: `add` to a field of an object or, with `-`, to the end of a list; `copy`. */
function apply(object: Manifest, operation: Operation): Manifest {
  const value = operation.op === 'copy' ? find(object, segmentsOf(operation.from)) : operation.value;
  const path = segmentsOf(operation.path);
  const last = path.pop() ?? '';
  const parent = find(object, path);
  if (Array.isArray(parent) && last === '-') parent.push(value);
  else if (typeof parent === 'object' && parent !== null && !Array.isArray(parent)) Object.assign(parent, { [last]: value });
  else throw new Error(`${operation.path}: nothing to add to`);
  return object;
}

function find(root: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => {
    if (typeof at !== 'object' || at === null || !(key in at)) throw new Error(`/${path.join('/')}: no ${key}`);
    return (at as Readonly<Record<string, unknown>>)[key];
  }, root);
}

/** Everywhere where a field called image has the name, whatever its tag. */
function withImage<T>(value: T, name: string, image: string): T {
  if (Array.isArray(value)) return value.map((item) => withImage(item, name, image)) as T;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, field]) => [
      key,
      key === 'image' && typeof field === 'string' && field.split(':')[0] === name ? image : withImage(field, name, image),
    ]),
  ) as T;
}

/** Of a JSON Pointer (RFC 6901). */
function segmentsOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}
