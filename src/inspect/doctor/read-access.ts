/**
 * What an identity may do, asked of the API server itself (SelfSubjectReview, SelfSubjectAccessReview): nothing is tried out, and nothing is stored by these
 * questions. And what time the API server has.
 */

import { https } from '../../platform/builtin.ts';
import type { Answer } from '../../sources/api/answer.ts';
import { type ApiClient, createApiClient } from '../../sources/api/client.ts';
import { createCredentials } from '../../sources/api/credentials.ts';
import type { Kubeconfig } from '../../sources/api/kubeconfig.ts';

export type AccessFacts =
  | { readonly state: 'read'; readonly user: string | undefined; readonly reviews: readonly Review[] }
  | { readonly state: 'unknown'; readonly detail: string };

export interface Review {
  /** `list pods of this node`. */
  readonly what: string;
  /** Whether the checkpointer needs it; what it does not need it should not have. */
  readonly wanted: boolean;
  readonly allowed: boolean;
}

interface Question {
  readonly what: string;
  readonly wanted: boolean;
  readonly attributes: object;
}

/** The Node authorizer lets a node list pods by its own name only, and the review has to say so (Kubernetes 1.31 and later take selectors in reviews). */
export function nodeQuestions(nodeName: string): Question[] {
  const own = { fieldSelector: { requirements: [{ key: 'spec.nodeName', operator: 'In', values: [nodeName] }] } };
  return [
    ...['list', 'watch'].map((verb) => ({
      what: `${verb} the pods of this node`,
      wanted: true,
      attributes: { verb, resource: 'pods', ...own },
    })),
    { what: 'create events', wanted: true, attributes: { verb: 'create', resource: 'events', namespace: 'default' } },
    {
      what: "patch this node's status",
      wanted: true,
      attributes: { verb: 'patch', resource: 'nodes', subresource: 'status', name: nodeName },
    },
    NO_SECRETS,
  ];
}

export function ownersQuestions(): Question[] {
  const owners = ['daemonsets', 'deployments', 'replicasets', 'statefulsets'].map((resource) => ({ group: 'apps', resource }));
  return [
    ...[...owners, { group: '', resource: 'pods' }].map((one) => ({
      what: `list ${one.resource}`,
      wanted: true,
      attributes: { verb: 'list', ...one },
    })),
    NO_SECRETS,
  ];
}

const NO_SECRETS: Question = { what: 'list all Secrets', wanted: false, attributes: { verb: 'list', resource: 'secrets' } };

export async function readAccess(
  config: Kubeconfig,
  questions: (user: string | undefined) => Question[],
  timeoutMs: number,
): Promise<AccessFacts> {
  const client = createApiClient(config);
  try {
    const post = (api: string, resource: string, kind: string, spec: object | undefined) =>
      client.post(`/apis/${api}/v1/${resource}`, { apiVersion: `${api}/v1`, kind, ...(spec && { spec }) }, deadlines(timeoutMs));
    const user = userOf(await post('authentication.k8s.io', 'selfsubjectreviews', 'SelfSubjectReview', undefined));
    const reviews = await Promise.all(
      questions(user).map(async ({ what, wanted, attributes }): Promise<Review> => {
        const spec = { resourceAttributes: attributes };
        const answer = await post('authorization.k8s.io', 'selfsubjectaccessreviews', 'SelfSubjectAccessReview', spec);
        if (answer.kind !== 'ok') throw new Error(answer.detail);
        return { what, wanted, allowed: field(field(answer.body, 'status'), 'allowed') === true };
      }),
    );
    return { state: 'read', user, reviews };
  } catch (error) {
    return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
  } finally {
    client.close();
  }
}

function deadlines(timeoutMs: number): Parameters<ApiClient['post']>[2] {
  return { signal: AbortSignal.timeout(timeoutMs), headTimeoutMs: timeoutMs, bodyTimeoutMs: timeoutMs };
}

function userOf(answer: Answer<unknown>): string | undefined {
  const name = answer.kind === 'ok' ? field(field(field(answer.body, 'status'), 'userInfo'), 'username') : undefined;
  return typeof name === 'string' ? name : undefined;
}

function field(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
}

/** Milliseconds that this clock is ahead of the API server's, by the Date header of any answer, also of one that refuses; undefined where there is none. */
export async function readClockAhead(config: Kubeconfig, timeoutMs: number, now: () => number = Date.now): Promise<number | undefined> {
  const credentials = createCredentials(config);
  try {
    const { context } = await credentials.current();
    const date = await new Promise<string | undefined>((resolve, reject) => {
      const { Agent, request } = https();
      const asking = request(
        new URL('/version', config.server),
        {
          method: 'HEAD',
          signal: AbortSignal.timeout(timeoutMs),
          agent: new Agent({
            keepAlive: false,
            rejectUnauthorized: true,
            secureContext: context,
            ...(config.serverName !== undefined && { servername: config.serverName }),
          }),
        },
        (response) => {
          response.resume();
          resolve(response.headers.date);
        },
      );
      asking.on('error', reject);
      asking.end();
    });
    const theirs = Date.parse(date ?? '');
    return Number.isNaN(theirs) ? undefined : now() - theirs;
  } catch {
    return undefined;
  } finally {
    credentials.close();
  }
}
