/** Who a request is from: the subject of a client certificate that the client CA signed, or the service account of a bearer token. */
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { User } from './authorize.ts';
import type { TokenIssuer } from './tokens.ts';

export const ANONYMOUS: User = { name: 'system:anonymous', groups: ['system:unauthenticated'] };

/** Undefined for a request without a certificate or a token, or with one that does not verify. */
export function authenticate(request: IncomingMessage, tokens: TokenIssuer): User | undefined {
  return byCertificate(request) ?? byToken(request, tokens);
}

function byToken({ headers }: IncomingMessage, tokens: TokenIssuer): User | undefined {
  const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1];
  return token === undefined ? undefined : tokens.userOf(token);
}

function byCertificate({ socket }: IncomingMessage): User | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const { subject } = socket.getPeerCertificate() as { subject?: { CN?: string | string[]; O?: string | string[] } };
  const [name] = [subject?.CN ?? []].flat();
  if (name === undefined) return undefined;
  return { name, groups: [...[subject?.O ?? []].flat(), 'system:authenticated'] };
}
