/**
 * Service account tokens, as far as a kubelet or a client sees them: issued for TokenRequest, accepted as bearer tokens while the pod that they are bound to
 * exists. Signed with HMAC and a key of the process' data directory instead of RS256: nobody but the API servers on this data verifies them.
 */
import { createHmac, randomBytes, randomUUID, timingSafeEqual } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { User } from './authorize.ts';
import { isMap, type KubeObject } from './objects.ts';
import type { ResourceRequest } from './request.ts';
import { ApiError, badRequest, forbidden } from './status.ts';

/** The API server's own audience: that of a request which names none. */
const OWN_AUDIENCE = 'https://kubernetes.default.svc';
/** pkg/registry/core/serviceaccount/storage: what is asked for by default, and the least that is given. */
const DEFAULT_SECONDS = 3600;
const LEAST_SECONDS = 600;

interface Claims {
  readonly aud: readonly string[];
  readonly exp: number;
  readonly sub: string;
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
}

export interface TokenIssuer {
  /** Throws a 400, 403 or 409. */
  issue(request: ResourceRequest, account: KubeObject, body: unknown): object;
  /** Undefined for a token that is not ours, has ended, is for others, or whose pod is gone. */
  userOf(token: string): User | undefined;
}

export function createTokenIssuer(
  dataDirectory: string,
  now: () => number,
  podUid: (namespace: string, name: string) => string | undefined,
): TokenIssuer {
  const key = signingKey(path.join(dataDirectory, 'service-account.key'));
  const sign = (text: string) => createHmac('sha256', key).update(text).digest('base64url');
  return {
    issue(request, account, body) {
      const spec = isMap(body) && isMap(body['spec']) ? body['spec'] : {};
      const audiences = Array.isArray(spec['audiences']) ? spec['audiences'].map(String) : [];
      const seconds = spec['expirationSeconds'] === undefined ? DEFAULT_SECONDS : Number(spec['expirationSeconds']);
      if (!(seconds >= LEAST_SECONDS))
        throw badRequest(`spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes`);
      const bound = isMap(spec['boundObjectRef']) ? spec['boundObjectRef'] : undefined;
      const pod = bound && { namespace: request.namespace, name: String(bound['name']), uid: String(bound['uid'] ?? '') };
      if (pod !== undefined) {
        const uid = podUid(pod.namespace, pod.name);
        if (uid === undefined) throw new ApiError(404, 'NotFound', `pods "${pod.name}" not found`);
        if (pod.uid !== '' && pod.uid !== uid)
          throw new ApiError(409, 'Conflict', `the UID in the bound object reference (${pod.uid}) does not match the UID in record`);
      }
      const iat = Math.floor(now() / 1000);
      const exp = iat + seconds;
      const claims = {
        aud: audiences.length === 0 ? [OWN_AUDIENCE] : audiences,
        exp,
        // As Kubernetes' own have it (pkg/serviceaccount/claims.go): without it nobody can tell how much of its life is left.
        iat,
        jti: randomUUID(),
        sub: `system:serviceaccount:${request.namespace}:${account.metadata.name}`,
        pod,
      };
      const unsigned = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(claims)}`;
      return {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: { name: account.metadata.name, namespace: request.namespace },
        spec: { ...spec, audiences: claims.aud, expirationSeconds: seconds },
        status: { token: `${unsigned}.${sign(unsigned)}`, expirationTimestamp: new Date(exp * 1000).toISOString() },
      };
    },
    userOf(token) {
      const [head = '', payload = '', signature = ''] = token.split('.');
      const expected = Buffer.from(sign(`${head}.${payload}`));
      const given = Buffer.from(signature);
      if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
      const { aud, exp, sub, pod } = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Claims;
      if (!aud.includes(OWN_AUDIENCE) || now() >= exp * 1000) return undefined;
      if (pod !== undefined && podUid(pod.namespace, pod.name) !== pod.uid) return undefined;
      const namespace = sub.split(':')[2] ?? '';
      return { name: sub, groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'] };
    },
  };
}

/** A node may only ask for tokens of its own pods, bound to them, for an audience that they name (NodeRestriction). */
export function restrictTokenRequest(
  user: User,
  request: ResourceRequest,
  body: unknown,
  pod: (
    namespace: string,
    name: string,
  ) => { readonly node: string; readonly account: string; readonly audiences: readonly string[] } | undefined,
): ApiError | undefined {
  if (!user.groups.includes('system:nodes')) return undefined;
  const node = user.name.slice('system:node:'.length);
  const refuse = (message: string) => forbidden(request.resource, request.name, message);
  const spec = isMap(body) && isMap(body['spec']) ? body['spec'] : {};
  const bound = isMap(spec['boundObjectRef']) ? spec['boundObjectRef'] : undefined;
  if (bound === undefined || bound['kind'] !== 'Pod' || !bound['uid']) return refuse('node requested token not bound to a pod');
  const found = pod(request.namespace, String(bound['name']));
  if (found === undefined || found.node !== node) return refuse('node requested token bound to a pod scheduled on a different node');
  if (found.account !== request.name) return refuse('node requested token with a different service account than that of the pod');
  const audiences = Array.isArray(spec['audiences']) ? spec['audiences'].map(String) : [];
  const strange = audiences.find((audience) => !found.audiences.includes(audience));
  return strange === undefined ? undefined : refuse(`audience "${strange}" not found in pod spec volume`);
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** Made once for the data: two API servers on it accept each other's tokens, and a restart ends none. */
function signingKey(file: string): Buffer {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  const own = `${file}.${process.pid}`;
  fs.writeFileSync(own, randomBytes(32), { mode: 0o600 });
  try {
    fs.linkSync(own, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    fs.rmSync(own, { force: true });
  }
  return fs.readFileSync(file);
}
