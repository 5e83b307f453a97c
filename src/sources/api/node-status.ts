/**
 * Writes one condition of this node's status. A strategic merge patch: node conditions are merged by their type (patchMergeKey in the API's types), so
 * those of the kubelet stay as they are. A node may read its own object and PATCH its status; reading `nodes/status` is forbidden to it.
 */
import { CONDITION_TYPE, type NodeCondition } from '../../report/condition.ts';
import { wholeSeconds } from '../../report/events.ts';
import type { Answer } from './answer.ts';
import type { ApiClient, RequestOptions } from './client.ts';

export interface StoredCondition {
  readonly status: string;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

/** The condition as the node has it; undefined where it has none. */
export async function readCondition(
  client: Pick<ApiClient, 'get'>,
  nodeName: string,
  options: RequestOptions,
): Promise<Answer<StoredCondition | undefined>> {
  const answer = await client.get(nodePath(nodeName), options);
  return answer.kind === 'ok' ? { kind: 'ok', body: conditionIn(answer.body) } : answer;
}

export function writeCondition(
  client: Pick<ApiClient, 'patch'>,
  nodeName: string,
  { status, reason, message }: NodeCondition,
  times: { readonly heartbeat: string; readonly transition: string },
  options: RequestOptions,
): Promise<Answer<unknown>> {
  const condition = {
    type: CONDITION_TYPE,
    status,
    reason,
    message,
    lastHeartbeatTime: wholeSeconds(times.heartbeat),
    lastTransitionTime: wholeSeconds(times.transition),
  };
  return client.patch(`${nodePath(nodeName)}/status`, { status: { conditions: [condition] } }, options);
}

const nodePath = (name: string) => `/api/v1/nodes/${encodeURIComponent(name)}`;

function conditionIn(node: unknown): StoredCondition | undefined {
  const { status } = (node ?? {}) as { status?: { conditions?: readonly Partial<StoredCondition & { type: string }>[] } };
  const found = status?.conditions?.find(({ type }) => type === CONDITION_TYPE);
  return typeof found?.status === 'string' && typeof found.lastTransitionTime === 'string'
    ? { status: found.status, lastTransitionTime: found.lastTransitionTime }
    : undefined;
}
