/**
 * Claims of marked pods, each with the volume that it is bound to. The node's identity may get them one by one and neither list nor watch them; what is
 * asked for here does not change while a pod uses the claim, so a claim is asked for until its volume is known, and then again for another pod only: by then it
 * can have been made anew.
 */
import type { V1PersistentVolume, V1PersistentVolumeClaim } from '@kubernetes/client-node';
import type { BoundClaim, ClaimRef, ObjectState } from '../../checkpoint/copy-types.ts';
import { objectKey } from '../../checkpoint/references.ts';
import type { ApiClient } from './client.ts';
import { withoutManagedFields } from './strip.ts';
import { backoff, sleep, type Timing } from './timing.ts';

export interface ClaimsOptions {
  readonly client: ApiClient;
  onChange(): void;
  gate(signal: AbortSignal): Promise<boolean>;
  readonly timing: Timing;
  readonly random: () => number;
}

export interface Claims {
  follow(refs: readonly ClaimRef[]): void;
  state(ref: ClaimRef): ObjectState<BoundClaim> | undefined;
  stop(): Promise<void>;
}

const SLOWEST_RETRY = 60_000;

interface Followed {
  state: ObjectState<BoundClaim>;
  readonly ending: AbortController;
  readonly ended: Promise<void>;
}

export function createClaims(options: ClaimsOptions): Claims {
  const { client, timing, random } = options;
  const followed = new Map<string, Followed>();
  const ending = new Set<Promise<void>>();

  function start(ref: ClaimRef): Followed {
    const entry = {
      state: { state: 'unknown', detail: 'not read yet' } as ObjectState<BoundClaim>,
      ending: new AbortController(),
      ended: Promise.resolve(),
    };
    return Object.assign(entry, { ended: read(ref, entry, entry.ending.signal) });
  }

  async function read(ref: ClaimRef, entry: { state: ObjectState<BoundClaim> }, signal: AbortSignal): Promise<void> {
    await Promise.resolve();
    for (let attempts = 1; !signal.aborted; attempts++) {
      const state = await readClaim(ref, signal);
      if (signal.aborted) return;
      const changed = JSON.stringify(state) !== JSON.stringify(entry.state);
      entry.state = changed ? state : entry.state;
      if (changed) options.onChange();
      if (state.state === 'present' && state.object.volume.state === 'present') return;
      await sleep(backoff(attempts, { ...timing, maxDelay: Math.max(timing.maxDelay, SLOWEST_RETRY) }, random()), signal);
      if (await options.gate(signal)) attempts = 0;
    }
  }

  async function readClaim(ref: ClaimRef, signal: AbortSignal): Promise<ObjectState<BoundClaim>> {
    const namespace = encodeURIComponent(ref.namespace);
    const path = `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${encodeURIComponent(ref.name)}`;
    const claim = await get<V1PersistentVolumeClaim>(path, signal);
    if (claim.state !== 'present') return claim;
    const volumeName = claim.object.spec?.volumeName ?? '';
    const volume: ObjectState<V1PersistentVolume> =
      volumeName === ''
        ? { state: 'unknown', detail: 'not bound' }
        : await get<V1PersistentVolume>(`/api/v1/persistentvolumes/${encodeURIComponent(volumeName)}`, signal);
    return { state: 'present', object: { claim: claim.object, volume } };
  }

  async function get<T extends object>(path: string, signal: AbortSignal): Promise<ObjectState<T>> {
    const answer = await client.get(path, { signal, headTimeoutMs: timing.headTimeout, bodyTimeoutMs: timing.bodyTimeout });
    switch (answer.kind) {
      case 'ok':
        return { state: 'present', object: withoutManagedFields(answer.body as T) };
      case 'denied':
        return { state: 'denied', detail: answer.detail };
      case 'status':
        return answer.status === 404 ? { state: 'absent' } : { state: 'unknown', detail: answer.detail };
      case 'unreachable':
        return { state: 'unknown', detail: answer.detail };
    }
  }

  function end(key: string, entry: Followed): void {
    followed.delete(key);
    entry.ending.abort();
    const ended = entry.ended.finally(() => ending.delete(ended));
    ending.add(ended);
  }

  return {
    follow(refs) {
      const wanted = new Map(refs.map((ref) => [objectKey(ref), ref]));
      for (const [key, entry] of [...followed]) if (!wanted.has(key)) end(key, entry);
      for (const [key, ref] of wanted) if (!followed.has(key)) followed.set(key, start(ref));
    },
    state: (ref) => followed.get(objectKey(ref))?.state,
    async stop() {
      for (const [key, entry] of [...followed]) end(key, entry);
      await Promise.all(ending);
    },
  };
}
