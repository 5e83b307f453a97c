/** Patches: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and strategic merge patch as far as the lists named here. */
import { isMap, type JsonMap, sameValue } from './objects.ts';
import { ApiError, badRequest, unsupportedMediaType } from './status.ts';

/** Throws a 4xx for a patch that cannot be applied. */
export function applyPatch(contentType: string, target: unknown, patch: unknown): unknown {
  switch (contentType) {
    case 'application/merge-patch+json':
      return mergePatch(target, patch);
    case 'application/strategic-merge-patch+json':
      return strategicMerge(target, patch);
    case 'application/json-patch+json':
      if (!Array.isArray(patch)) throw badRequest('a JSON patch is an array of operations');
      return patch.reduce<unknown>(jsonPatchStep, target);
    default:
      throw unsupportedMediaType(`the body of the request was in an unknown format: ${contentType || 'no content type'}`);
  }
}

function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const result: JsonMap = isMap(target) ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) delete result[field];
    else result[field] = mergePatch(result[field], value);
  }
  return result;
}

/** Lists that a strategic merge patch merges by a key (`patchMergeKey` in the API types); a list of plain values has ''. All others are replaced. */
const MERGE_KEYS: Readonly<Record<string, string>> = {
  conditions: 'type',
  addresses: 'type',
  containers: 'name',
  initContainers: 'name',
  ephemeralContainers: 'name',
  env: 'name',
  volumes: 'name',
  volumeMounts: 'mountPath',
  ports: 'containerPort',
  imagePullSecrets: 'name',
  ownerReferences: 'uid',
  podIPs: 'ip',
  hostIPs: 'ip',
  finalizers: '',
};

function strategicMerge(target: unknown, patch: unknown): unknown {
  if (!isMap(patch)) return patch;
  const result: JsonMap = isMap(target) && patch['$patch'] !== 'replace' ? { ...target } : {};
  for (const [field, value] of Object.entries(patch)) {
    const key = MERGE_KEYS[field];
    if (field === '$patch' || field.startsWith('$setElementOrder/')) continue;
    if (field.startsWith('$deleteFromPrimitiveList/')) {
      const name = field.slice(field.indexOf('/') + 1);
      result[name] = asList(result[name]).filter((item) => !asList(value).includes(item));
    } else if (value === null) delete result[field];
    else if (Array.isArray(value) && key !== undefined) result[field] = mergeList(asList(result[field]), value, key);
    else result[field] = strategicMerge(result[field], value);
  }
  return result;
}

function mergeList(target: readonly unknown[], patch: readonly unknown[], key: string): unknown[] {
  if (key === '') return [...new Set([...target, ...patch])];
  const result = [...target];
  for (const item of patch) {
    if (!isMap(item)) throw badRequest(`a list merged by ${key} holds something that is not an object`);
    const at = result.findIndex((other) => isMap(other) && other[key] === item[key]);
    if (item['$patch'] === 'delete') {
      if (at >= 0) result.splice(at, 1);
    } else if (at >= 0) result[at] = strategicMerge(result[at], item);
    else result.push(item);
  }
  return result;
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function jsonPatchStep(target: unknown, step: unknown): unknown {
  if (!isMap(step) || typeof step['path'] !== 'string') throw badRequest('an operation of a JSON patch has op and path');
  const path = step['path'].split('/').slice(1).map(unescapePointer);
  switch (step['op']) {
    case 'add':
    case 'replace':
    case 'remove':
      return editAt(target, path, step['op'], step['value']);
    case 'test':
      if (sameValue(valueAt(target, path), step['value'])) return target;
      throw new ApiError(
        422,
        'Invalid',
        `the server rejected our request due to an error in our request: testing path ${step['path']} failed`,
      );
    default:
      throw badRequest(`JSON patch operation ${String(step['op'])} is not supported: use add, replace, remove or test`);
  }
}

function unescapePointer(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~');
}

function valueAt(target: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, part) => (Array.isArray(at) ? at[Number(part)] : isMap(at) ? at[part] : undefined), target);
}

function editAt(target: unknown, path: readonly string[], op: 'add' | 'replace' | 'remove', value: unknown): unknown {
  const [head, ...rest] = path;
  if (head === undefined) return value;
  if (Array.isArray(target)) return editList(target, head, rest, op, value);
  if (!isMap(target)) throw missingPath(head);
  if (op !== 'add' && !(head in target)) throw missingPath(head);
  const result = { ...target };
  if (rest.length > 0) result[head] = editAt(target[head], rest, op, value);
  else if (op === 'remove') delete result[head];
  else result[head] = value;
  return result;
}

function editList(
  target: readonly unknown[],
  head: string,
  rest: readonly string[],
  op: 'add' | 'replace' | 'remove',
  value: unknown,
): unknown {
  const at = head === '-' ? target.length : Number(head);
  if (!Number.isInteger(at) || at < 0 || at > target.length || (op !== 'add' && at === target.length)) throw missingPath(head);
  if (rest.length > 0) return target.with(at, editAt(target[at], rest, op, value));
  return op === 'add' ? target.toSpliced(at, 0, value) : op === 'remove' ? target.toSpliced(at, 1) : target.with(at, value);
}

function missingPath(part: string): ApiError {
  return new ApiError(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: no field ${JSON.stringify(part)} to patch`,
  );
}
