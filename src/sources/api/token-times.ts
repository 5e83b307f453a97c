/**
 * How long a token is good, and when another one is due. The node's clock may be wrong, or be set while the daemon runs, and the API server has a clock of its
 * own: so what counts is the time that went by since the token was granted, on the monotonic clock, and on the wall clock as well because the monotonic one
 * stands still while a machine sleeps. A clock that jumps ahead costs one renewal, and one that jumps back none.
 */
import type { Token } from '../../checkpoint/copy-types.ts';

/** Both in milliseconds. */
export interface Clocks {
  /** Since the epoch. */
  readonly wall: number;
  readonly monotonic: number;
}

/** A token, when it came, and how long after that it is to be renewed and ends. */
export interface Held {
  readonly token: Token;
  readonly since: Clocks;
  readonly renewAfter: number;
  readonly endAfter: number;
}

/** A token is renewed between these parts of its life: not all at once, and with time left before 80 % to store what they are in. */
const RENEW_FROM = 0.7;
const RENEW_TO = 0.78;
/** No API server gives less than 10 minutes: what is much shorter is a mistake, and would have us ask again and again. */
const SHORTEST_LIFE = 60_000;
/** Nobody gives a token for longer; what says so is not believed. */
const LONGEST_LIFE = 10 * 365 * 86_400_000;

/** What the API server answered to a TokenRequest, as far as it is used. */
export interface Grant {
  readonly token: string;
  /** RFC 3339, by the clock of the API server. */
  readonly expirationTimestamp: string;
  /** As granted; may be missing. */
  readonly expirationSeconds: number | undefined;
}

/** Undefined for a grant without a life: it ends before it begins, or as good as, or says nothing that is a time. `random` from 0 up to 1. */
export function held(grant: Grant, asked: number, clocks: Clocks, random: number): Held | undefined {
  const claims = claimsOf(grant.token);
  const said = Date.parse(grant.expirationTimestamp);
  if (Number.isNaN(said)) return undefined;
  const life = millis(grant.expirationSeconds ?? asked);
  if (life === undefined) return undefined;
  // For the audience of the API server, and the lifetime that every pod asks for by default, the API server gives a year and speaks of an hour
  // (--service-account-extend-token-expiration): after a long outage that matters.
  const whole = Math.max(life, claims === undefined ? 0 : Math.min((claims.exp - claims.iat) * 1000, LONGEST_LIFE));
  const renewAfter = life * (RENEW_FROM + random * (RENEW_TO - RENEW_FROM));
  return {
    token: {
      token: grant.token,
      renewAt: timestamp(clocks.wall + renewAfter),
      // What the token itself says is what the API server goes by, whatever our clock shows.
      expiresAt: timestamp(Math.max(said, claims === undefined ? 0 : claims.exp * 1000)),
    },
    since: clocks,
    renewAfter,
    endAfter: whole,
  };
}

/**
 * A token that was stored. Undefined for one that has ended. One that would have to be renewed later than a token of its lifetime can be was stored while
 * the clock was ahead: nothing of its times can be believed, and another one is due.
 */
export function heldFromStore(token: Token, asked: number, clocks: Clocks): Held | undefined {
  const endAfter = Date.parse(token.expiresAt) - clocks.wall;
  const renewAfter = Date.parse(token.renewAt) - clocks.wall;
  if (!(endAfter > 0)) return undefined;
  const claims = claimsOf(token.token);
  const life = Math.max(asked, claims === undefined ? 0 : claims.exp - claims.iat) * 1000;
  return { token, since: clocks, renewAfter: renewAfter <= life ? Math.max(renewAfter, 0) : 0, endAfter };
}

/** Milliseconds until another token is due; not above 0: now. */
export const untilRenewal = ({ since, renewAfter }: Held, clocks: Clocks): number => renewAfter - gone(since, clocks);

/** Milliseconds until the token is worth nothing any more: neither by the time that went by nor by what it says. A clock that was just set to rights ends none. */
export const untilEnd = ({ token, since, endAfter }: Held, clocks: Clocks): number =>
  Math.max(endAfter - gone(since, clocks), Date.parse(token.expiresAt) - clocks.wall);

const gone = (since: Clocks, now: Clocks): number => Math.max(now.wall - since.wall, now.monotonic - since.monotonic);

function millis(seconds: number): number | undefined {
  return Number.isFinite(seconds) && seconds * 1000 >= SHORTEST_LIFE ? Math.min(seconds * 1000, LONGEST_LIFE) : undefined;
}

/** The last moment that has a name where there is no such moment. */
function timestamp(epoch: number): string {
  return new Date(Math.min(epoch, Date.UTC(9999, 11, 31))).toISOString();
}

interface Claims {
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly exp: number;
}

/** Undefined for what is not a JWT with both times. Nothing is verified: the token came from the API server. */
function claimsOf(token: string): Claims | undefined {
  try {
    const claims: unknown = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'));
    if (typeof claims !== 'object' || claims === null || !('exp' in claims)) return undefined;
    const exp = Number(claims.exp);
    const iat = 'iat' in claims ? Number(claims.iat) : exp;
    return Number.isFinite(exp) && Number.isFinite(iat) && exp > 0 ? { iat, exp } : undefined;
  } catch {
    return undefined;
  }
}
