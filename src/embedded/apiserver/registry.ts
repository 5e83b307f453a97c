/** Creates, changes and deletes stored objects with Kubernetes' rules: names, uids, conflicts, generations, graceful deletion, finalizers. */
import { randomUUID } from 'node:crypto';
import { generateName, isSubdomain } from './names.ts';
import { asPod, isMap, type KubeObject, type Meta, sameValue, timestamp, withoutMeta } from './objects.ts';
import { applyPatch } from './patch.ts';
import type { ResourceRequest } from './request.ts';
import { apiVersionOf, type Resource, resourceNamed } from './resources.ts';
import { type ApiError, alreadyExists, badRequest, conflict, invalid, notFound, qualified, success } from './status.ts';
import type { Storage } from './storage.ts';
import { defaulted, updated } from './strategy.ts';
import { keyOf, storageKey } from './watch-cache.ts';

/** A change that another one got in front of is computed again from the new state; this many times. */
const ATTEMPTS = 20;
const STALE = 'the object has been modified; please apply your changes to the latest version and try again';

export interface DeleteOptions {
  readonly gracePeriodSeconds?: number;
  readonly preconditions?: { readonly uid?: string; readonly resourceVersion?: string };
  readonly propagationPolicy?: string;
  readonly orphanDependents?: boolean;
}

export class Registry {
  readonly #storage: Storage;
  readonly #now: () => number;

  constructor(storage: Storage, now: () => number) {
    this.#storage = storage;
    this.#now = now;
  }

  /** Throws a 404. */
  get(resource: Resource, namespace: string, name: string): KubeObject {
    const object = this.find(resource, namespace, name);
    if (object === undefined) throw notFound(resource, name);
    return object;
  }

  find(resource: Resource, namespace: string, name: string): KubeObject | undefined {
    return this.#storage.get(storageKey(qualified(resource), namespace, name));
  }

  create(request: ResourceRequest, body: unknown): KubeObject {
    const { resource, namespace } = request;
    const sent = parseObject(resource, body);
    const name = sent.metadata.name || (sent.metadata.generateName === undefined ? '' : generateName(sent.metadata.generateName));
    if (name === '') throw invalid(resource, '', [{ field: 'metadata.name', message: 'Required value: name or generateName is required' }]);
    if (!isSubdomain(name))
      throw invalid(resource, name, [{ field: 'metadata.name', message: 'Invalid value: a lowercase RFC 1123 subdomain' }]);
    if ((sent.metadata.namespace ?? namespace) !== namespace)
      throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
    if (resource.namespaced) this.get(resourceNamed('namespaces'), '', namespace);
    const metadata: Meta = {
      ...withoutMeta(sent, ['resourceVersion', 'deletionTimestamp', 'deletionGracePeriodSeconds', 'generation']).metadata,
      name,
      ...(resource.namespaced ? { namespace } : {}),
      uid: randomUUID(),
      creationTimestamp: timestamp(this.#now()),
      ...(resource.counted ? { generation: 1 } : {}),
    };
    // The status of a pod or a controller is its reporter's to write, later; a node registers itself with one.
    const { status, ...rest } = sent;
    const reported = resource.namespaced && resource.subresources.includes('status') ? {} : { status };
    const object = defaulted(resource, { ...rest, ...(reported.status === undefined ? {} : { status }), metadata });
    if (isDryRun(request)) return object;
    return this.#store(resource, object, 0) ?? fail(alreadyExists(resource, name));
  }

  update(request: ResourceRequest, body: unknown): KubeObject {
    const { resource, namespace, name, subresource } = request;
    const sent = parseObject(resource, body);
    if (sent.metadata.name !== name)
      throw badRequest(`the name of the object (${sent.metadata.name}) does not match the name on the URL (${name})`);
    if (resource.kind === 'Lease' && this.find(resource, namespace, name) === undefined) return this.create(request, body);
    return this.#change(request, (current) => {
      checkVersion(resource, current, sent.metadata.uid, sent.metadata.resourceVersion);
      return this.#merge(resource, current, sent, subresource);
    });
  }

  patch(request: ResourceRequest, contentType: string, patch: unknown): KubeObject {
    const { resource, subresource } = request;
    return this.#change(request, (current) => {
      const sent = parseObject(resource, applyPatch(contentType, current, patch));
      if (sent.metadata.name !== current.metadata.name) throw badRequest('metadata.name cannot be changed by a patch');
      checkVersion(resource, current, sent.metadata.uid, sent.metadata.resourceVersion);
      return this.#merge(resource, current, sent, subresource);
    });
  }

  /** Binds a pending pod to a node, as the scheduler asks by POST pods/<name>/binding. */
  bind(request: ResourceRequest, body: unknown): object {
    const target = isMap(body) && isMap(body['target']) ? body['target']['name'] : undefined;
    if (typeof target !== 'string' || target === '') throw badRequest('a binding names its node in target.name');
    this.#change({ ...request, subresource: '' }, (current) => {
      const pod = asPod(current);
      if (pod.spec.nodeName !== undefined && pod.spec.nodeName !== '')
        throw conflict(
          request.resource,
          request.name,
          `pod ${request.name} is already assigned to node ${JSON.stringify(pod.spec.nodeName)}`,
        );
      if (pod.metadata.deletionTimestamp !== undefined)
        throw conflict(request.resource, request.name, `pod ${request.name} is being deleted, cannot be assigned to a host`);
      const scheduled = { type: 'PodScheduled', status: 'True', lastTransitionTime: timestamp(this.#now()) } as const;
      const others = (pod.status?.conditions ?? []).filter((condition) => condition.type !== 'PodScheduled');
      return { ...pod, spec: { ...pod.spec, nodeName: target }, status: { ...pod.status, conditions: [...others, scheduled] } };
    });
    return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 };
  }

  delete(request: ResourceRequest, options: DeleteOptions): object {
    const { resource, namespace, name } = request;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const current = this.get(resource, namespace, name);
      checkPreconditions(resource, current, options);
      if (isDryRun(request)) return current;
      const next = this.#deleted(resource, current, options);
      if (sameValue(next, current)) return current;
      const stored = this.#store(resource, next ?? current, versionOf(current), next === undefined);
      if (stored === undefined) continue;
      return next !== undefined || resource.kind === 'Pod' ? stored : success(resource, name, current.metadata.uid ?? '');
    }
    throw conflict(resource, name, STALE);
  }

  /** What is left of an object that is deleted: undefined when it goes at once. */
  #deleted(resource: Resource, current: KubeObject, options: DeleteOptions): KubeObject | undefined {
    const orphan = options.propagationPolicy === 'Orphan' || options.orphanDependents === true;
    const finalizers = [...new Set([...(current.metadata.finalizers ?? []), ...(orphan ? ['orphan'] : [])])];
    const grace = resource.kind === 'Pod' ? podGrace(current, options.gracePeriodSeconds) : 0;
    if (grace === 0 && finalizers.length === 0) return undefined;
    const { deletionTimestamp, deletionGracePeriodSeconds } = current.metadata;
    // A deletion under way can be shortened, never lengthened.
    const known = deletionTimestamp !== undefined && (deletionGracePeriodSeconds ?? 0) <= grace;
    const deletion = known ? {} : { deletionTimestamp: timestamp(this.#now() + grace * 1000), deletionGracePeriodSeconds: grace };
    return { ...current, metadata: { ...current.metadata, ...(finalizers.length === 0 ? {} : { finalizers }), ...deletion } };
  }

  #change(request: ResourceRequest, compute: (current: KubeObject) => KubeObject): KubeObject {
    const { resource, namespace, name } = request;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const current = this.get(resource, namespace, name);
      const next = compute(current);
      // A change of nothing makes no new revision and no event.
      if (isDryRun(request) || sameValue(next, current)) return next;
      const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = next.metadata;
      const released = deletionTimestamp !== undefined && deletionGracePeriodSeconds === 0 && finalizers.length === 0;
      const stored = this.#store(resource, next, versionOf(current), released);
      if (stored !== undefined) return stored;
    }
    throw conflict(resource, name, STALE);
  }

  #merge(resource: Resource, current: KubeObject, sent: KubeObject, subresource: string): KubeObject {
    const next = updated(resource, current, sent, subresource);
    const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation, resourceVersion } = current.metadata;
    const changed = resource.counted && !sameValue(current.spec, next.spec);
    const fixed = Object.entries({ uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, resourceVersion });
    const metadata: Meta = {
      ...withoutMeta(next, ['deletionTimestamp', 'deletionGracePeriodSeconds']).metadata,
      ...Object.fromEntries(fixed.filter(([, value]) => value !== undefined)),
      ...(generation === undefined ? {} : { generation: changed ? generation + 1 : generation }),
    };
    return { ...next, metadata };
  }

  /** Stores or removes. Undefined when another change came first. The answer to a removal bears the revision of the removal. */
  #store(resource: Resource, object: KubeObject, expect: number, remove = false): KubeObject | undefined {
    const revision = this.#storage.put(keyOf(qualified(resource), object), expect, remove ? undefined : object);
    return revision === 'void' ? undefined : { ...object, metadata: { ...object.metadata, resourceVersion: String(revision) } };
  }
}

/** Seconds a pod is given: none when no kubelet runs it or it has ended. */
function podGrace(object: KubeObject, asked: number | undefined): number {
  const pod = asPod(object);
  if ((pod.spec.nodeName ?? '') === '') return 0;
  if (pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed') return 0;
  return Math.max(0, asked ?? pod.spec.terminationGracePeriodSeconds ?? 30);
}

function versionOf(object: KubeObject): number {
  return Number(object.metadata.resourceVersion ?? 0);
}

function isDryRun(request: ResourceRequest): boolean {
  return request.query.has('dryRun');
}

function fail(error: ApiError): never {
  throw error;
}

function checkVersion(resource: Resource, current: KubeObject, uid: string | undefined, version: string | undefined): void {
  const { name } = current.metadata;
  if (uid !== undefined && uid !== current.metadata.uid)
    throw conflict(resource, name, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid ?? ''}`);
  if (version !== undefined && version !== current.metadata.resourceVersion) throw conflict(resource, name, STALE);
}

function checkPreconditions(resource: Resource, current: KubeObject, options: DeleteOptions): void {
  const { uid, resourceVersion } = options.preconditions ?? {};
  checkVersion(resource, current, uid, resourceVersion);
}

/** Throws a 400 for a body that is not an object of this resource. */
export function parseObject(resource: Resource, body: unknown): KubeObject {
  if (!isMap(body)) throw badRequest(`the body is not a JSON object: expected a ${resource.kind}`);
  const apiVersion = body['apiVersion'] ?? apiVersionOf(resource);
  const kind = body['kind'] ?? resource.kind;
  if (apiVersion !== apiVersionOf(resource) || kind !== resource.kind)
    throw badRequest(`${String(apiVersion)} ${String(kind)} sent where ${apiVersionOf(resource)} ${resource.kind} was expected`);
  if (body['metadata'] !== undefined && !isMap(body['metadata'])) throw badRequest('metadata is not an object');
  return { ...body, apiVersion: apiVersionOf(resource), kind: resource.kind, metadata: { name: '', ...body['metadata'] } };
}
