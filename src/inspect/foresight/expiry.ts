/** Certificates and tokens that end soon: a copy of them is of no use after that, and the API server that would renew them may be what does not come up. */
import type { Expiry } from '../expiry.ts';
import { type Finding, warning } from '../finding.ts';

export interface WarnBefore {
  /** Milliseconds. */
  readonly time: number;
  /** Of the whole life; the shorter of the two counts, so that a token of an hour does not always warn. */
  readonly share: number;
}

/** Tokens are renewed before 80 % of their life: one in its last fifth was not. */
export const WARN_BEFORE: WarnBefore = { time: 30 * 86_400_000, share: 0.2 };

const NAMES = {
  certificate: 'the certificate',
  kubeconfig: 'what the kubeconfig logs in with',
  token: 'the service account token',
} as const;
const CODES = { certificate: 'Certificate', kubeconfig: 'Kubeconfig', token: 'Token' } as const;
const ADVICE = {
  certificate: 'Renew it in its Secret; the new one is copied by itself.',
  kubeconfig: 'Renew it in its Secret; the new one is copied by itself.',
  token: 'It is renewed while the API server answers: look at the leader and at the API server.',
} as const;

/** @param now wall clock, milliseconds. */
export function expiryFindings(ends: readonly Expiry[], now: number, before: WarnBefore): Finding[] {
  const soonest = new Map<string, Expiry>();
  for (const one of ends) {
    const other = soonest.get(`${one.kind} ${one.path}`);
    if (other === undefined || one.to < other.to) soonest.set(`${one.kind} ${one.path}`, one);
  }
  return [...soonest.values()].flatMap((one): Finding[] => {
    const [to, from] = [Date.parse(one.to), one.from === undefined ? undefined : Date.parse(one.from)];
    const life = from === undefined ? Number.POSITIVE_INFINITY : to - from;
    const name = `${NAMES[one.kind]} in ${one.path}`;
    if (to <= now) return [warning(`${CODES[one.kind]}Expired`, `${name} ended on ${one.to}`, ADVICE[one.kind])];
    if (to - now > Math.min(before.time, before.share * life)) return [];
    return [warning(`${CODES[one.kind]}Expires`, `${name} ends on ${one.to}`, ADVICE[one.kind])];
  });
}
