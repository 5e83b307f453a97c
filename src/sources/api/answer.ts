/**
 * How an answer of the API server is to be understood (design, section 3): it answered, it could not be reached, or it refused us.
 * Denied and unreachable delete nothing.
 */

/** Why no answer can be used. What is done differently: after `refused` the next attempt is cheap and comes quickly. */
export type Cause =
  /** Nothing listens at the address. */
  | 'refused'
  /** No answer within the deadline. */
  | 'timeout'
  /** The connection broke, or could not be made. */
  | 'connection'
  /** The server's certificate does not verify, or the handshake failed. */
  | 'tls'
  /** 5xx, 429, or a status that an API server does not give to such a request. */
  | 'status'
  /** An answer that cannot be read: not JSON, too large. */
  | 'unreadable'
  /** Our own certificate, key or token cannot be read. */
  | 'credentials'
  /** The caller's signal. */
  | 'aborted';

export interface Unreachable {
  readonly kind: 'unreachable';
  readonly cause: Cause;
  readonly detail: string;
  /** What Retry-After asked for, in milliseconds. */
  readonly retryAfter: number | undefined;
}

export interface Denied {
  readonly kind: 'denied';
  readonly status: 401 | 403;
  readonly detail: string;
}

/** Another status than 2xx that says something about what was asked for: 404, 409, 410 … */
export interface Refused {
  readonly kind: 'status';
  readonly status: number;
  /** The reason of the Kubernetes Status object (`NotFound`, `Expired`); undefined where the body is none. */
  readonly reason: string | undefined;
  readonly detail: string;
}

export type Answer<T> = { readonly kind: 'ok'; readonly body: T } | Refused | Unreachable | Denied;

export function unreachable(cause: Cause, detail: string, retryAfter?: number): Unreachable {
  return { kind: 'unreachable', cause, detail, retryAfter };
}

/** Classifies an answer other than 2xx. `body` is the body as far as it was read; only a Status' reason and message are taken from it. */
export function classify(status: number, what: string, body: unknown, retryAfter: string | undefined): Refused | Unreachable | Denied {
  const { reason, message } = statusOf(body);
  const detail = `HTTP ${status} for ${what}${message === undefined ? '' : `: ${message}`}`;
  if (status === 401 || status === 403) return { kind: 'denied', status, detail };
  if (status >= 500 || status === 429 || status < 400) return unreachable('status', detail, retryAfterMillis(retryAfter));
  return { kind: 'status', status, reason, detail };
}

function statusOf(body: unknown): { reason: string | undefined; message: string | undefined } {
  const fields = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  if (fields['kind'] !== 'Status') return { reason: undefined, message: undefined };
  const text = (key: string) => (typeof fields[key] === 'string' ? fields[key] : undefined);
  return { reason: text('reason'), message: text('message')?.replace(/\s+/g, ' ').slice(0, 300) };
}

/** Kubernetes sends Retry-After in seconds; the form with a date is not used by it and ignored. */
function retryAfterMillis(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,6}$/.test(header) ? Number(header) * 1000 : undefined;
}

const TLS_CODES = /^(ERR_TLS|ERR_SSL|CERT_|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|INVALID_CA|HOSTNAME_MISMATCH|EPROTO)/;

/** Classifies an error of a connection. `server` is what was connected to, `ca` names what its certificate was verified with. */
export function classifyError(error: Error & { code?: string }, server: string, ca: string): Unreachable {
  const code = error.code ?? '';
  if (code === 'ECONNREFUSED') return unreachable('refused', `${server}: connection refused`);
  if (code === 'ETIMEDOUT') return unreachable('timeout', `${server}: the connection timed out`);
  if (TLS_CODES.test(code)) {
    const why = error.message.split('\n')[0] ?? code;
    return unreachable('tls', `${server}: TLS: the server could not be verified with ${ca}: ${code}: ${why}`);
  }
  return unreachable('connection', `${server}: ${code === '' ? error.message : `${code}: ${error.message}`}`);
}
