/** The DaemonSet controller: looks, plans, and does what the plan says. */
import { asPod, type KubeObject, sameValue } from '../../apiserver/objects.ts';
import type { ApiClient } from '../client.ts';
import type { Informer } from '../informer.ts';
import { removePod, reportStatus, unlessGone } from '../writes.ts';
import { planDaemonSet } from './plan.ts';
import { type DaemonSet, ownerReference, podFor, REVISION_HASH, revisionHash } from './template.ts';

export interface DaemonSetSources {
  readonly client: ApiClient;
  readonly sets: Informer;
  readonly pods: Informer;
  readonly nodes: Informer;
}

/** As the real controller's: the second failure of a pod on a node waits for a second, each further one twice as long. */
const FIRST_BACKOFF_MS = 1000;
const LONGEST_BACKOFF_MS = 15 * 60_000;

interface Backoff {
  readonly ms: number;
  readonly since: number;
}

export class DaemonSetController {
  readonly #sources: DaemonSetSources;
  readonly #backoffs = new Map<string, Backoff>();

  constructor(sources: DaemonSetSources) {
    this.#sources = sources;
  }

  /** One look at every DaemonSet. Returns after how many milliseconds to look again, if time alone makes a difference. Throws when the API does not answer. */
  async run(now: number): Promise<number | undefined> {
    const { sets, pods, nodes } = this.#sources;
    if (!sets.synced() || !pods.synced() || !nodes.synced()) return undefined;
    const waits: number[] = [];
    for (const object of sets.objects()) {
      const again = await this.#runOne(object as DaemonSet, now);
      if (again !== undefined) waits.push(again);
    }
    return waits.length === 0 ? undefined : Math.min(...waits);
  }

  async #runOne(set: DaemonSet, now: number): Promise<number | undefined> {
    const { client, pods, nodes, sets } = this.#sources;
    await this.#adopt(set);
    const hash = revisionHash(set);
    const key = (nodeName: string) => `${set.metadata.uid}/${hash}/${nodeName}`;
    const plan = planDaemonSet({
      set,
      nodes: nodes.objects(),
      pods: pods
        .objects()
        .filter((pod) => isControlledBy(pod, set))
        .map(asPod),
      now,
      backoff: (nodeName) => {
        const backoff = this.#backoffs.get(key(nodeName));
        return backoff === undefined ? 0 : Math.max(0, backoff.since + backoff.ms - now);
      },
    });
    for (const nodeName of plan.failed) this.#backoffs.set(key(nodeName), nextBackoff(this.#backoffs.get(key(nodeName)), now));
    for (const pod of plan.remove) await removePod(client, pods, pod);
    for (const nodeName of plan.create) {
      const path = `/api/v1/namespaces/${set.metadata.namespace}/pods`;
      pods.absorb((await client.request('POST', path, podFor(set, nodeName))) as KubeObject);
    }
    if (!sameValue(plan.status, set.status)) await reportStatus(client, sets, 'daemonsets', set, plan.status);
    return plan.againInMs;
  }

  /** A pod that the selector matches and that nobody controls becomes the DaemonSet's: it was left by one deleted with --cascade=orphan. */
  async #adopt(set: DaemonSet): Promise<void> {
    const { client, pods } = this.#sources;
    if (set.metadata.deletionTimestamp !== undefined) return;
    const selected = Object.entries(set.spec.selector.matchLabels ?? {});
    for (const pod of pods.objects()) {
      const { namespace, name, labels = {}, ownerReferences = [], deletionTimestamp } = pod.metadata;
      if (namespace !== set.metadata.namespace || deletionTimestamp !== undefined || ownerReferences.some((owner) => owner.controller))
        continue;
      if (selected.length === 0 || !selected.every(([key, value]) => labels[key] === value)) continue;
      if (labels[REVISION_HASH] === undefined) continue;
      const contentType = 'application/strategic-merge-patch+json';
      const patch = { metadata: { uid: pod.metadata.uid, ownerReferences: [ownerReference(set)] } };
      const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
      const answer = await unlessGone(() => client.request('PATCH', path, patch, { contentType }));
      if (answer !== undefined) pods.absorb(answer as KubeObject);
    }
  }
}

function nextBackoff(before: Backoff | undefined, now: number): Backoff {
  const ms = before === undefined ? FIRST_BACKOFF_MS : Math.min(2 * before.ms, LONGEST_BACKOFF_MS);
  return { ms, since: now };
}

export function isControlledBy(object: KubeObject, owner: KubeObject): boolean {
  return (object.metadata.ownerReferences ?? []).some((reference) => reference.controller === true && reference.uid === owner.metadata.uid);
}
