/**
 * An API server that was told to end (SIGTERM) closes its port at once and leaves open watches alone, until the kubelet kills it after its grace period:
 * to a watch it looks well for half a minute in which it answers nobody. Seen on kube-apiserver 1.36. So while a marked pod of this node is on its way
 * out, which may be the API server itself, the server is asked in between.
 */
import type { V1Pod } from '@kubernetes/client-node';
import { isMarked } from '../../checkpoint/selection.ts';
import type { Unreachable } from './answer.ts';
import type { ApiClient } from './client.ts';
import { sleep } from './timing.ts';

/** Between two questions, in milliseconds: what is lost here is added to every outage that a deleted API server makes. Asked only while a pod ends. */
const PERIOD = 100;
const TIMEOUT = 1_000;

export interface DepartureWatch {
  /** To be called with the pods of this node whenever they, or the state, have changed. */
  look(pods: Iterable<V1Pod>, reachable: boolean): void;
}

export function createDepartureWatch(
  client: Pick<ApiClient, 'probe'>,
  signal: AbortSignal,
  onGone: (failure: Unreachable) => void,
): DepartureWatch {
  let wanted = false;
  let asking = false;

  async function ask(): Promise<void> {
    asking = true;
    while (wanted && !signal.aborted) {
      const answer = await client.probe('/readyz', { signal, headTimeoutMs: TIMEOUT, bodyTimeoutMs: TIMEOUT, fresh: true });
      if (signal.aborted) break;
      if (wanted && answer.kind === 'unreachable' && answer.cause === 'refused') onGone(answer);
      await sleep(PERIOD, signal);
    }
    asking = false;
  }

  return {
    look(pods, reachable) {
      wanted = reachable && [...pods].some((pod) => pod.metadata?.deletionTimestamp !== undefined && isMarked(pod));
      if (wanted && !asking) void ask();
    },
  };
}
