/** The garbage collector: deletes what all of whose owners are gone, and lets go of dependents that are to be orphaned. */
import type { KubeObject } from '../apiserver/objects.ts';
import { RESOURCES } from '../apiserver/resources.ts';
import { AnswerError, type ApiClient } from './client.ts';
import type { Informer } from './informer.ts';

export interface GarbageSources {
  readonly client: ApiClient;
  /** Where dependents are. */
  readonly dependents: readonly Informer[];
  /** Where owners are; one that is not found here is asked for. */
  readonly owners: readonly Informer[];
}

const MERGE = { contentType: 'application/merge-patch+json' };

export async function collectGarbage(sources: GarbageSources): Promise<void> {
  const informers = [...sources.dependents, ...sources.owners];
  if (!informers.every((informer) => informer.synced())) return;
  const owners = sources.owners.flatMap((informer) => informer.objects());
  for (const owner of owners.filter((object) => object.metadata.finalizers?.includes('orphan'))) await orphanDependents(sources, owner);
  const uids = new Set(owners.map((owner) => owner.metadata.uid));
  for (const informer of sources.dependents) {
    for (const object of informer.objects()) {
      const references = object.metadata.ownerReferences ?? [];
      if (references.length === 0 || object.metadata.deletionTimestamp !== undefined) continue;
      if (references.some((reference) => uids.has(reference.uid))) continue;
      const gone = await Promise.all(references.map((reference) => isGone(sources.client, object.metadata.namespace ?? '', reference)));
      if (gone.every((is) => is)) await remove(sources.client, informer, object);
    }
  }
}

interface Reference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
}

/** Only an answer says that an owner is gone: a cache may not have seen it yet. */
async function isGone(client: ApiClient, namespace: string, reference: Reference): Promise<boolean> {
  const path = pathOf(reference.apiVersion, reference.kind, namespace, reference.name);
  if (path === undefined) return false;
  try {
    const owner = (await client.request('GET', path)) as KubeObject;
    return owner.metadata.uid !== reference.uid;
  } catch (error) {
    if (error instanceof AnswerError && error.code === 404) return true;
    throw error;
  }
}

async function remove(client: ApiClient, informer: Informer, object: KubeObject): Promise<void> {
  const path = pathOf(object.apiVersion, object.kind, object.metadata.namespace ?? '', object.metadata.name);
  if (path === undefined) return;
  try {
    await client.request('DELETE', path, { preconditions: { uid: object.metadata.uid }, propagationPolicy: 'Background' });
  } catch (error) {
    if (!(error instanceof AnswerError) || (error.code !== 404 && error.code !== 409)) throw error;
    if (error.code === 404) informer.forget(object);
  }
}

async function orphanDependents(sources: GarbageSources, owner: KubeObject): Promise<void> {
  for (const informer of sources.dependents) {
    for (const object of informer.objects()) {
      const references = object.metadata.ownerReferences ?? [];
      const path = pathOf(object.apiVersion, object.kind, object.metadata.namespace ?? '', object.metadata.name);
      if (path === undefined || !references.some((reference) => reference.uid === owner.metadata.uid)) continue;
      const others = references.filter((reference) => reference.uid !== owner.metadata.uid);
      informer.absorb((await sources.client.request('PATCH', path, { metadata: { ownerReferences: others } }, MERGE)) as KubeObject);
    }
  }
  const path = pathOf(owner.apiVersion, owner.kind, owner.metadata.namespace ?? '', owner.metadata.name);
  const finalizers = (owner.metadata.finalizers ?? []).filter((finalizer) => finalizer !== 'orphan');
  if (path !== undefined) await sources.client.request('PATCH', path, { metadata: { finalizers } }, MERGE);
}

function pathOf(apiVersion: string, kind: string, namespace: string, name: string): string | undefined {
  const resource = RESOURCES.find((r) => r.kind === kind && apiVersion === (r.group === '' ? r.version : `${r.group}/${r.version}`));
  if (resource === undefined) return undefined;
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  return resource.namespaced ? `${root}/namespaces/${namespace}/${resource.plural}/${name}` : `${root}/${resource.plural}/${name}`;
}
