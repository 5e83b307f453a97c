/**
 * What ends: certificates, kubeconfigs with certificates or tokens in them, service account tokens. Pure. Nothing of a file but the times is kept: what
 * lies in a generation comes from Secrets.
 */
import { X509Certificate } from 'node:crypto';

export interface Expiry {
  /** The file in the generation. */
  readonly path: string;
  readonly kind: 'certificate' | 'kubeconfig' | 'token';
  /** RFC 3339, UTC; undefined where it does not say. */
  readonly from: string | undefined;
  readonly to: string;
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
/** In YAML and in JSON. */
const EMBEDDED_CERTIFICATE = /\bclient-certificate-data"?:\s*"?([A-Za-z0-9+/=]+)/g;
const EMBEDDED_TOKEN = /(?:^|[\s"{,])token"?:\s*"?([\w-]+\.[\w-]+\.[\w-]+)/g;
const JWT = /^[\w-]{2,}\.[\w-]{2,}\.[\w-]*$/;

/** Each thing in the file that has an end. A file that is none of these, or is broken, gives nothing: whoever uses it says what is wrong with it. */
export function endsIn(path: string, bytes: Buffer): Expiry[] {
  const text = bytes.toString('latin1');
  if (text.includes('-----BEGIN CERTIFICATE-----')) return certificates(text).map((times) => ({ path, kind: 'certificate', ...times }));
  const trimmed = text.trim();
  if (JWT.test(trimmed)) return token(trimmed).map((times) => ({ path, kind: 'token', ...times }));
  if (!/client-certificate-data|token/.test(text) || !/current-context|clusters/.test(text)) return [];
  const embedded = [...text.matchAll(EMBEDDED_CERTIFICATE)].flatMap(([, data = '']) =>
    certificates(Buffer.from(data, 'base64').toString('latin1')),
  );
  const tokens = [...text.matchAll(EMBEDDED_TOKEN)].flatMap(([, jwt = '']) => token(jwt));
  return [...embedded, ...tokens].map((times) => ({ path, kind: 'kubeconfig', ...times }));
}

interface Times {
  readonly from: string | undefined;
  readonly to: string;
}

function certificates(pem: string): Times[] {
  return [...pem.matchAll(CERTIFICATE)].flatMap(([block]) => {
    try {
      const { validFromDate, validToDate } = new X509Certificate(block);
      return [{ from: validFromDate.toISOString(), to: validToDate.toISOString() }];
    } catch {
      return [];
    }
  });
}

/** The times that a JSON Web Token claims, in seconds since the epoch (RFC 7519). Whether it is signed well is not asked. */
function token(jwt: string): Times[] {
  try {
    const claims: unknown = JSON.parse(Buffer.from(jwt.split('.')[1] ?? '', 'base64url').toString());
    const { exp, iat } = Object(claims) as { exp?: unknown; iat?: unknown };
    if (typeof exp !== 'number') return [];
    return [{ from: typeof iat === 'number' ? rfc3339(iat) : undefined, to: rfc3339(exp) }];
  } catch {
    return [];
  }
}

const rfc3339 = (seconds: number): string => new Date(seconds * 1000).toISOString();
