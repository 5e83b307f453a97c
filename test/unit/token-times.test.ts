import { describe, expect, it } from 'vitest';
import { type Clocks, type Grant, type Held, held, heldFromStore, untilEnd, untilRenewal } from '../../src/sources/api/token-times.ts';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-11-21T10:00:00Z');
const at = (wall: number, monotonic = 0): Clocks => ({ wall, monotonic });
const jwt = (iat: number, exp: number): string =>
  `h.${Buffer.from(JSON.stringify({ iat: iat / 1000, exp: exp / 1000 })).toString('base64url')}.s`;
const grant = (more: Partial<Grant> = {}): Grant => ({
  token: 'opaque',
  expirationTimestamp: new Date(NOW + HOUR).toISOString(),
  expirationSeconds: 3600,
  ...more,
});
const granted = (more: Partial<Grant> = {}, clocks = at(NOW), random = 0): Held => {
  const made = held(grant(more), 3600, clocks, random);
  if (made === undefined) throw new Error('no token');
  return made;
};

describe('a granted token', () => {
  it('is due for renewal between 70 and 78 % of the life that was granted, whatever was asked for', () => {
    expect(untilRenewal(granted(), at(NOW))).toBe(0.7 * HOUR);
    expect(untilRenewal(granted({ expirationSeconds: 7200 }, at(NOW), 1), at(NOW))).toBe(0.78 * 2 * HOUR);
    expect(untilRenewal(granted({ expirationSeconds: undefined }), at(NOW))).toBe(0.7 * HOUR);
  });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY, 59])('with a life of %s s is none', (expirationSeconds) => {
    expect(held(grant({ expirationSeconds }), 3600, at(NOW), 0)).toBeUndefined();
  });

  it('without a time is none', () => {
    expect(held(grant({ expirationTimestamp: 'soon' }), 3600, at(NOW), 0)).toBeUndefined();
  });

  it('with a life beyond all measure has times that can be written down', () => {
    const { token } = granted({ expirationSeconds: 1e300, token: jwt(NOW, 8e17), expirationTimestamp: '+275760-09-13T00:00:00.000Z' });
    expect([token.renewAt, token.expiresAt]).toEqual([expect.stringMatching(/^20[34]/), '9999-12-31T00:00:00.000Z']);
  });

  it('that says it lives for longer than the API server does is believed', () => {
    const year = 365 * 24 * HOUR;
    const made = granted({ token: jwt(NOW, NOW + year) });
    expect(made.token.expiresAt).toBe(new Date(NOW + year).toISOString());
    expect(untilRenewal(made, at(NOW))).toBe(0.7 * HOUR);
    expect(untilEnd(made, at(NOW))).toBe(year);
  });
});

describe('a clock', () => {
  it('that is ahead of the API server’s by more than a life does not make the token end, or be renewed again and again', () => {
    const ahead = NOW + 10 * HOUR;
    const made = granted({}, at(ahead));
    expect(untilRenewal(made, at(ahead))).toBe(0.7 * HOUR);
    expect(untilEnd(made, at(ahead))).toBe(HOUR);
  });

  it('that jumps ahead makes the token due once', () => {
    const jumped = at(NOW + 30 * 365 * 24 * HOUR, 5);
    expect(untilRenewal(granted(), jumped)).toBeLessThanOrEqual(0);
    const next = granted({}, jumped);
    expect(untilRenewal(next, at(jumped.wall + 1000, 1005))).toBe(0.7 * HOUR - 1000);
  });

  it('that jumps ahead to the right time does not end a token that still is good', () => {
    const made = granted({}, at(0));
    expect(untilEnd(made, at(NOW + HOUR / 2, 1000))).toBe(HOUR / 2);
  });

  it('that jumps back does not put the renewal off', () => {
    expect(untilRenewal(granted(), at(NOW - 365 * 24 * HOUR, 0.7 * HOUR))).toBe(0);
  });

  it('that went on while the machine slept counts', () => {
    expect(untilRenewal(granted(), at(NOW + 2 * HOUR, 10))).toBeLessThan(0);
    expect(untilEnd(granted(), at(NOW + 2 * HOUR, 10))).toBeLessThan(0);
  });
});

describe('a token from the store', () => {
  const stored = (renewAt: number, expiresAt: number, token = 'opaque') => ({
    token,
    renewAt: new Date(renewAt).toISOString(),
    expiresAt: new Date(expiresAt).toISOString(),
  });

  it('is renewed when it said it would be, and ends when it said', () => {
    const ours = heldFromStore(stored(NOW + 1000, NOW + 5000), 3600, at(NOW, 77));
    expect(ours && [untilRenewal(ours, at(NOW, 77)), untilEnd(ours, at(NOW, 77))]).toEqual([1000, 5000]);
  });

  it('that has ended, or has no times, is none', () => {
    expect(heldFromStore(stored(NOW - 2, NOW - 1), 3600, at(NOW))).toBeUndefined();
    expect(heldFromStore({ token: 'a', renewAt: '', expiresAt: '' }, 3600, at(NOW))).toBeUndefined();
  });

  it('is due at once when it was stored while the clock was ahead: its time would be years away', () => {
    const ours = heldFromStore(stored(NOW + 100 * HOUR, NOW + 101 * HOUR), 3600, at(NOW));
    expect(ours && untilRenewal(ours, at(NOW))).toBe(0);
  });
});
